"""ScaNN's tree of leaves, anisotropic codes and exact reordering."""

import importlib.metadata
import sys

try:
    import scann
except ImportError as e:
    print('{"error": "%s"}' % e)
    sys.exit(0)

import numpy

from curve import PROBES, Curve


class ScaNN(Curve):
    # How many of the best by code are scored exactly.
    reordered = [30, 60, 120, 250, 500]

    def about(self, q):
        return {"about": f"ScaNN {importlib.metadata.version('scann')}", "variants": [""]}

    def threads(self, n):
        self.count = n

    def make(self, variant):
        rows, _ = self.keys.shape
        leaves = round(2 * rows**0.5)
        build = scann.scann_ops_pybind.builder(numpy.ascontiguousarray(self.keys), 10, "dot_product")
        build.set_n_training_threads(self.count)
        build.tree(num_leaves=leaves, num_leaves_to_search=leaves // 10, training_sample_size=min(rows, 250_000))
        self.index = build.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100).build()
        told = f"{leaves} leaves, score_ah(2, threshold 0.2), reordering {', '.join(map(str, self.reordered))}"
        return told, [[[p, r] for p in PROBES if p <= leaves] for r in self.reordered]

    def work(self, q):
        asked, (leaves, reordered) = self.asked[: q["queries"]], q.get("setting", [])
        how = {"final_num_neighbors": q["top"], "pre_reorder_num_neighbors": reordered, "leaves_to_search": leaves}
        if self.count == 1:
            return self.index.search_batched(asked, **how)[0]
        self.index.set_num_threads(self.count)
        return self.index.search_batched_parallel(asked, **how, batch_size=max(1, len(asked) // (4 * self.count)))[0]


ScaNN().serve()
