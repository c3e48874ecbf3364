"""The `TransformerEncoder` of keras-hub, or its `TransformerDecoder` where it is causal or has a memory, as a block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attention_ref.conformance.errors import Unsupported
from attention_ref.conformance.peers.paper_block import require_plain
from attention_ref.spec.config import BlockConfig

Tensors = Mapping[str, Any]
NAMES = {
    "self_attention": "self_attention",
    "self_attention_layer": "self_attention",
    "cross_attention": "cross_attention",
    "self_attention_layer_norm": "self_attention_norm",
    "cross_attention_layer_norm": "cross_attention_norm",
    "feedforward_layer_norm": "feedforward_norm",
    "feedforward_intermediate_dense": "feedforward.input",
    "feedforward_output_dense": "feedforward.output",
    "attention_output": "output",
    "gamma": "gain",
    "beta": "bias",
    **{name: name for name in ("query", "key", "value", "kernel", "bias")},
}
"""The end of a variable path in keras-hub, and the corresponding parameter name here."""


def block(config: BlockConfig, parameters: Tensors) -> Callable[..., Any]:
    """Build the layer for inference."""
    import keras
    import keras_hub

    require_plain(config, bias=True, is_memory_free=True)
    network: Any = config.feedforward
    memory = config.cross_attention
    is_decoder = config.attention.causal or memory is not None
    dtype = keras.backend.standardize_dtype(parameters["feedforward.input.kernel"].dtype)
    if dtype == "float64":
        raise Unsupported("float64: the fused attention computes a part of it in float32")
    kind = keras_hub.layers.TransformerDecoder if is_decoder else keras_hub.layers.TransformerEncoder
    layer = kind(
        network.hidden,
        config.attention.heads,
        activation=_activation(network.activation),
        layer_norm_epsilon=config.norm.eps,
        normalize_first=config.order == "pre",
        dtype=dtype,
    )
    shapes = [(None, None, config.model), *([(None, None, memory.sizes.memory)] if memory is not None else [])]
    layer.build(*shapes)
    for variable in layer.weights:
        scopes = [NAMES[scope] for scope in variable.path.split("/") if scope in NAMES]
        variable.assign(parameters[".".join(scopes)])
    return _decoder(config, layer) if is_decoder else _encoder(layer)


def _activation(name: str) -> Any:
    import keras

    callables = {
        "gelu_tanh": lambda x: keras.activations.gelu(x, approximate=True),
        "quick_gelu": lambda x: x * keras.ops.sigmoid(1.702 * x),
    }
    return callables.get(name, name)


def _encoder(layer: Any) -> Callable[..., Any]:
    def encode(array: Any, *, mask: Any = None, key_lengths: Any = None) -> Any:
        return layer(array, padding_mask=_real(array, key_lengths), attention_mask=_mask(array, array, mask))

    return encode


def _decoder(config: BlockConfig, layer: Any) -> Callable[..., Any]:
    def decode(
        array: Any,
        memory: Any = None,
        *,
        mask: Any = None,
        key_lengths: Any = None,
        memory_mask: Any = None,
        memory_lengths: Any = None,
    ) -> Any:
        return layer(
            array,
            memory,
            decoder_padding_mask=_real(array, key_lengths),
            decoder_attention_mask=_mask(array, array, mask),
            encoder_padding_mask=None if memory is None else _real(memory, memory_lengths),
            encoder_attention_mask=None if memory is None else _mask(array, memory, memory_mask),
            use_causal_mask=config.attention.causal,
        )

    return decode


def _real(array: Any, lengths: Any) -> Any:
    import keras

    return None if lengths is None else keras.ops.arange(array.shape[1]) < keras.ops.cast(lengths, "int32")[:, None]


def _mask(array: Any, memory: Any, mask: Any) -> Any:
    """Return a mask `(b,q,k)`."""
    import keras

    if mask is None:
        return None
    shape = (1,) * (4 - len(mask.shape)) + tuple(mask.shape)
    if shape[1] != 1:
        raise Unsupported("a mask that differs between heads")
    return keras.ops.broadcast_to(
        keras.ops.reshape(mask, (shape[0], *shape[2:])), (array.shape[0], array.shape[1], memory.shape[1])
    )
