"""The layers of `torch.nn`: `MultiheadAttention`, `TransformerEncoder`, `TransformerDecoder`, their layers, and
`Transformer`.

The number of heads, the activation, eps and the order of norms are not in the tensors: they are options by the names
that the layers' constructors have, and `norm_eps` for the norm that ends a `TransformerEncoder` or
`TransformerDecoder`. Whether a decoder is causal is an argument of the call there, and `causal` of the configuration
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm
from attention_ref.weights.layouts.config_keys import ABSENT, Key, Keys, NoEffect, Only, Values
from attention_ref.weights.layouts.layout import LayerLayout, Table, within
from attention_ref.weights.layouts.parts import biases
from attention_ref.weights.layouts.rules import Linear, Merged, SideBySide

Shapes = Mapping[str, tuple[int, ...]]


def attention(values: Values, shapes: Shapes) -> AttentionConfig:
    """The configuration of `MultiheadAttention`; keys and values may be of other sizes than queries."""
    model = shapes["out_proj.weight"][0]
    memory, value_memory = (shapes[name][1] if name in shapes else None for name in ("k_proj_weight", "v_proj_weight"))
    return AttentionConfig(
        model=model,
        heads=values.num_heads,
        memory_size=memory,
        value_memory_size=None if value_memory == memory else value_memory,
        trained_key_value="bias_k" in shapes,
        **biases("in_proj_bias" in shapes),
    )


def block(values: Values, shapes: Shapes, prefix: str, *, crosses: bool) -> BlockConfig:
    """The configuration of an encoder layer or a decoder layer."""
    hidden, model = shapes[f"{prefix}linear1.weight"]
    bias = f"{prefix}linear1.bias" in shapes
    own = AttentionConfig(model=model, heads=values.nhead, causal=crosses and values.causal, **biases(bias))
    memory = AttentionConfig(model=model, heads=values.nhead, **biases(bias)) if crosses else None
    return BlockConfig(
        attention=own,
        cross_attention=memory,
        feedforward=FeedForwardConfig(
            model=model, hidden=hidden, activation=values.activation, input_bias=bias, output_bias=bias
        ),
        norm=Norm("layer", eps=values.layer_norm_eps, bias=bias),
        order="pre" if values.norm_first else "post",
    )


def stack(values: Values, shapes: Shapes, prefix: str = "", *, crosses: bool) -> StackConfig:
    """The configuration of `TransformerEncoder` or `TransformerDecoder`, with the norm at the end where it has one."""
    start = f"{prefix}layers."
    numbers = {name.removeprefix(start).partition(".")[0] for name in shapes if name.startswith(start)}
    one = block(values, shapes, f"{start}0.", crosses=crosses)
    norm, eps = None, getattr(values, "norm_eps", values.layer_norm_eps)
    if f"{prefix}norm.weight" in shapes:
        if eps is None:
            raise ValueError("norm_eps, the eps of the norm at the end, is missing")
        norm = Norm("layer", eps=eps, bias=f"{prefix}norm.bias" in shapes)
    return StackConfig(embedding=EmbeddingConfig(), blocks=(one,) * len(numbers), norm=norm)


def transformer(values: Values, shapes: Shapes) -> ModelConfig:
    """The configuration of `Transformer`: both stacks end with a norm in either order."""
    encoder, decoder = (stack(values, shapes, f"{name}.", crosses=name == "decoder") for name in ("encoder", "decoder"))
    return ModelConfig(encoder_stack=encoder, decoder_stack=decoder)


def _attention_table(config: Any) -> Table:
    apart = {config.sizes.memory, config.sizes.value_memory} != {config.model}
    trained = {f"trained_{name}": Merged(f"bias_{name[0]}", 2) for name in ("key", "value")}
    kernels = {f"{name}.kernel": Linear(f"{name[0]}_proj_weight") for name in ("query", "key", "value")}
    packed = SideBySide("in_proj_{leaf}", transposed=True)
    return {"query+key+value": packed, "output": "out_proj", **trained, **(kernels if apart else {})}


def _block_table(config: BlockConfig) -> Table:
    norms = ["self_attention_norm", *(["cross_attention_norm"] if config.cross_attention else []), "feedforward_norm"]
    crosses = config.cross_attention
    return {
        **within("self_attention", "self_attn", _attention_table(config.attention)),
        **(within("cross_attention", "multihead_attn", _attention_table(crosses)) if crosses else {}),
        "feedforward.input": "linear1",
        "feedforward.output": "linear2",
        **{name: f"norm{i}" for i, name in enumerate(norms, start=1)},
    }


def _stack_table(config: StackConfig) -> Table:
    return {**within("blocks.*", "layers.*", _block_table(config.blocks[0])), "norm": "norm"}


def _transformer_table(config: ModelConfig) -> Table:
    pairs = {"encoder": config.encoder_stack, "decoder": config.decoder_stack}
    return {
        name: entry
        for side, each in pairs.items()
        if each
        for name, entry in within(side, side, _stack_table(each)).items()
    }


def _first(config: Any) -> BlockConfig:
    """The first block of a configuration with blocks, and a block itself."""
    if isinstance(config, ModelConfig):
        return _first(config.decoder_stack)
    return config.blocks[0] if isinstance(config, StackConfig) else config


def _activation_of(config: Any) -> Any:
    network: Any = _first(config).feedforward
    return network.activation


_BY_CALL = NoEffect("it is about the calls, not about what is computed")
ATTENTION_KEYS: Keys = {
    "num_heads": Key("heads"),
    **dict.fromkeys(("embed_dim", "kdim", "vdim", "bias", "add_bias_kv"), NoEffect("the tensors say it")),
    **dict.fromkeys(("batch_first", "dropout", "device", "dtype"), _BY_CALL),
    "add_zero_attn": Only(False),
}
BLOCK_KEYS: Keys = {
    "nhead": Key(lambda config: _first(config).attention.heads),
    "activation": Key(_activation_of, "relu"),
    "layer_norm_eps": Key(lambda config: _first(config).norm.eps, 1e-5),
    "norm_first": Key(lambda config: _first(config).order == "pre", False),
    "causal": Key(lambda config: ABSENT, True),
    **dict.fromkeys(
        ("d_model", "dim_feedforward", "bias", "num_layers", "num_encoder_layers", "num_decoder_layers"),
        NoEffect("the tensors say it"),
    ),
    **dict.fromkeys(("batch_first", "dropout", "device", "dtype"), _BY_CALL),
}
STACK_KEYS: Keys = {**BLOCK_KEYS, "norm_eps": Key(lambda config: config.norm.eps if config.norm else None, None)}

LAYERS = {
    "torch.nn.MultiheadAttention": LayerLayout(ATTENTION_KEYS, attention, _attention_table),
    "torch.nn.TransformerEncoderLayer": LayerLayout(
        BLOCK_KEYS, lambda values, shapes: block(values, shapes, "", crosses=False), _block_table
    ),
    "torch.nn.TransformerDecoderLayer": LayerLayout(
        BLOCK_KEYS, lambda values, shapes: block(values, shapes, "", crosses=True), _block_table
    ),
    "torch.nn.TransformerEncoder": LayerLayout(
        STACK_KEYS, lambda values, shapes: stack(values, shapes, crosses=False), _stack_table
    ),
    "torch.nn.TransformerDecoder": LayerLayout(
        STACK_KEYS, lambda values, shapes: stack(values, shapes, crosses=True), _stack_table
    ),
    "torch.nn.Transformer": LayerLayout(BLOCK_KEYS, transformer, _transformer_table),
}
