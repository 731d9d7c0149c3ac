"""hnswlib's graph."""

import importlib.metadata
import sys

try:
    import hnswlib
except ImportError as e:
    print('{"error": "%s"}' % e)
    sys.exit(0)

from curve import EFFORTS, Curve


class HNSWLib(Curve):
    def about(self, q):
        return {"about": f"hnswlib {importlib.metadata.version('hnswlib')}", "variants": [""]}

    def threads(self, n):
        self.count = n

    def make(self, variant):
        rows, dim = self.keys.shape
        self.index = hnswlib.Index("ip", dim)
        self.index.init_index(rows, ef_construction=200, M=32)
        self.index.add_items(self.keys, num_threads=self.count)
        return "M 32, ef_construction 200", [[[ef] for ef in EFFORTS]]

    def work(self, q):
        self.index.set_ef(q.get("setting", [])[0])
        return self.index.knn_query(self.asked[: q["queries"]], q["top"], num_threads=self.count)[0]


HNSWLib().serve()
