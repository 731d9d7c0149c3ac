"""Faiss' approximate indexes."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

try:
    import faiss
except ImportError as e:
    print('{"error": "%s"}' % e)
    sys.exit(0)

from curve import EFFORTS, PROBES, Curve, lists

REFINED = ", refined"


class Faiss(Curve):
    # The code of each variant after IVF, and how many times as many candidates as
    # asked for are worth refining.
    codes = {
        "IVFFlat": ("Flat", []),
        "IVFSQ8": ("SQ8", [2]),
        "IVFPQ fast-scan, 2 bits a component": ("PQ{half}x4fs", [2, 4, 8, 16, 32]),
        "IVFPQ fast-scan, 1 bit a component": ("PQ{quarter}x4fs", [4, 8, 16, 32]),
        "IVFRaBitQ": ("RaBitQ", [4, 8, 16, 32]),
        "IVFRaBitQ fast-scan": ("RaBitQfs", [4, 8, 16, 32]),
    }

    def about(self, q):
        variants = ["Flat", "HNSW"]
        for name, (_, factors) in self.codes.items():
            variants += [name, name + REFINED] if factors else [name]
        return {"about": f"faiss-cpu {faiss.__version__} ({faiss.get_compile_options().strip()})", "variants": variants}

    def prepare(self):
        self.quantizer, self.made, self.refined = None, {}, {}

    def threads(self, n):
        faiss.omp_set_num_threads(n)

    def make(self, variant):
        rows, dim = self.keys.shape
        if variant == "Flat":
            index = faiss.IndexFlatIP(dim)
            index.add(self.keys)
            self.made[variant] = index
            return "", [[[]]]
        if variant == "HNSW":
            index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = 200
            index.add(self.keys)
            self.made[variant] = index
            return "M 32, efConstruction 200", [[[ef] for ef in EFFORTS]]
        base = variant.removesuffix(REFINED)
        code, factors = self.codes[base]
        n = lists(rows)
        probes = [p for p in PROBES if p <= n]
        name = f"IVF{n}," + code.format(half=dim // 2, quarter=dim // 4)
        if base == variant:
            self.made[base] = self.ivf(name)
            return name, [[[p] for p in probes]]
        self.refined[base] = faiss.IndexRefine(self.made[base], self.made["Flat"])
        return name + ", then the float32 rows, k_factor " + ", ".join(map(str, factors)), [[[p, f] for p in probes] for f in factors]

    def ivf(self, name):
        index = faiss.index_factory(self.keys.shape[1], name, faiss.METRIC_INNER_PRODUCT)
        if self.quantizer is None:
            index.train(self.keys)
            self.quantizer = index.quantizer
            self.first = index  # which owns it
        else:
            index.own_fields = False
            index.quantizer = self.quantizer
            index.train(self.keys)
        index.add(self.keys)
        return index

    def work(self, q):
        asked, variant, setting = self.asked[: q["queries"]], q.get("variant", ""), q.get("setting")
        base = variant.removesuffix(REFINED)
        index, how = self.made[base], None
        if variant == "HNSW":
            how = faiss.SearchParametersHNSW(efSearch=setting[0])
        elif base in self.codes:
            how = faiss.SearchParametersIVF(nprobe=setting[0])
            if "RaBitQ" in base:
                how = faiss.IVFRaBitQSearchParameters()
                how.nprobe, how.qb = setting[0], 4
            if base != variant:
                index = self.refined[base]
                how = faiss.IndexRefineSearchParameters(k_factor=setting[1], base_index_params=how)
        return index.search(asked, q["top"], params=how)[1]


if __name__ == "__main__":
    Faiss().serve()
