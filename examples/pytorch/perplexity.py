"""Bits per character against context length, with Engram as the memory of one layer.

Trains a small Transformer on the first nine tenths of the Apollo 11 transcript, or loads one
that was trained, and evaluates it on long documents made of the last tenth.
"""

import argparse
import json
import os
import sys
import time

import grpc
import torch

from character_model import DIM, HEADS, KV_HEADS, WINDOW, CharacterModel, train
from engram_memory import EngramMemory

TOP_K = 32  # as in Memorizing Transformers


def main():
    options = arguments()
    torch.manual_seed(1)
    with open(options.transcript, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    said = [f"{line['speaker']}: {line['text']}\n" for line in lines]
    cut = len(said) * 9 // 10
    seen, unseen = "".join(said[:cut]), "".join(said[cut:])

    model = trained(options, seen)
    tokens = model.encode(unseen[: options.documents * options.length + 1])
    if len(tokens) <= options.documents * options.length:
        sys.exit(f"the last tenth has {len(tokens)} characters: fewer than documents × length")
    inputs, targets = (t.view(options.documents, options.length) for t in (tokens[:-1], tokens[1:]))
    print(f"{options.documents} documents of {options.length} characters, not seen in training", flush=True)

    print("| context of the memory layer | bits per character | perplexity | seconds |\n| --- | --- | --- | --- |")
    row(f"{WINDOW}: the window alone", *evaluate(model, inputs, targets, WINDOW))
    with grpc.insecure_channel(os.environ.get("ENGRAM_ADDR", "127.0.0.1:7440")) as channel:

        def remembering(what, **limits):
            memory = EngramMemory(
                channel, f"perplexity-{os.getpid()}", options.documents, KV_HEADS, DIM // HEADS, **limits
            )
            with memory:
                return row(what, *evaluate(model, inputs, targets, WINDOW, memory))

        context = 2 * WINDOW
        while context < options.length:
            remembering(f"{context}: Engram's last {context - WINDOW}", last=context - WINDOW)
            context *= 2
        whole = remembering(f"{options.length}: all of Engram")
        remembering(f"{options.length}: Engram's best {TOP_K} a head and character", top_k=TOP_K)
    alone = row(f"{options.length}: all, in PyTorch", *evaluate(model, inputs, targets, 2 * options.length))
    if abs(whole - alone) > 1e-4:
        sys.exit(f"Engram's memory and PyTorch's differ: {whole} and {alone} bits")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("transcript", help="apollo11.jsonl")
    parser.add_argument("--model", help="a file: the model is loaded from it, or if it isn't there saved in it")
    parser.add_argument("--steps", type=int, default=1000, help="of training (%(default)s)")
    parser.add_argument("--context", type=int, default=1024, help="characters of a training piece (%(default)s)")
    parser.add_argument("--sequences", type=int, default=2, help="pieces in a step of training (%(default)s)")
    parser.add_argument("--documents", type=int, default=5, help="to evaluate on (%(default)s)")
    parser.add_argument("--length", type=int, default=16384, help="characters of a document (%(default)s)")
    return parser.parse_args()


def trained(options, text):
    model = CharacterModel("".join(sorted(set(text))))
    if options.model and os.path.exists(options.model):
        model.load_state_dict(torch.load(options.model))
        return model.eval()
    began = time.monotonic()
    recent = []

    def report(step, bits):
        recent.append(bits)
        if step % 50 == 0 or step == options.steps:
            print(f"step {step}: {sum(recent) / len(recent):.3f} bits, {time.monotonic() - began:.0f} s", flush=True)
            recent.clear()

    parameters = sum(p.numel() for p in model.parameters())
    print(f"training {parameters} parameters on {len(text)} characters, torch {torch.__version__}", flush=True)
    train(model, text, options.steps, options.context, options.sequences, report)
    if options.model:
        torch.save(model.state_dict(), options.model)
    return model


@torch.no_grad()
def evaluate(model, inputs, targets, window, memory=None):
    """The mean bits of a character, each document read from its first to its last, and the seconds."""
    began = time.monotonic()
    model.begin(window, memory)
    bits = [model.bits(*piece) for piece in zip(inputs.split(1024, dim=1), targets.split(1024, dim=1))]
    return torch.cat(bits, dim=1).double().mean().item(), time.monotonic() - began


def row(what, bits, seconds):
    print(f"| {what} | {bits:.4f} | {2**bits:.3f} | {seconds:.0f} |", flush=True)
    return bits


if __name__ == "__main__":
    main()
