"""GPT-NeoX (Black et al., 2022) and Pythia: parallel blocks, rotary positions of a part of each head."""

from __future__ import annotations

from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm, Rotary
from attention_ref.weights.layouts.config_keys import ABSENT, ACTIVATIONS, Key, Keys, NoEffect, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.parts import (
    BLOCK,
    DECODER,
    MASKS,
    PARTIAL_ROPE,
    TIED,
    biases,
    decoder_classes,
    decoder_head,
    layers,
    length_of,
    one_rope,
    rotary,
)
from attention_ref.weights.layouts.rules import WithinHeads


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration."""
    model, heads, norm = values.hidden_size, values.num_attention_heads, Norm("layer", eps=values.layer_norm_eps)
    code = _rotary(values, model // heads)
    feedforward = FeedForwardConfig(model=model, hidden=values.intermediate_size, activation=values.hidden_act)
    block = BlockConfig(
        attention=AttentionConfig(model=model, heads=heads, rotary=code, causal=True, **biases(values.attention_bias)),
        feedforward=feedforward,
        norm=norm,
        order="parallel" if values.use_parallel_residual else "pre",
    )
    embedding = EmbeddingConfig(vocab=values.vocab_size)
    stack = StackConfig(embedding=embedding, blocks=(block,) * values.num_hidden_layers, norm=norm)
    return ModelConfig(decoder_stack=stack, head=decoder_head(values, kind))


def _rotary(values: Values, head_size: int) -> Rotary:
    """The rotary positions, which older files have under two names."""
    given = {"rope_theta": values.rope_theta, "partial_rotary_factor": values.partial_rotary_factor}
    own = {"rope_theta": values.rotary_emb_base, "partial_rotary_factor": values.rotary_pct}
    rope = {**own, **one_rope(values)}
    for name, value in given.items():
        if value not in (None, rope[name]):
            raise ValueError(f"{name} is {value} and, under another name, {rope[name]}")
    return rotary(rope, head_size, values.max_position_embeddings, fraction=values.rotary_pct)


def _is_parallel(config: ModelConfig) -> bool:
    return config.decoder_stack is not None and config.decoder_stack.blocks[0].order == "parallel"


KEYS: Keys = {
    "vocab_size": Key(f"{DECODER}.embedding.vocab"),
    "hidden_size": Key(f"{BLOCK}.attention.model"),
    "intermediate_size": Key(f"{BLOCK}.feedforward.hidden"),
    "num_hidden_layers": layers(DECODER),
    "num_attention_heads": Key(f"{BLOCK}.attention.heads"),
    "hidden_act": Key(f"{BLOCK}.feedforward.activation", "gelu", ACTIVATIONS),
    "layer_norm_eps": Key(f"{BLOCK}.norm.eps", 1e-5),
    "attention_bias": Key(f"{BLOCK}.attention.query_bias", True),
    "use_parallel_residual": Key(_is_parallel, True),
    "tie_word_embeddings": Key(TIED, False),
    "max_position_embeddings": Key(length_of, None),
    **PARTIAL_ROPE,
    "rotary_pct": Key(lambda config: ABSENT, 0.25),
    "rotary_emb_base": Key(lambda config: ABSENT, 10000.0),
    "is_decoder": NoEffect("the model is causal in any case"),
}

TABLE: Table = {
    "decoder.embedding.token": "embed_in.weight",
    "decoder.blocks.*.self_attention_norm": "layers.*.input_layernorm",
    "decoder.blocks.*.self_attention.query+key+value": WithinHeads("layers.*.attention.query_key_value"),
    "decoder.blocks.*.self_attention.output": "layers.*.attention.dense",
    "decoder.blocks.*.feedforward_norm": "layers.*.post_attention_layernorm",
    "decoder.blocks.*.feedforward.input": "layers.*.mlp.dense_h_to_4h",
    "decoder.blocks.*.feedforward.output": "layers.*.mlp.dense_4h_to_h",
    "decoder.norm": "final_layer_norm",
}

LAYOUT = Layout(
    "gpt_neox", KEYS, configure, TABLE, decoder_classes("GPTNeoX", "gpt_neox.", head="embed_out"), unused=MASKS
)
