"""Faiss' exact search by inner product."""

import os
import pathlib
import sys

# Threads that spin after their work would disturb whoever runs next.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

try:
    import faiss
except ImportError as e:
    print('{"error": "%s"}' % e)
    sys.exit(0)

from protocol import Peer

# From 1.15 on Faiss takes its matrix product only from 128,000 queries on. For some
# hundred of them it is several times as fast with it: that is what we race.
faiss.cvar.distance_compute_blas_threshold = 20


class Flat(Peer):
    def about(self, q):
        bundled = pathlib.Path(faiss.__file__).parents[1] / "faiss_cpu.libs"
        blas = ", ".join(sorted(p.name for p in bundled.glob("*blas*"))) or "the system's"
        return {"about": f"faiss-cpu {faiss.__version__} ({faiss.get_compile_options().strip()}; distance_compute_blas_threshold 20; BLAS: {blas})"}

    def prepare(self):
        self.index = faiss.IndexFlatIP(self.keys.shape[1])
        self.index.add(self.keys)
        self.keys = None

    def threads(self, n):
        faiss.omp_set_num_threads(n)

    def work(self, q):
        return self.index.search(self.asked[: q["queries"]], q["top"])

    def result(self, work):
        return {"ids": work[1].tolist()}


Flat().serve()
