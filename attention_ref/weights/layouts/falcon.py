"""Falcon (Almazrouei et al., 2023): grouped heads in one tensor, parallel blocks, rotary positions or ALiBi."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm
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
from attention_ref.weights.layouts.rules import WithinGroups


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration: the bias of ALiBi is scaled with the scores."""
    model, heads = values.hidden_size, values.num_attention_heads
    norm, size = Norm("layer", eps=values.layer_norm_epsilon), model // heads
    attention = AttentionConfig(
        model=model,
        heads=heads,
        kv_heads=_groups(values),
        causal=True,
        alibi=values.alibi,
        alibi_factor=size**-0.5 if values.alibi else 1.0,
        rotary=None if values.alibi else rotary_of(values, size),
        **biases(values.bias),
    )
    feedforward = FeedForwardConfig(
        model=model,
        hidden=values.ffn_hidden_size or 4 * model,
        activation=values.activation,
        input_bias=values.bias,
        output_bias=values.bias,
    )
    block = BlockConfig(
        attention=attention,
        feedforward=feedforward,
        norm=norm,
        order="parallel" if values.parallel_attn else "pre",
        shared_norm=_has_one_norm(values),
    )
    embedding = EmbeddingConfig(vocab=values.vocab_size)
    stack = StackConfig(embedding=embedding, blocks=(block,) * values.num_hidden_layers, norm=norm)
    return ModelConfig(decoder_stack=stack, head=decoder_head(values, kind))


def _groups(values: Values) -> int:
    heads: int = values.num_attention_heads
    if values.new_decoder_architecture:
        return values.num_kv_heads or heads
    if not values.multi_query and values.num_kv_heads not in (None, heads):
        raise ValueError(f"num_kv_heads is {values.num_kv_heads}, which no program computes with the other keys")
    return 1 if values.multi_query else heads


def _has_one_norm(values: Values) -> bool:
    """Whether both branches of a parallel block read one norm."""
    norms = values.num_ln_in_parallel_attn or (2 if values.new_decoder_architecture else 1)
    if not values.parallel_attn and values.new_decoder_architecture:
        raise ValueError("new_decoder_architecture is True and parallel_attn False, which no program computes")
    if values.parallel_attn and norms != 1 and not (values.new_decoder_architecture and norms == 2):
        raise ValueError(f"num_ln_in_parallel_attn is {norms}, which no program computes with the other keys")
    return bool(values.parallel_attn) and norms == 1


def _of_block(read: Any) -> Any:
    return lambda config: ABSENT if config.decoder_stack is None else read(config.decoder_stack.blocks[0])


def _table(config: ModelConfig) -> Table:
    block = config.decoder_stack.blocks[0] if config.decoder_stack is not None else None
    has_two = block is not None and block.order == "parallel" and not block.shared_norm
    return {
        "decoder.embedding.token": "word_embeddings.weight",
        "decoder.blocks.*.self_attention_norm": "h.*.ln_attn" if has_two else "h.*.input_layernorm",
        "decoder.blocks.*.self_attention.query+key+value": WithinGroups("h.*.self_attention.query_key_value"),
        "decoder.blocks.*.self_attention.output": "h.*.self_attention.dense",
        "decoder.blocks.*.feedforward_norm": "h.*.ln_mlp" if has_two else "h.*.post_attention_layernorm",
        "decoder.blocks.*.feedforward.input": "h.*.mlp.dense_h_to_4h",
        "decoder.blocks.*.feedforward.output": "h.*.mlp.dense_4h_to_h",
        "decoder.norm": "ln_f",
    }


KEYS: Keys = {
    "vocab_size": Key(f"{DECODER}.embedding.vocab"),
    "hidden_size": Key(f"{BLOCK}.attention.model"),
    "num_hidden_layers": layers(DECODER),
    "num_attention_heads": Key(f"{BLOCK}.attention.heads"),
    "num_kv_heads": Key(f"{BLOCK}.attention.sizes.groups", None),
    "ffn_hidden_size": Key(f"{BLOCK}.feedforward.hidden", None),
    "activation": Key(f"{BLOCK}.feedforward.activation", "gelu", ACTIVATIONS),
    "layer_norm_epsilon": Key(f"{BLOCK}.norm.eps", 1e-5),
    "bias": Key(f"{BLOCK}.attention.query_bias", False),
    "alibi": Key(f"{BLOCK}.attention.alibi", False),
    # a parallel block is always written as one of the new architecture, which has the same tensors
    "new_decoder_architecture": Key(_of_block(lambda block: block.order == "parallel"), False),
    "parallel_attn": Key(_of_block(lambda block: block.order == "parallel"), True),
    "multi_query": Key(_of_block(lambda block: block.attention.sizes.groups == 1), True),
    "num_ln_in_parallel_attn": Key(
        _of_block(lambda block: (1 if block.shared_norm else 2) if block.order == "parallel" else None), None
    ),
    "max_position_embeddings": Key(length_of, 2048),
    "tie_word_embeddings": Key(TIED, True),
    "apply_residual_connection_post_layernorm": NoEffect("transformers does not read it"),
    **ROPE,
}

LAYOUT = Layout(
    "falcon",
    KEYS,
    configure,
    _table,
    decoder_classes("Falcon", "transformer."),
    aliases={"n_embed": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads"},
    unused=MASKS,
    attention="sdpa",  # with "eager", transformers 5.23 adds the bias of ALiBi twice
)
