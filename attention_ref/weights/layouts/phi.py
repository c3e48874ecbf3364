"""Phi-1, Phi-1.5 and Phi-2 (Gunasekar et al., 2023): parallel blocks with one norm."""

from __future__ import annotations

from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm
from attention_ref.weights.layouts.config_keys import ACTIVATIONS, Key, Keys, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.llama import normalizes_heads
from attention_ref.weights.layouts.parts import (
    BLOCK,
    DECODER,
    MASKS,
    PARTIAL_ROPE,
    TIED,
    decoder_classes,
    decoder_head,
    layers,
    length_of,
    rotary_of,
)


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration."""
    model, heads, norm = values.hidden_size, values.num_attention_heads, Norm("layer", eps=values.layer_norm_eps)
    groups, code = values.num_key_value_heads or heads, rotary_of(values, model // heads, fraction=0.5)
    block = BlockConfig(
        attention=AttentionConfig(
            model=model,
            heads=heads,
            kv_heads=groups,
            query_key_norm=norm if values.qk_layernorm else None,
            rotary=code,
            causal=True,
        ),
        feedforward=FeedForwardConfig(model=model, hidden=values.intermediate_size, activation=values.hidden_act),
        norm=norm,
        order="parallel",
        shared_norm=True,
    )
    embedding = EmbeddingConfig(vocab=values.vocab_size)
    stack = StackConfig(embedding=embedding, blocks=(block,) * values.num_hidden_layers, norm=norm)
    return ModelConfig(decoder_stack=stack, head=decoder_head(values, kind, bias=True))


KEYS: Keys = {
    "vocab_size": Key(f"{DECODER}.embedding.vocab"),
    "hidden_size": Key(f"{BLOCK}.attention.model"),
    "intermediate_size": Key(f"{BLOCK}.feedforward.hidden"),
    "num_hidden_layers": layers(DECODER),
    "num_attention_heads": Key(f"{BLOCK}.attention.heads"),
    "num_key_value_heads": Key(f"{BLOCK}.attention.sizes.groups", None),
    "hidden_act": Key(f"{BLOCK}.feedforward.activation", "gelu_tanh", ACTIVATIONS),
    "layer_norm_eps": Key(f"{BLOCK}.norm.eps", 1e-5),
    "tie_word_embeddings": Key(TIED, False),
    "max_position_embeddings": Key(length_of, None),
    "qk_layernorm": Key(normalizes_heads, False),
    **PARTIAL_ROPE,
}

TABLE: Table = {
    "decoder.embedding.token": "embed_tokens.weight",
    "decoder.blocks.*.self_attention_norm": "layers.*.input_layernorm",
    "decoder.blocks.*.self_attention.query": "layers.*.self_attn.q_proj",
    "decoder.blocks.*.self_attention.key": "layers.*.self_attn.k_proj",
    "decoder.blocks.*.self_attention.value": "layers.*.self_attn.v_proj",
    "decoder.blocks.*.self_attention.query_norm": "layers.*.self_attn.q_layernorm",
    "decoder.blocks.*.self_attention.key_norm": "layers.*.self_attn.k_layernorm",
    "decoder.blocks.*.self_attention.output": "layers.*.self_attn.dense",
    "decoder.blocks.*.feedforward.input": "layers.*.mlp.fc1",
    "decoder.blocks.*.feedforward.output": "layers.*.mlp.fc2",
    "decoder.norm": "final_layernorm",
}

LAYOUT = Layout("phi", KEYS, configure, TABLE, decoder_classes("Phi", "model."), unused=MASKS)
