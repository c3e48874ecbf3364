"""Llama (Touvron et al., 2023), and the parts that Mistral, Qwen and Gemma have in common with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, MixtureConfig, Norm, NormHeads
from attention_ref.weights.layouts.config_keys import ABSENT, ACTIVATIONS, Key, Keys, NoEffect, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.parts import (
    BLOCK,
    DECODER,
    MASKS,
    ROPE,
    TIED,
    biases,
    decoder_classes,
    decoder_head,
    layers,
    length_of,
    rotary_of,
)

SLIDING, FULL = "sliding_attention", "full_attention"


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration of Llama."""
    head = decoder_head(values, kind)
    return decoder(values, head, values.hidden_act, bias=values.attention_bias, mlp_bias=values.mlp_bias)


def decoder(
    values: Values,
    head: HeadConfig | None,
    activation: Any,
    *,
    bias: bool = False,
    output_bias: bool | None = None,
    mlp_bias: bool = False,
    layer_types: Any = None,
    rotaries: Any = None,
    normalizes_heads: NormHeads | bool = False,
    head_norm: Norm | None = None,
    norm: Norm | None = None,
    gain_offset: float = 0.0,
    order: Any = "pre",
    shared_norm: bool = False,
    gated: bool = True,
    scale_embedding: float = 1.0,
    networks: Sequence[FeedForwardConfig | MixtureConfig] | None = None,
    **attention: Any,
) -> ModelConfig:
    """The configuration of a decoder like Llama.

    Arguments:
        values: the keys.
        head: what reads it.
        activation: of the gate.
        bias, output_bias, mlp_bias: which projections have a bias.
        layer_types: sliding or full attention, for each block; full when None.
        rotaries: the rotary positions of each type of block, where they differ.
        normalizes_heads: whether queries and keys are normalised; each head with the same gain where no more is said.
        head_norm: of queries and keys, where it is another than `norm`.
        norm: of every sublayer and of queries and keys; an RMSNorm when None.
        gain_offset, order, shared_norm, gated, scale_embedding: as in `Norm`, `BlockConfig`, `FeedForwardConfig` and
            `EmbeddingConfig`.
        networks: the feed-forward network of each block, or its mixture of experts; the same of the keys when None.
        attention: more of `AttentionConfig`.
    """
    model, heads = values.hidden_size, values.num_attention_heads
    head_size = getattr(values, "head_dim", None) or model // heads
    norm = norm or Norm("rms", eps=values.rms_norm_eps, gain_offset=gain_offset)
    norm_heads: Any = "shared" if isinstance(normalizes_heads, bool) else normalizes_heads
    layer_types = layer_types or [FULL] * values.num_hidden_layers
    if len(layer_types) != values.num_hidden_layers or set(layer_types) - {SLIDING, FULL}:
        raise ValueError(f"layer_types must name {SLIDING} or {FULL} for each of {values.num_hidden_layers} layers")
    rotaries = rotaries or dict.fromkeys((SLIDING, FULL), rotary_of(values, head_size))
    plain = {"gated": gated, "input_bias": mlp_bias, "output_bias": mlp_bias}

    def block(layer_type: str, feedforward: FeedForwardConfig | MixtureConfig) -> BlockConfig:
        own = AttentionConfig(
            model=model,
            heads=heads,
            kv_heads=values.num_key_value_heads or heads,
            head_size=head_size,
            query_key_norm=(head_norm or norm) if normalizes_heads else None,
            query_key_norm_heads=norm_heads,
            rotary=rotaries[layer_type],
            causal=True,
            # a sliding window counts the query's own place
            window=(values.sliding_window - 1, 0) if layer_type == SLIDING else None,
            **biases(bias, output_bias),
            **attention,
        )
        return BlockConfig(attention=own, feedforward=feedforward, norm=norm, order=order, shared_norm=shared_norm)

    if networks is None:
        network = FeedForwardConfig(model=model, hidden=values.intermediate_size, activation=activation, **plain)
        networks = [network] * len(layer_types)
    stack = StackConfig(
        embedding=EmbeddingConfig(vocab=values.vocab_size, scale=scale_embedding),
        blocks=tuple(map(block, layer_types, networks)),
        norm=norm,
    )
    return ModelConfig(decoder_stack=stack, head=head)


def normalizes_heads(config: ModelConfig) -> Any:
    """Whether queries and keys are normalised."""
    stack = config.decoder_stack
    norm = getattr(stack.blocks[0].attention, "query_key_norm", None) if stack is not None else None
    return ABSENT if stack is None else norm is not None


def window_of(config: ModelConfig) -> Any:
    """The length of the sliding window; None where no block has one."""
    blocks = config.decoder_stack.blocks if config.decoder_stack else ()
    windows = [getattr(block.attention, "window", None) for block in blocks]
    sizes = {window[0] + 1 for window in windows if window is not None and window[0] is not None}
    return max(sizes, default=None)


def types_of(config: ModelConfig) -> Any:
    """Sliding or full attention, for each block."""
    if config.decoder_stack is None:
        return ABSENT
    return [SLIDING if getattr(block.attention, "window", None) else FULL for block in config.decoder_stack.blocks]


def keys(activation: str = "hidden_act", eps: float = 1e-6, tied: bool = False, eps_name: str = "rms_norm_eps") -> Keys:
    """The keys that all of them have; `eps` and `tied` are their defaults."""
    return {
        "vocab_size": Key(f"{DECODER}.embedding.vocab"),
        "hidden_size": Key(f"{BLOCK}.attention.model"),
        "intermediate_size": Key(f"{BLOCK}.feedforward.hidden"),
        "num_hidden_layers": layers(DECODER),
        "num_attention_heads": Key(f"{BLOCK}.attention.heads"),
        "num_key_value_heads": Key(f"{BLOCK}.attention.sizes.groups", None),
        "head_dim": Key(f"{BLOCK}.attention.sizes.head", None),
        activation: Key(f"{BLOCK}.feedforward.activation", ABSENT, ACTIVATIONS),
        eps_name: Key(f"{BLOCK}.norm.eps", eps),
        "max_position_embeddings": Key(length_of, None),
        "tie_word_embeddings": Key(TIED, tied),
        "pretraining_tp": NoEffect("it is about how a product is cut into parts"),
        **ROPE,
    }


KEYS: Keys = {
    **keys(),
    "attention_bias": Key(f"{BLOCK}.attention.query_bias", False),
    "mlp_bias": Key(f"{BLOCK}.feedforward.input_bias", False),
}

TABLE: Table = {
    "decoder.embedding.token": "embed_tokens.weight",
    "decoder.blocks.*.self_attention_norm": "layers.*.input_layernorm",
    "decoder.blocks.*.self_attention.query": "layers.*.self_attn.q_proj",
    "decoder.blocks.*.self_attention.key": "layers.*.self_attn.k_proj",
    "decoder.blocks.*.self_attention.value": "layers.*.self_attn.v_proj",
    "decoder.blocks.*.self_attention.output": "layers.*.self_attn.o_proj",
    "decoder.blocks.*.feedforward_norm": "layers.*.post_attention_layernorm",
    "decoder.blocks.*.feedforward.input": "layers.*.mlp.up_proj",
    "decoder.blocks.*.feedforward.gate": "layers.*.mlp.gate_proj",
    "decoder.blocks.*.feedforward.output": "layers.*.mlp.down_proj",
    "decoder.norm": "norm",
}

LAYOUT = Layout("llama", KEYS, configure, TABLE, decoder_classes("Llama", "model."), unused=MASKS)
