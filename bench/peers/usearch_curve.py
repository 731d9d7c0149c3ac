"""usearch's graph, over float32 and over smaller scalars."""

import sys

try:
    import usearch
    import usearch.index
except ImportError as e:
    print('{"error": "%s"}' % e)
    sys.exit(0)

import numpy

from curve import EFFORTS, Curve


class USearch(Curve):
    variants = ["float32", "bfloat16"]

    def about(self, q):
        parts = usearch.index.Index(ndim=384, dtype="f32").hardware_acceleration
        return {"about": f"usearch {usearch.__version__} (float32 by {parts})", "variants": self.variants}

    def prepare(self):
        self.made = {}

    def threads(self, n):
        self.count = n

    def make(self, variant):
        rows, dim = self.keys.shape
        dtype = {"float32": "f32", "bfloat16": "bf16"}[variant]
        index = usearch.index.Index(ndim=dim, metric="ip", dtype=dtype, connectivity=32, expansion_add=200)
        index.add(numpy.arange(rows), self.keys, threads=self.count)
        self.made[variant] = index
        return "connectivity 32, expansion_add 200", [[[ef] for ef in EFFORTS]]

    def work(self, q):
        index = self.made[q.get("variant", "")]
        index.expansion_search = q.get("setting", [])[0]
        return index.search(self.asked[: q["queries"]], q["top"], threads=self.count).keys


USearch().serve()
