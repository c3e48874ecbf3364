"""OPT (Zhang et al., 2022), with norms before the sublayers or, in one size, behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Learned, Norm
from attention_ref.weights.layouts.config_keys import ABSENT, ACTIVATIONS, Key, Keys, Only, Values
from attention_ref.weights.layouts.layout import Layout, Table
from attention_ref.weights.layouts.parts import (
    BLOCK,
    DECODER,
    MASKS,
    TIED,
    biases,
    decoder_classes,
    decoder_head,
    layers,
)

NORM = Norm("layer", eps=1e-5)


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration; in one size the token vectors are projected, and projected back before the head, or as the
    result where there is no head.
    """
    model, bias, is_pre = values.hidden_size, values.enable_bias, values.do_layer_norm_before
    size = None if values.word_embed_proj_dim in (None, model) else values.word_embed_proj_dim
    projection: Any = {} if size is None else {"size": size, "projected": "tokens", "projection_bias": False}
    head = decoder_head(values, kind)
    if size is not None:
        last: Any = {"transform": "identity", "transform_size": size, "transform_bias": False}
        head = HeadConfig(kind="language", size=size) if head is None else replace(head, **last)
    block = BlockConfig(
        attention=AttentionConfig(model=model, heads=values.num_attention_heads, causal=True, **biases(bias)),
        feedforward=FeedForwardConfig(
            model=model,
            hidden=values.ffn_dim,
            activation=values.activation_function,
            input_bias=bias,
            output_bias=bias,
        ),
        norm=NORM,
        order="pre" if is_pre else "post",
    )
    positions = Learned(length=values.max_position_embeddings, offset=2)
    stack = StackConfig(
        embedding=EmbeddingConfig(vocab=values.vocab_size, positions=positions, **projection),
        blocks=(block,) * values.num_hidden_layers,
        norm=NORM if is_pre and not values._remove_final_layer_norm else None,
    )
    return ModelConfig(decoder_stack=stack, head=head)


def _size_of(config: ModelConfig) -> Any:
    stack = config.decoder_stack
    return ABSENT if stack is None else stack.embedding.size or stack.model


def _is_pre(config: ModelConfig) -> bool:
    return config.decoder_stack is not None and config.decoder_stack.blocks[0].order == "pre"


def _lacks_norm(config: ModelConfig) -> Any:
    return _is_pre(config) and config.decoder_stack is not None and config.decoder_stack.norm is None


KEYS: Keys = {
    "vocab_size": Key(f"{DECODER}.embedding.vocab"),
    "hidden_size": Key(f"{BLOCK}.attention.model"),
    "word_embed_proj_dim": Key(_size_of, None),
    "ffn_dim": Key(f"{BLOCK}.feedforward.hidden"),
    "num_hidden_layers": layers(DECODER),
    "num_attention_heads": Key(f"{BLOCK}.attention.heads"),
    "activation_function": Key(f"{BLOCK}.feedforward.activation", "relu", ACTIVATIONS),
    "max_position_embeddings": Key(f"{DECODER}.embedding.positions.length"),
    "do_layer_norm_before": Key(_is_pre, True),
    "_remove_final_layer_norm": Key(_lacks_norm, False),
    "enable_bias": Key(f"{BLOCK}.attention.query_bias", True),
    "tie_word_embeddings": Key(TIED, True),
    "layer_norm_elementwise_affine": Only(True),
}

TABLE: Table = {
    "decoder.embedding.token": "decoder.embed_tokens.weight",
    "decoder.embedding.position": "decoder.embed_positions.weight",
    "decoder.blocks.*.self_attention_norm": "decoder.layers.*.self_attn_layer_norm",
    "decoder.blocks.*.self_attention.query": "decoder.layers.*.self_attn.q_proj",
    "decoder.blocks.*.self_attention.key": "decoder.layers.*.self_attn.k_proj",
    "decoder.blocks.*.self_attention.value": "decoder.layers.*.self_attn.v_proj",
    "decoder.blocks.*.self_attention.output": "decoder.layers.*.self_attn.out_proj",
    "decoder.blocks.*.feedforward_norm": "decoder.layers.*.final_layer_norm",
    "decoder.blocks.*.feedforward.input": "decoder.layers.*.fc1",
    "decoder.blocks.*.feedforward.output": "decoder.layers.*.fc2",
    "decoder.norm": "decoder.final_layer_norm",
    "decoder.embedding.projection": "decoder.project_in",
}


def _table(config: ModelConfig) -> Table:
    """The tensors of the stack; the projection back is that of a head, or the whole head."""
    head = config.head
    is_result = head is not None and head.transform is None and config.last_stack.embedding.size is not None
    back = {"head.kernel": "decoder.project_out.weight"} if is_result else {"head.transform": "decoder.project_out"}
    return {**TABLE, **back}


LAYOUT = Layout("opt", KEYS, configure, _table, decoder_classes("OPT", "model."), unused=MASKS)
