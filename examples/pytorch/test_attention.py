"""Attention with a memory in Engram against PyTorch's over the whole sequence."""

import itertools
import os
import unittest

import grpc
import torch
from torch import nn

from engram.v1 import memory_service_pb2, memory_service_pb2_grpc
from engram_attention import EngramAttention, WindowedAttention, causal_scores, weighted_sum
from engram_memory import EngramMemory

DIM = 64
SEQUENCES = 2
PIECES = (40, 1, 1, 90, 7, 61)  # how the tokens come
TOKENS = sum(PIECES)


def setUpModule():
    global channel
    channel = grpc.insecure_channel(os.environ.get("ENGRAM_ADDR", "127.0.0.1:7440"))
    unittest.addModuleCleanup(channel.close)


class Case(unittest.TestCase):
    names = itertools.count()

    def setUp(self):
        torch.manual_seed(7)

    def memory(self, kv_heads, head_dim, sequences=SEQUENCES, **options):
        memory = EngramMemory(channel, f"test/{next(self.names)}", sequences, kv_heads, head_dim, **options)
        self.addCleanup(memory.delete)
        return memory

    def assertClose(self, got, want, within=1e-5):
        self.assertEqual(got.shape, want.shape)
        self.assertLessEqual((got - want).abs().max().item(), within)


