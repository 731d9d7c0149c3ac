"""Writes samples for model_test.go: texts, their tokens by Hugging Face's tokenizers, and
their vectors by a naive forward pass of BERT in float64.

usage: reference.py MODEL_DIR > samples.json
"""

import json
import math
import random
import sys

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

directory = sys.argv[1]
config = json.load(open(directory + "/config.json"))
heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
weights = {name: w.astype(np.float64) for name, w in load_file(directory + "/model.safetensors").items()}
tokenizer = Tokenizer.from_file(directory + "/tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation(json.load(open(directory + "/sentence_bert_config.json"))["max_seq_length"])
erf = np.vectorize(math.erf)


def norm(x, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + config["layer_norm_eps"])
    return x * weights[name + ".weight"] + weights[name + ".bias"]


def linear(x, name):
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def vector(tokens):
    n = len(tokens)
    x = weights["embeddings.word_embeddings.weight"][tokens]
    x = x + weights["embeddings.position_embeddings.weight"][:n] + weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(layers):
        p = f"encoder.layer.{layer}."
        q, k, v = (linear(x, p + "attention.self." + s).reshape(n, heads, -1).transpose(1, 0, 2) for s in ("query", "key", "value"))
        scores = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]))
        context = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, -1)
        x = norm(linear(context, p + "attention.output.dense") + x, p + "attention.output.LayerNorm")
        between = linear(x, p + "intermediate.dense")
        between = between * 0.5 * (1 + erf(between / math.sqrt(2)))
        x = norm(linear(between, p + "output.dense") + x, p + "output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


chance = random.Random(1)
words = [w for w in tokenizer.get_vocab() if w.isascii() and w.isalpha()]
words.sort()
# Characters of Unicode 8, which the tables of that library are of.
ranges = [(1, 0x250), (0x250, 0x370), (0x391, 0x3A2), (0x400, 0x530), (0x5D0, 0x5EB), (0x900, 0x950), (0xE01, 0xE3B), (0x1100, 0x1200),
          (0x1E00, 0x1F00), (0x2000, 0x2065), (0x2100, 0x218A), (0x3000, 0x3097), (0x4E00, 0x4E80), (0xAC00, 0xAD00), (0xF900, 0xFA00),
          (0xFE50, 0xFE67), (0xFF01, 0xFFBF), (0x1F600, 0x1F640), (0x20000, 0x20040), (0xE000, 0xE010)]
texts = []
for _ in range(60):
    parts = []
    for _ in range(chance.choice([1, 3, 10, 30, 30, 300])):
        kind = chance.random()
        if kind < 0.6:
            parts.append(chance.choice(words))
        elif kind < 0.7:
            parts.append(chance.choice([".", ",", "'s", "-", "[SEP]", "[MASK]", "\t", "\u00a0", "e\u0301\u0323", "don't", "x" * 101]))
        else:
            low, high = chance.choice(ranges)
            parts.append("".join(chr(chance.randrange(low, high)) for _ in range(chance.randrange(1, 6))))
        if chance.random() < 0.8:
            parts.append(" ")
    text = "".join(parts)
    if text.strip():
        texts.append(text)

samples = []
for text in texts:
    tokens = tokenizer.encode(text).ids
    samples.append({"text": text, "tokens": tokens, "vector": vector(tokens).tolist()})
json.dump(samples, sys.stdout)
