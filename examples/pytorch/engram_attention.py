"""Causal self-attention over more tokens than are kept: a window here, the rest in Engram."""

import torch
from torch import nn


class WindowedAttention:
    """Causal attention over a sequence that comes piece by piece.

    The last tokens' keys and values are kept here. Those that leave the window go to a
    memory, and what it answers is merged with the attention over the window by log-sum-exp,
    which gives what one softmax over both gives.

    window: how many tokens are kept here. A piece is worked off in blocks of half of that,
        so a query attends here to between window / 2 + 1 and window tokens, itself included,
        and to exactly window where tokens come one by one.
    memory: an EngramMemory, or None: what leaves the window is forgotten.
    gate: [query_heads], or None. Instead of the exact merge, in each head g·memory +
        (1 - g)·window with g = sigmoid(gate) (Wu et al., Memorizing Transformers, 2022).
    """

    def __init__(self, window, memory=None, gate=None):
        if window < 1:
            raise ValueError(f"window is {window}; at least 1")
        self.window = window
        self.memory = memory
        self.gate = gate
        self.position = 0  # of the next token
        self._keys = self._values = None

    def __call__(self, queries, keys, values):
        """Attends with each of the next tokens to itself and all before it.

        queries: [sequences, query_heads, tokens, head_dim]; query_heads is a multiple of
            kv_heads, and head i reads head i·kv_heads // query_heads of keys and values.
        keys, values: [sequences, kv_heads, tokens, head_dim].

        Returns the contexts, [sequences, query_heads, tokens, head_dim].
        """
        block = max(1, self.window // 2)
        parts = zip(*(t.split(block, dim=2) for t in (queries, keys, values)))
        return torch.cat([self._block(*part) for part in parts], dim=2)

    def _block(self, queries, keys, values):
        if self._keys is not None:
            keys = torch.cat([self._keys, keys], dim=2)
            values = torch.cat([self._values, values], dim=2)
        position = self.position + queries.shape[2]
        start = position - keys.shape[2]
        leave = max(0, keys.shape[2] - self.window)
        gone_keys, keys = keys[:, :, :leave], keys[:, :, leave:]
        gone_values, values = values[:, :, :leave], values[:, :, leave:]

        scores = causal_scores(queries, keys)
        context = weighted_sum(scores, values)
        if self.memory is not None:
            remote, remote_lse = self.memory.step(start, gone_keys, gone_values, queries)
            if self.gate is None:
                context = merge(context, torch.logsumexp(scores, dim=-1), remote, remote_lse)
            else:
                gate = torch.sigmoid(self.gate)[:, None] * (remote_lse > float("-inf"))
                gate = gate.to(context)[..., None]
                context = gate * remote + (1 - gate) * context
        self.position, self._keys, self._values = position, keys, values
        return context


def causal_scores(queries, keys):
    """[sequences, query_heads, queries, keys]: scaled scores, -inf for keys that come later.

    The last query stands at the last key.
    """
    sequences, heads, number, dim = queries.shape
    kv_heads, tokens = keys.shape[1:3]
    grouped = queries.reshape(sequences, kv_heads, -1, dim)  # the heads of a group one after the other
    scores = (grouped @ keys.transpose(-1, -2) * dim**-0.5).view(sequences, heads, number, tokens)
    later = torch.ones(number, tokens, dtype=torch.bool, device=keys.device).triu(tokens - number + 1)
    return scores.masked_fill(later, float("-inf"))


def weighted_sum(scores, values):
    """softmax(scores)·values: [sequences, query_heads, queries, head_dim]."""
    sequences, heads, number, tokens = scores.shape
    grouped = torch.softmax(scores, dim=-1).view(sequences, values.shape[1], -1, tokens)
    return (grouped @ values).view(sequences, heads, number, -1)


def merge(context, log_sum_exp, other, other_log_sum_exp):
    """What one softmax over two disjoint parts gives, from what a softmax over each gave."""
    share = torch.sigmoid(log_sum_exp.to(other_log_sum_exp) - other_log_sum_exp)
    share = share.to(context)[..., None]
    return share * context + (1 - share) * other


class EngramAttention(nn.Module):
    """Multi-head, grouped-query or multi-query causal self-attention with a memory.

    dim: the components of a token's input and output.
    heads, kv_heads: of queries, and of keys and values (default: as many).
    rotary: rotate keys and queries by their positions before they go anywhere (Su et al.,
        RoFormer, 2021).
    gate: learn a gate for each head, in place of the exact merge; see WindowedAttention.
    bias: of the four projections.

    begin() starts a sequence, forward() goes on with it, or by itself attends to what it is
    given alone, all of it, like any attention.
    """

    def __init__(self, dim, heads, kv_heads=None, rotary=False, gate=False, bias=False):
        super().__init__()
        kv_heads = kv_heads or heads
        if dim % heads or heads % kv_heads:
            raise ValueError(f"dim {dim} isn't a multiple of heads {heads}, or they of kv_heads {kv_heads}")
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.rotary = rotary
        self.query = nn.Linear(dim, dim, bias=bias)
        self.key = nn.Linear(dim, kv_heads * self.head_dim, bias=bias)
        self.value = nn.Linear(dim, kv_heads * self.head_dim, bias=bias)
        self.out = nn.Linear(dim, dim, bias=bias)
        self.gate = nn.Parameter(torch.zeros(heads)) if gate else None
        self._attention = None

    def begin(self, window, memory=None):
        """Starts sequences that come piece by piece, with a window, and a memory for the rest."""
        self._attention = WindowedAttention(window, memory, self.gate)

    def end(self):
        """Forgets the sequences: forward() is again by itself."""
        self._attention = None

    def forward(self, x):
        """The attention's output for the next tokens: x and it are [sequences, tokens, dim]."""
        attention = self._attention or WindowedAttention(2 * x.shape[1])
        queries, keys, values = (
            projection(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        if self.rotary:
            turn = _turn(attention.position, x.shape[1], self.head_dim).to(x)
            queries, keys = _rotate(queries, turn), _rotate(keys, turn)
        return self.out(attention(queries, keys, values).transpose(1, 2).flatten(2))


def _turn(start, tokens, dim):
    """[2, tokens, dim / 2]: cosine and sine of how far each pair of components is turned."""
    rates = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angles = torch.arange(start, start + tokens, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()])


def _rotate(x, turn):
    cos, sin = turn
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
