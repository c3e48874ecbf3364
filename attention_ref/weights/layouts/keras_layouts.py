"""The attention layers of Keras, and keras-hub's `TransformerEncoder` and `TransformerDecoder`.

Tensors are named by the paths of the layer's variables, behind the name of the layer. Options are those of the layer's
`get_config()`. Whether an attention is causal is an argument of the call there, and `causal` of the configuration here.
"""

from __future__ import annotations

from collections.abc import Mapping

from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm
from attention_ref.weights.layouts.config_keys import ABSENT, Key, Keys, NoEffect, Only, Values
from attention_ref.weights.layouts.layout import LayerLayout, Table
from attention_ref.weights.layouts.parts import biases
from attention_ref.weights.layouts.rules import Rule

Shapes = Mapping[str, tuple[int, ...]]


def attention(shapes: Shapes, prefix: str = "", *, causal: bool = False) -> AttentionConfig:
    """The configuration of an attention layer, whose tensors say all of it."""
    model, heads, size = shapes[f"{prefix}query/kernel"]
    memory, groups, _ = shapes[f"{prefix}key/kernel"]
    _, value_size, output = shapes[f"{prefix}attention_output/kernel"]
    return AttentionConfig(
        model=model,
        heads=heads,
        kv_heads=None if groups == heads else groups,
        head_size=size,
        value_size=None if value_size == size else value_size,
        memory_size=None if memory == model else memory,
        output_size=None if output == model else output,
        causal=causal,
        **biases(f"{prefix}query/bias" in shapes),
    )


def encoder(values: Values, shapes: Shapes) -> BlockConfig:
    """The configuration of keras-hub's `TransformerEncoder`."""
    return _block(values, shapes, "self_attention_layer/", causal=False)


def decoder(values: Values, shapes: Shapes) -> BlockConfig:
    """The configuration of keras-hub's `TransformerDecoder`, with a memory or without."""
    return _block(values, shapes, "self_attention/", causal=values.causal)


def _block(values: Values, shapes: Shapes, name: str, *, causal: bool) -> BlockConfig:
    crosses = "cross_attention/query/kernel" in shapes
    model, hidden = shapes["feedforward_intermediate_dense/kernel"]
    return BlockConfig(
        attention=attention(shapes, name, causal=causal),
        cross_attention=attention(shapes, "cross_attention/") if crosses else None,
        feedforward=FeedForwardConfig(model=model, hidden=hidden, activation=values.activation),
        norm=Norm("layer", eps=values.layer_norm_epsilon),
        order="pre" if values.normalize_first else "post",
    )


ATTENTION = {
    **{name: Rule(f"{name}/{{our}}") for name in ("query", "key", "value")},
    "output": Rule("attention_output/{our}"),
}


def _block_table(self_attention: str) -> Table:
    scopes = {"self_attention": self_attention, "cross_attention": "cross_attention"}
    norms = ("self_attention", "cross_attention", "feedforward")
    return {
        **{
            f"{ours}.{name}": Rule(f"{scope}/{rule.name}")
            for ours, scope in scopes.items()
            for name, rule in ATTENTION.items()
        },
        "feedforward.input": Rule("feedforward_intermediate_dense/{our}"),
        "feedforward.output": Rule("feedforward_output_dense/{our}"),
        **{f"{name}_norm.gain": Rule(f"{name}_layer_norm/gamma") for name in norms},
        **{f"{name}_norm.bias": Rule(f"{name}_layer_norm/beta") for name in norms},
    }


_TENSORS = NoEffect("the tensors say it")
_TRAINING = NoEffect("it acts in training only")
_FORM = NoEffect("it is about the object, not about what it computes")
_CONSTRAINED = [f"{part}_{kind}" for part in ("kernel", "bias", "activity") for kind in ("regularizer", "constraint")]
_COMMON: Keys = {
    **dict.fromkeys(("name", "dtype", "seed", "decoder_sequence_shape", "encoder_sequence_shape"), _FORM),
    **dict.fromkeys(("trainable", "dropout", "kernel_initializer", "bias_initializer", *_CONSTRAINED), _TRAINING),
}
_ATTENTION_KEYS: Keys = {
    **dict.fromkeys(
        (
            "num_heads",
            "key_dim",
            "value_dim",
            "use_bias",
            "output_shape",
            "head_dim",
            "num_query_heads",
            "num_key_value_heads",
        ),
        _TENSORS,
    ),
    **_COMMON,
    "use_gate": Only(False),
    "sliding_window": Only(None),
    "attention_axes": Only(None, (1,), [1]),
    "causal": Key(lambda config: ABSENT, False),
}
_BLOCK_KEYS: Keys = {
    **_COMMON,
    "intermediate_dim": _TENSORS,
    "num_heads": _TENSORS,
    "activation": Key("feedforward.activation", "relu"),
    "layer_norm_epsilon": Key("norm.eps", 1e-5),
    "normalize_first": Key(lambda config: config.order == "pre", False),
    "causal": Key(lambda config: ABSENT, True),
}
_ATTENTION_LAYER = LayerLayout(
    _ATTENTION_KEYS, lambda values, shapes: attention(shapes, causal=values.causal), lambda config: ATTENTION
)

LAYERS = {
    "keras.layers.MultiHeadAttention": _ATTENTION_LAYER,
    "keras.layers.GroupQueryAttention": _ATTENTION_LAYER,
    "keras_hub.layers.TransformerEncoder": LayerLayout(
        _BLOCK_KEYS, encoder, lambda config: _block_table("self_attention_layer")
    ),
    "keras_hub.layers.TransformerDecoder": LayerLayout(
        _BLOCK_KEYS, decoder, lambda config: _block_table("self_attention")
    ),
}
