"""PyTorch's softmax(q·Kᵀ)·V of each head, in so many words and by its fused function."""

import os
import re
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

try:
    import torch
except ImportError as e:
    print('{"error": "%s"}' % e)
    sys.exit(0)

from protocol import Peer


def blas(show):
    """The arithmetic libraries of a configuration's description."""
    lines = [s.strip(" -") for s in show.splitlines()]
    named = [s for s in lines if s.startswith(("Intel(R)", "CPU capability"))]
    return "; ".join(["BLAS: " + "".join(re.findall(r"BLAS_INFO=(\w+)", show)[:1])] + named)



class Attend(Peer):
    def about(self, q):
        variants = ["", "fused"] if hasattr(torch.nn.functional, "scaled_dot_product_attention") else [""]
        return {"about": f"PyTorch {torch.__version__} ({blas(torch.__config__.show())})", "variants": variants}

    def load(self, q):
        self.heads = q.get("heads", 1)
        return super().load(q)

    def prepare(self):
        """Heads × rows × dimension, each head's rows one after the other, as a model's
        cache has them."""
        self.keys, self.values, self.asked = map(self.split, (self.keys, self.values, self.asked))

    def split(self, rows):
        rows = torch.from_numpy(rows)
        return rows.view(len(rows), self.heads, -1).transpose(0, 1).contiguous()

    def threads(self, n):
        torch.set_num_threads(n)

    def work(self, q):
        asked = self.asked[:, : q["queries"]]
        scale = asked.shape[2] ** -0.5
        with torch.inference_mode():
            if q.get("variant") == "fused":
                return torch.nn.functional.scaled_dot_product_attention(
                    asked[None], self.keys[None], self.values[None], scale=scale
                )[0]
            if self.heads == 1:  # a product of matrices, not a batch of one
                return (torch.softmax((asked[0] * scale) @ self.keys[0].T, dim=-1) @ self.values[0])[None]
            return torch.softmax((asked * scale) @ self.keys.transpose(1, 2), dim=-1) @ self.values

    def result(self, work):
        return {"context": work.transpose(0, 1).flatten(1).tolist()}


Attend().serve()
