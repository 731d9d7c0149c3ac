"""Keys, values and queries of the memory's layer of a small Transformer, as raw float32.

    attention_keys.py OUT apollo11.jsonl examples/pytorch

Trains the character model of examples/pytorch on the first nine tenths of the transcript, for
so many steps as below, and runs it over the last TOKENS characters of all of it. OUT becomes,
for each head of the keys, QUERIES queries of the last characters, of the query heads that read
it by turns, and then key and value of each character before those, one after the other.
"""

import json
import os
import sys
import time

STEPS, CONTEXT, SEQUENCES = 300, 1024, 2  # of training
TOKENS, QUERIES = 251_000, 1000

sys.stdout.reconfigure(line_buffering=True)


def main(out, transcript, example):
    sys.path.insert(0, example)
    import numpy
    import torch
    from character_model import DIM, HEADS, KV_HEADS, WINDOW, CharacterModel, train

    torch.manual_seed(1)
    with open(transcript, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    said = [f"{line['speaker']}: {line['text']}\n" for line in lines]
    text, seen = "".join(said), "".join(said[: len(said) * 9 // 10])
    model = CharacterModel("".join(sorted(set(seen))))
    began, recent = time.monotonic(), []

    def report(step, bits):
        recent.append(bits)
        if step % 50 == 0:
            print(f"step {step} of {STEPS}: {sum(recent) / len(recent):.3f} bits, {time.monotonic() - began:.0f} s")
            recent.clear()

    train(model, seen, STEPS, CONTEXT, SEQUENCES, report)

    size = DIM // HEADS
    parts = {"query": [], "key": [], "value": []}
    with torch.no_grad():
        for layer in model.layers:
            layer.attention.begin(WINDOW)
        for piece in model.encode(text[-TOKENS:])[None].split(CONTEXT, dim=1):
            x = model.embedding(piece)
            for layer in model.layers[: model.MEMORY_LAYER]:
                x = layer(x)
            layer = model.layers[model.MEMORY_LAYER]
            x = layer.attention_norm(x)[0]
            for name, rows in parts.items():
                rows.append(getattr(layer.attention, name)(x).unflatten(-1, (-1, size)))
    queries, keys, values = (torch.cat(rows) for rows in parts.values())
    print(f"{len(keys) - QUERIES} keys of {KV_HEADS} heads of {size}")
    with open(out + ".part", "wb") as file:
        for head in range(KV_HEADS):
            asked = queries[-QUERIES:].view(QUERIES, KV_HEADS, -1, size)[:, head]
            asked = asked[torch.arange(QUERIES), torch.arange(QUERIES) % asked.shape[1]]
            rows = torch.stack([keys[:-QUERIES, head], values[:-QUERIES, head]], dim=1)
            for part in (asked, rows):
                file.write(numpy.ascontiguousarray(part.numpy()).astype("<f4").tobytes())
    os.replace(out + ".part", out)


main(*sys.argv[1:])
