"""A Llama of Hugging Face's with one attention layer whose memory is Engram."""

from torch import nn
from transformers.models.llama.modeling_llama import LlamaAttention, apply_rotary_pos_emb

from engram_attention import WindowedAttention
from engram_memory import EngramMemory


class EngramLlamaAttention(nn.Module):
    """A LlamaAttention with a window of keys and values, and Engram for those before.

    It keeps nothing in the model's cache. A sequence begins where the position is 0, so each
    generate() starts anew; its namespaces are deleted when the next begins, and by close().

    attention: the layer that it stands for, whose projections it takes. Not the first of a
        model, as from that one's part of the cache the model knows how far it is.
    channel: a grpc.Channel.
    name: what the namespaces' names begin with.
    window: how many tokens the layer keeps itself; see WindowedAttention.
    options: more of EngramMemory's.
    """

    def __init__(self, attention: LlamaAttention, channel, name, window, **options):
        super().__init__()
        if attention.layer_idx == 0:
            raise ValueError("the first layer must keep its cache: the model reads its position there")
        if attention.scaling != attention.head_dim**-0.5:
            raise ValueError(f"scores are scaled by {attention.scaling}, not by 1/√{attention.head_dim}")
        self.q_proj, self.k_proj = attention.q_proj, attention.k_proj
        self.v_proj, self.o_proj = attention.v_proj, attention.o_proj
        self.head_dim = attention.head_dim
        self.kv_heads = attention.config.num_key_value_heads
        self.window = window
        self._channel, self._name, self._options = channel, name, options
        self._begun = 0
        self._memory = self._attention = None

    def forward(self, hidden_states, position_embeddings, position_ids, **_):
        """The layer's output for the next tokens, and no weights: as LlamaAttention's."""
        if (position_ids != position_ids[0]).any():
            raise ValueError("sequences of one batch must be equally long: padding isn't masked here")
        start = position_ids[0, 0].item()
        if start == 0:
            self._begin(hidden_states.shape[0])
        elif self._attention is None or start != self._attention.position:
            raise ValueError(f"position {start} doesn't follow on what the layer has seen")

        queries, keys, values = (
            projection(hidden_states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        queries, keys = apply_rotary_pos_emb(queries, keys, *position_embeddings)
        context = self._attention(queries, keys, values)
        return self.o_proj(context.transpose(1, 2).flatten(2)), None

    def _begin(self, sequences):
        self.close()
        self._begun += 1
        self._memory = EngramMemory(
            self._channel, f"{self._name}/{self._begun}", sequences, self.kv_heads, self.head_dim, **self._options
        )
        self._attention = WindowedAttention(self.window, self._memory)

    def close(self):
        """Deletes what the layer has in Engram."""
        if self._memory is not None:
            self._memory.delete()
        self._memory = self._attention = None


def remember(model, layer, channel, name, window, **options):
    """Replaces the attention of a LlamaForCausalLM's layer by an EngramLlamaAttention, and returns it."""
    decoder = model.model.layers[layer]
    decoder.self_attn = EngramLlamaAttention(decoder.self_attn, channel, name, window, **options)
    return decoder.self_attn