def plain(layer):
    """PyTorch's own attention with a layer's weights, those of a group's head repeated."""
    mha = nn.MultiheadAttention(DIM, layer.heads, bias=False, batch_first=True)
    repeated = [
        p.weight.unflatten(0, (layer.kv_heads, layer.head_dim))
        .repeat_interleave(layer.heads // layer.kv_heads, dim=0)
        .flatten(0, 1)
        for p in (layer.key, layer.value)
    ]
    with torch.no_grad():
        mha.in_proj_weight.copy_(torch.cat([layer.query.weight, *repeated]))
        mha.out_proj.weight.copy_(layer.out.weight)
    mask = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
    return lambda x: mha(x, x, x, attn_mask=mask, need_weights=False)[0]


class TestLayer(Case):
    def test_equals_attention_over_the_whole_sequence(self):
        # With weights and inputs so large that the softmax is far from uniform.
        for name, heads, kv_heads in (("MHA", 8, 8), ("GQA", 8, 2), ("MQA", 8, 1)):
            for window in (1, 16, 51):
                with self.subTest(name, window=window), torch.no_grad():
                    layer = EngramAttention(DIM, heads, kv_heads)
                    x = 3 * torch.randn(SEQUENCES, TOKENS, DIM)
                    want = plain(layer)(x)
                    self.assertClose(layer(x), want)

                    memory = self.memory(kv_heads, DIM // heads)
                    layer.begin(window, memory)
                    got = torch.cat([layer(piece) for piece in x.split(PIECES, dim=1)], dim=1)
                    self.assertClose(got, want)
                    for namespace in memory.namespaces:
                        self.assertEqual(stored(namespace), TOKENS - window)

    def test_the_window_alone_is_not_enough(self):
        with torch.no_grad():
            layer = EngramAttention(DIM, 8)
            x = 3 * torch.randn(SEQUENCES, TOKENS, DIM)
            layer.begin(16)
            got = torch.cat([layer(piece) for piece in x.split(PIECES, dim=1)], dim=1)
            self.assertGreater((got - plain(layer)(x)).abs().max().item(), 0.1)

    def test_rotary(self):
        with torch.no_grad():
            layer = EngramAttention(DIM, 8, 2, rotary=True)
            x = 3 * torch.randn(SEQUENCES, TOKENS, DIM)
            want = layer(x)
            layer.begin(16, self.memory(2, DIM // 8))
            self.assertClose(torch.cat([layer(piece) for piece in x.split(PIECES, dim=1)], dim=1), want)
            layer.end()
            moved = layer(torch.cat([torch.zeros(SEQUENCES, 1, DIM), x], dim=1))
            self.assertGreater((moved[:, 1:] - want).abs().max().item(), 1e-3)

    def test_gate(self):
        layer = EngramAttention(DIM, 4, 2, gate=True)
        with torch.no_grad():
            layer.gate.copy_(torch.tensor([-9.0, -1.0, 0.5, 9.0]))
        window = 8
        x = torch.randn(SEQUENCES, window + 1, DIM)
        layer.begin(window, self.memory(2, DIM // 4))
        first = layer(x[:, :window])
        last = layer(x[:, window:])

        q, k, v = (
            p(x).unflatten(-1, (-1, DIM // 4)).transpose(1, 2) for p in (layer.query, layer.key, layer.value)
        )
        early = weighted_sum(causal_scores(q[:, :, :window], k[:, :, :window]), v[:, :, :window])
        self.assertClose(first, layer.out(early.transpose(1, 2).flatten(2)))  # nothing in the memory yet
        local = weighted_sum(causal_scores(q[:, :, window:], k[:, :, 1:]), v[:, :, 1:])
        remote = v[:, :, :1].repeat_interleave(2, dim=1)  # one token: its value, whatever its score
        g = torch.sigmoid(layer.gate)[:, None, None]
        want = layer.out((g * remote + (1 - g) * local).transpose(1, 2).flatten(2))
        self.assertClose(last, want)

        layer.gate.grad = None
        last.sum().backward()
        self.assertGreater(layer.gate.grad.abs().min().item(), 0)

    def test_shapes_that_fit_nothing(self):
        for heads, kv_heads in ((5, 5), (8, 3)):
            with self.assertRaises(ValueError):
                EngramAttention(DIM, heads, kv_heads)
        with self.assertRaises(ValueError):
            WindowedAttention(0)
        with self.assertRaises(ValueError):
            q = torch.zeros(SEQUENCES + 1, 1, 1, 8)
            self.memory(1, 8).step(0, q, q, q)


class TestMemory(Case):
    def test_last_and_top_k(self):
        q, k, v = (torch.randn(SEQUENCES, heads, 50, 8) for heads in (4, 2, 2))
        scores = 8**-0.5 * q.double() @ k.double().repeat_interleave(2, dim=1).transpose(-1, -2)
        best = scores.masked_fill(scores < scores.topk(5).values[..., -1:], float("-inf"))
        recent = scores.clone()
        recent[..., :-20] = float("-inf")
        for options, want in (({}, scores), ({"top_k": 5}, best), ({"last": 20}, recent)):
            with self.subTest(**options):
                context, lse = self.memory(2, 8, **options).step(0, k, v, q)
                values = v.double().repeat_interleave(2, dim=1)
                self.assertClose(context.double(), torch.softmax(want, dim=-1) @ values)
                self.assertClose(lse, torch.logsumexp(want, dim=-1))

    def test_a_step_larger_than_a_request_and_sent_again(self):
        tokens = 1100
        q, k, v = (torch.randn(1, heads, tokens, 16) for heads in (4, 2, 2))
        memory = self.memory(2, 16, sequences=1)
        context, lse = memory.step(0, k, v, q)
        again, lse_again = memory.step(0, k, v, q)
        self.assertClose(again, context, within=1e-6)
        self.assertClose(lse_again, lse, within=1e-6)
        self.assertEqual(stored(memory.namespaces[0]), tokens)
        scores = 16**-0.5 * q @ k.repeat_interleave(2, dim=1).transpose(-1, -2)
        self.assertClose(context, torch.softmax(scores, dim=-1) @ v.repeat_interleave(2, dim=1))

    def test_what_comes_later_is_not_seen(self):
        q, k, v = (torch.randn(SEQUENCES, 2, 30, 8) for _ in range(3))
        memory = self.memory(2, 8)
        want, _ = memory.step(0, k[:, :, :10], v[:, :, :10], q)
        memory.step(10, k[:, :, 10:], v[:, :, 10:], q)
        got, _ = memory.step(0, k[:, :, :10], v[:, :, :10], q)
        self.assertClose(got, want, within=1e-6)

    def test_nothing_stored(self):
        q, none = torch.randn(SEQUENCES, 2, 3, 8), torch.zeros(SEQUENCES, 2, 0, 8)
        context, lse = self.memory(2, 8).step(0, none, none, q)
        self.assertFalse(context.any())
        self.assertTrue((lse == float("-inf")).all())


def stored(namespace):
    memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
    return memory.Count(memory_service_pb2.CountRequest(namespace=namespace), timeout=10).count


if __name__ == "__main__":
    unittest.main()
