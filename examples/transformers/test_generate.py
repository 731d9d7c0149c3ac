"""Generation with a memory in Engram against generation with the full context."""

import os
import unittest

import grpc
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engram.v1 import namespace_service_pb2, namespace_service_pb2_grpc
from engram_llama import remember

PROMPT, NEW, WINDOW = 150, 60, 16


def setUpModule():
    global channel
    channel = grpc.insecure_channel(os.environ.get("ENGRAM_ADDR", "127.0.0.1:7440"))
    unittest.addModuleCleanup(channel.close)


def llama(kv_heads, layers=3):
    """A Llama with random weights, large enough that attention isn't uniform."""
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def generate(model, prompt):
    # synced_gpus is given as its default looks for torch.distributed, which Debian's lacks.
    return model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW, do_sample=False, synced_gpus=False
    )


def namespaces(prefix):
    stub = namespace_service_pb2_grpc.NamespaceServiceStub(channel)
    return stub.List(namespace_service_pb2.NamespaceServiceListRequest(prefix=prefix), timeout=10).namespaces


class TestGenerate(unittest.TestCase):
    def test_equals_generation_with_full_context(self):
        for kv_heads in (4, 2, 1):
            with self.subTest(kv_heads=kv_heads):
                model = llama(kv_heads)
                prompt = torch.randint(1, 256, (2, PROMPT))
                want = generate(model, prompt)
                self.assertEqual(want.shape, (2, PROMPT + NEW))
                with torch.no_grad():
                    want_logits = model(want).logits

                name = f"llama/{kv_heads}"
                layer = remember(model, 1, channel, name, WINDOW)
                self.assertTrue(torch.equal(generate(model, prompt), want))
                # The last token that was generated hasn't been through the model.
                self.assertEqual([n.record_count for n in namespaces(name)], 2 * [PROMPT + NEW - 1 - WINDOW])

                with torch.no_grad():
                    difference = (model(want).logits - want_logits).abs().max().item()
                self.assertLess(difference, 1e-4 * want_logits.abs().max().item())
                self.assertEqual(len(namespaces(name)), 2)  # those of generate() are gone
                layer.close()
                self.assertEqual(len(namespaces(name)), 0)

    def test_the_window_alone_is_not_enough(self):
        model = llama(2)
        prompt = torch.randint(1, 256, (2, PROMPT))
        want = generate(model, prompt)
        layer = remember(model, 1, channel, "llama/forgetful", WINDOW, last=1)
        self.addCleanup(layer.close)
        self.assertFalse(torch.equal(generate(model, prompt), want))

    def test_what_it_refuses(self):
        model = llama(2)
        with self.assertRaisesRegex(ValueError, "first layer"):
            remember(model, 0, channel, "llama/refused", WINDOW)
        layer = remember(model, 2, channel, "llama/refused", WINDOW)
        self.addCleanup(layer.close)
        prompt = torch.randint(1, 256, (2, 8))
        with torch.no_grad():
            with self.assertRaisesRegex(ValueError, "equally long"):
                model(prompt, position_ids=torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7], [0, 0, 0, 0, 1, 2, 3, 4]]))
            model(prompt)
            with self.assertRaisesRegex(ValueError, "position 9 doesn't follow"):
                model(prompt, position_ids=torch.arange(9, 17)[None])


if __name__ == "__main__":
    unittest.main()
