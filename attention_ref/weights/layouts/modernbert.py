"""ModernBERT (Warner et al., 2024): rotary positions of two bases, windows, and no norm before the first attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm
from attention_ref.weights.layouts.config_keys import (
    ABSENT,
    ACTIVATIONS,
    Key,
    Keys,
    NoEffect,
    Only,
    Values,
)
from attention_ref.weights.layouts.layout import Architecture, Layout, Table
from attention_ref.weights.layouts.llama import FULL, SLIDING
from attention_ref.weights.layouts.parts import ENCODER, MASKS, TIED, biases, layers, rope_of, rotary
from attention_ref.weights.layouts.rules import SideBySide

BLOCK = f"{ENCODER}.blocks.0"
THETAS = {FULL: 160000.0, SLIDING: 10000.0}


def configure(values: Values, kind: str) -> ModelConfig:
    """The configuration: the first block has no norm before its self-attention."""
    norm = Norm("layer", eps=values.norm_eps, bias=values.norm_bias)
    first, *others = (_block(values, norm, layer_type) for layer_type in _layer_types(values))
    stack = StackConfig(
        embedding=EmbeddingConfig(vocab=values.vocab_size, norm=norm),
        blocks=(replace(first, self_attention_norm=False), *others),
        norm=norm,
    )
    return ModelConfig(encoder_stack=stack, head=_head(values, kind, norm))


def _block(values: Values, norm: Norm, layer_type: str) -> BlockConfig:
    model, heads, side = values.hidden_size, values.num_attention_heads, values.local_attention // 2
    attention = AttentionConfig(
        model=model,
        heads=heads,
        rotary=_rotary(values, layer_type),
        window=(side, side) if layer_type == SLIDING else None,
        **biases(values.attention_bias),
    )
    feedforward = FeedForwardConfig(
        model=model,
        hidden=values.intermediate_size,
        activation=values.hidden_activation,
        gated=True,
        input_bias=values.mlp_bias,
        output_bias=values.mlp_bias,
    )
    return BlockConfig(attention=attention, feedforward=feedforward, norm=norm, order="pre")


def _rotary(values: Values, layer_type: str) -> Any:
    given = (values.rope_parameters or {}).get(layer_type) or {}
    rope = {"rope_type": "default", **given, **(values.rope_scaling or {})}
    theta = {FULL: values.global_rope_theta, SLIDING: values.local_rope_theta}[layer_type]
    size = values.hidden_size // values.num_attention_heads
    return rotary(rope, size, values.max_position_embeddings, THETAS[layer_type] if theta is None else theta)


def _layer_types(values: Values) -> list[str]:
    every, count = values.global_attn_every_n_layers, values.num_hidden_layers
    types = values.layer_types or [SLIDING if i % every else FULL for i in range(count)]
    if len(types) != count or set(types) - {SLIDING, FULL}:
        raise ValueError(f"layer_types must name {SLIDING} or {FULL} for each of {count} layers")
    unknown = set(values.rope_parameters or {}) - {SLIDING, FULL}
    if unknown:
        raise ValueError(f"rope_parameters has {', '.join(sorted(unknown))}; it must have {SLIDING} and {FULL}")
    return list(types)


def _head(values: Values, kind: str, norm: Norm) -> HeadConfig | None:
    transform: Any = {
        "transform": values.classifier_activation,
        "transform_bias": values.classifier_bias,
        "norm": norm,
    }
    if kind == "masked":
        tied, size = values.tie_word_embeddings, values.vocab_size
        return HeadConfig(kind="language", size=size, bias=values.decoder_bias, tied=tied, **transform)
    if kind == "places":
        return HeadConfig(kind="language", size=values.num_labels, bias=True, **transform)
    if kind == "classifier":
        if values.classifier_pooling != "cls":
            raise ValueError(f"classifier_pooling is {values.classifier_pooling!r}; only 'cls' is supported")
        return HeadConfig(kind="classifier", size=values.num_labels, bias=True, **transform)
    return None


def _types_of(config: ModelConfig) -> Any:
    if config.encoder_stack is None:
        return ABSENT
    return [SLIDING if getattr(block.attention, "window", None) else FULL for block in config.encoder_stack.blocks]


def _ropes_of(config: ModelConfig) -> Any:
    types = _types_of(config)
    if types is ABSENT:
        return ABSENT
    return {name: _rope(config, types.index(name)) for name in dict.fromkeys(types)}


def _rope(config: ModelConfig, block: int) -> Any:
    return rope_of(ModelConfig(decoder_stack=config.encoder_stack), block)


def _window_of(config: ModelConfig) -> Any:
    stack = config.encoder_stack
    windows = [getattr(block.attention, "window", None) for block in stack.blocks] if stack else []
    sides = [window[0] for window in windows if window]
    return 2 * sides[0] if sides and sides[0] is not None else ABSENT


def _if_head(name: str) -> Any:
    return lambda config: ABSENT if config.head is None else getattr(config.head, name)


KEYS: Keys = {
    "vocab_size": Key(f"{ENCODER}.embedding.vocab"),
    "hidden_size": Key(f"{BLOCK}.attention.model"),
    "intermediate_size": Key(f"{BLOCK}.feedforward.hidden"),
    "num_hidden_layers": layers(ENCODER),
    "num_attention_heads": Key(f"{BLOCK}.attention.heads"),
    "hidden_activation": Key(f"{BLOCK}.feedforward.activation", "gelu", ACTIVATIONS),
    "norm_eps": Key(f"{BLOCK}.norm.eps", 1e-5),
    "norm_bias": Key(f"{BLOCK}.norm.bias", False),
    "attention_bias": Key(f"{BLOCK}.attention.query_bias", False),
    "mlp_bias": Key(f"{BLOCK}.feedforward.input_bias", False),
    "layer_types": Key(_types_of, None),
    "rope_parameters": Key(_ropes_of, None),
    "local_attention": Key(_window_of, 128),
    "decoder_bias": Key(_if_head("bias"), True),
    "classifier_bias": Key(_if_head("transform_bias"), False),
    "classifier_activation": Key(_if_head("transform"), "gelu", ACTIVATIONS),
    "classifier_pooling": Key(lambda config: ABSENT, "cls"),
    "tie_word_embeddings": Key(TIED, True),
    "max_position_embeddings": Key(lambda config: ABSENT, None),
    **{name: Key(lambda config: ABSENT, None) for name in ("global_rope_theta", "local_rope_theta", "rope_scaling")},
    "global_attn_every_n_layers": Key(lambda config: ABSENT, 3),
    "position_embedding_type": Only("absolute", "sans_pos"),
    **dict.fromkeys(
        ("embedding_dropout", "mlp_dropout", "initializer_cutoff_factor", "sparse_pred_ignore_index"),
        NoEffect("it acts in training only"),
    ),
    **dict.fromkeys(
        ("deterministic_flash_attn", "reference_compile", "repad_logits_with_grad"),
        NoEffect("it is about how the model is computed, not what"),
    ),
    "sparse_prediction": Only(False),
    "cls_token_id": NoEffect("it says what a token means, not what the model computes"),
}

TABLE: Table = {
    "encoder.embedding.token": "embeddings.tok_embeddings.weight",
    "encoder.embedding.norm": "embeddings.norm",
    "encoder.blocks.*.self_attention_norm": "layers.*.attn_norm",
    "encoder.blocks.*.self_attention.query+key+value": SideBySide("layers.*.attn.Wqkv.{leaf}", transposed=True),
    "encoder.blocks.*.self_attention.output": "layers.*.attn.Wo",
    "encoder.blocks.*.feedforward_norm": "layers.*.mlp_norm",
    "encoder.blocks.*.feedforward.gate+input": SideBySide("layers.*.mlp.Wi.{leaf}", transposed=True),
    "encoder.blocks.*.feedforward.output": "layers.*.mlp.Wo",
    "encoder.norm": "final_norm",
}
_TRANSFORM: Table = {"head.transform": "head.dense", "head.norm": "head.norm"}

LAYOUT = Layout(
    "modernbert",
    KEYS,
    configure,
    TABLE,
    {
        "ModernBertModel": Architecture("none"),
        "ModernBertForMaskedLM": Architecture("masked", {**_TRANSFORM, "head": "decoder"}, "model."),
        "ModernBertForSequenceClassification": Architecture(
            "classifier", {**_TRANSFORM, "head": "classifier"}, "model."
        ),
        "ModernBertForTokenClassification": Architecture("places", {**_TRANSFORM, "head": "classifier"}, "model."),
    },
    unused=MASKS,
)
