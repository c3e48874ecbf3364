"""Keras' `ops.dot_product_attention`, on the engine that Keras runs on."""

from __future__ import annotations

from typing import Any

from attention_ref.conformance.subject import Unsupported

ARRAYS = "keras"


def attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    scale: float | None = None,
    softcap: float | None = None,
) -> Any:
    """Keras puts the heads behind the length: `(b,q,h,d)`."""
    import keras

    if softcap is not None:
        raise Unsupported("attn_logits_soft_cap needs JAX on a TPU")
    if len(query.shape) != 4:
        raise Unsupported("arrays of rank 4 only")
    if keras.backend.standardize_dtype(query.dtype) == "float64":
        raise Unsupported("float64: every engine computes a part of it in float32")
    _check_engine(keras.backend.backend(), query, key, value, mask, bias, causal)

    def swap(array: Any) -> Any:
        return keras.ops.transpose(array, (0, 2, 1, 3))

    return swap(
        keras.ops.dot_product_attention(
            swap(query), swap(key), swap(value), bias=bias, mask=mask, scale=scale, is_causal=causal
        )
    )


def _check_engine(engine: str, query: Any, key: Any, value: Any, mask: Any, bias: Any, causal: bool) -> None:
    if engine == "torch" and bias is not None and (mask is not None or causal):
        raise Unsupported("the torch engine takes a bias alone, without mask or is_causal")
    if engine == "torch" and any(array is not None and len(array.shape) < 2 for array in (mask, bias)):
        raise Unsupported("a mask of less than two axes: IndexError on the torch engine")
    if engine == "tensorflow" and key.shape[1] == 1 < query.shape[1]:
        raise Unsupported("one key/value head for several query heads: an error on the TensorFlow engine")
    if engine == "jax" and key.shape[-1] != value.shape[-1]:
        raise Unsupported("the jax engine takes a value of the key's shape only")
