"""A character-level Transformer, one of whose layers attends beyond the others' window."""

import torch
from torch import nn
from torch.nn import functional

from engram_attention import EngramAttention

WINDOW = 128  # of the layers without a memory
DIM, HEADS, KV_HEADS = 128, 4, 2


class CharacterModel(nn.Module):
    """Four layers of grouped-query attention. The third has the memory.

    Its keys and queries aren't rotated: what it finds, it finds by content, at whatever
    distance. Those of the others are.
    """

    MEMORY_LAYER = 2

    def __init__(self, characters):
        super().__init__()
        self.characters = characters
        self.embedding = nn.Embedding(len(characters), DIM)
        self.layers = nn.ModuleList(Layer(rotary=i != self.MEMORY_LAYER) for i in range(4))
        self.norm = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, len(characters), bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.05)

    def begin(self, window, memory=None):
        """Starts sequences: the memory layer has this window, and this memory for what leaves it."""
        for i, layer in enumerate(self.layers):
            if i == self.MEMORY_LAYER:
                layer.attention.begin(window, memory)
            else:
                layer.attention.begin(WINDOW)

    def forward(self, tokens):
        """Logits for the character after each: from [sequences, tokens], one dimension more."""
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))

    def bits(self, tokens, targets):
        """What each target costs, in bits."""
        nats = functional.cross_entropy(self(tokens).flatten(0, 1), targets.flatten(), reduction="none")
        return nats.view(targets.shape) / torch.log(torch.tensor(2.0))

    def encode(self, text):
        """[characters of text]; one that the model doesn't know is its last."""
        known = {c: i for i, c in enumerate(self.characters)}
        return torch.tensor([known.get(c, len(known) - 1) for c in text])


class Layer(nn.Module):
    def __init__(self, rotary):
        super().__init__()
        self.attention_norm = nn.LayerNorm(DIM)
        self.attention = EngramAttention(DIM, HEADS, KV_HEADS, rotary=rotary)
        self.norm = nn.LayerNorm(DIM)
        self.up, self.down = nn.Linear(DIM, 4 * DIM), nn.Linear(4 * DIM, DIM)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.down(functional.gelu(self.up(self.norm(x))))


def train(model, text, steps, context, sequences, report):
    """Trains on pieces of so many characters, over which the memory layer attends to all."""
    tokens = model.encode(text)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    peak = 2e-3
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=0.1)
    model.train()
    for step in range(steps):
        starts = torch.randint(0, len(tokens) - context, (sequences, 1))
        piece = tokens[starts + torch.arange(context + 1)]
        model.begin(2 * context)
        bits = model.bits(piece[:, :-1], piece[:, 1:]).mean()
        optimizer.zero_grad()
        bits.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        report(step + 1, bits.item())
    model.eval()
