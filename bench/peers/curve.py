"""What the libraries of approximate search have in common: indexes that are built by
name and then asked at the settings that a sweep tries."""

import ctypes
import gc
import time

import numpy

from protocol import Peer

PROBES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048]
EFFORTS = [10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048]


def lists(rows):
    """Faiss' advice for up to a million rows: four to sixteen times their root."""
    return 1 << max(4, round(numpy.log2(4 * rows**0.5)))


def resident():
    """The bytes of memory that this process holds, files that it maps aside."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("RssAnon"))


class Curve(Peer):
    """A peer whose variants are indexes. A setting is a list of whole numbers."""

    variants = []

    def read(self, path, dim):
        return numpy.memmap(path, dtype="<f4", mode="r").reshape(-1, dim)

    def make(self, variant):
        """Builds the index: what to tell of it, and the settings to try: of each
        series, from the quickest."""
        raise NotImplementedError

    def build(self, q):
        self.threads(q["threads"])
        before, start = resident(), time.perf_counter()
        told, series = self.make(q.get("variant", ""))
        return {"seconds": time.perf_counter() - start, "bytes": resident() - before, "about": told, "series": series}

    def result(self, work):
        return {"ids": numpy.asarray(work).tolist()}

    def answer(self, q):
        self.threads(q["threads"])
        start = time.perf_counter()
        found = self.work(q)
        return {"seconds": time.perf_counter() - start} | self.result(found)
