"""Attention as a workload: whole sequences, causal ones, windows, one step of decoding, and gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from attention_ref.bench.workload import Call, Contestant, Workload
from attention_ref.spec.errors import SpecificationError

KINDS = ("full", "causal", "window", "decode", "gradients")
WINDOW = 256
"""How many keys before its own a query sees in the workload `window`."""

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def attention(kind: str, length: int, *, batch: int = 1, heads: int = 8, size: int = 64) -> Workload:
    """Return attention in float32 over `length` keys as a workload.

    Arguments:
        kind: `full`; `causal`; `window`, causal over the last 256 keys; `decode`, one query that sees all keys; or
            `gradients`, of a causal call with respect to query, key and value.
        length: the number of keys, and of queries but in `decode`.
        batch, heads, size: the other sizes of `(b,h,l,d)`.

    Raises:
        SpecificationError: when there is no such kind.
    """
    if kind not in KINDS:
        raise SpecificationError(f"bench: kind must be one of {', '.join(KINDS)}; received {kind!r}")
    queries = 1 if kind == "decode" else length
    generator = np.random.default_rng(0)
    shapes = [(batch, heads, rows, size) for rows in (queries, length, length)]
    arrays = tuple(generator.normal(size=shape).astype(np.float32) for shape in shapes)
    contestants = _gradients(arrays) if kind == "gradients" else _values(kind, arrays)
    pairs = queries * length * {"causal": 0.5, "gradients": 0.5}.get(kind, 1.0)
    if kind == "window":
        pairs = float(sum(min(i + 1, WINDOW + 1) for i in range(length)))
    passes = 3.5 if kind == "gradients" else 1.0  # two products forward, five backward
    return Workload(
        operation=f"attention, {kind}",
        length=length,
        sizes=f"batch {batch}, heads {heads}, queries {queries}, keys {length}, head size {size}, float32",
        contestants=contestants,
        operations=4 * batch * heads * pairs * size * passes,
        bytes=4.0 * (2 * arrays[0].size + arrays[1].size + arrays[2].size),
    )


def options(kind: str) -> dict[str, Any]:
    """Return the options of a backend's `attention` for a kind of workload."""
    window = {"window": (WINDOW, None)} if kind == "window" else {}
    return {"causal": True, **window} if kind in ("causal", "window") else {}


def _values(kind: str, arrays: Any) -> tuple[Contestant, ...]:
    given = options(kind)
    return (
        Contestant("numpy", partial(_numpy, arrays, given)),
        Contestant("numpy:reference", partial(_numpy, arrays, given | {"implementation": "reference"})),
        Contestant("textbook numpy", partial(_textbook, kind, arrays)),
        Contestant("torch", partial(_torch, arrays, given), ("torch",)),
        Contestant("torch.sdpa", partial(_sdpa, kind, arrays), ("torch",), is_fused=True),
        Contestant("keras", partial(_keras, arrays, given), ("keras",)),
        Contestant("keras.ops", partial(_keras_ops, kind, arrays), ("keras",), is_fused=True),
        Contestant("jax.nn", partial(_jax, kind, arrays), ("jax",), is_fused=True),
    )


def _gradients(arrays: Any) -> tuple[Contestant, ...]:
    return (
        Contestant("numpy", partial(_numpy_gradients, arrays)),
        Contestant("torch", partial(_torch_gradients, arrays, _torch_attention(causal=True)), ("torch",)),
        Contestant(
            "torch.sdpa", partial(_torch_gradients, arrays, _sdpa_function("causal")), ("torch",), is_fused=True
        ),
    )


def _numpy(arrays: Arrays, given: dict[str, Any]) -> Call:
    from attention_ref.numpy import attention as function

    return lambda: function(*arrays, **given)


def _numpy_gradients(arrays: Arrays) -> Call:
    from attention_ref.numpy.gradients import attention_gradients

    cotangent = np.ones_like(arrays[0])
    return lambda: attention_gradients(*arrays, cotangent, causal=True)


def _textbook(kind: str, arrays: Arrays) -> Call:
    """The formula as textbooks write it, with the whole matrix of scores."""
    query, key, value = arrays
    scale, visible = np.float32(query.shape[-1] ** -0.5), _mask(kind, arrays)

    def function() -> np.ndarray:
        scores = query @ key.swapaxes(-1, -2) * scale  # (b,h,q,k)
        if visible is not None:
            scores = np.where(visible, scores, np.float32(-np.inf))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return weights / weights.sum(axis=-1, keepdims=True) @ value

    return function


def _mask(kind: str, arrays: Arrays) -> np.ndarray | None:
    """Return the mask `(q,k)` that a function without options for visibility needs, if any."""
    queries, keys = arrays[0].shape[2], arrays[1].shape[2]
    if kind not in ("causal", "window"):
        return None
    visible = np.tri(queries, keys, dtype=bool)
    return visible & ~np.tri(queries, keys, -WINDOW - 1, dtype=bool) if kind == "window" else visible


def _torch_attention(**given: Any) -> Callable[..., Any]:
    def function(*tensors: Any) -> Any:
        from attention_ref.torch import attention as torch_attention

        return torch_attention(*tensors, **given)

    return function


def _sdpa_function(kind: str, mask: Any = None) -> Callable[..., Any]:
    def function(*tensors: Any) -> Any:
        from torch.nn.functional import scaled_dot_product_attention

        return scaled_dot_product_attention(*tensors, attn_mask=mask, is_causal=kind == "causal")

    return function


def _torch(arrays: Arrays, given: dict[str, Any]) -> Call:
    from attention_ref.torch import attention as function

    return without_gradients(partial(function, **given), arrays)


def _sdpa(kind: str, arrays: Arrays) -> Call:
    import torch

    mask = torch.from_numpy(_mask(kind, arrays)) if kind == "window" else None  # it has an option for `causal`
    return without_gradients(_sdpa_function(kind, mask), arrays)


def without_gradients(function: Callable[..., Any], arrays: tuple[np.ndarray, ...]) -> Call:
    """Return a call of a function of tensors of PyTorch without gradients."""
    import torch

    tensors = [torch.from_numpy(array) for array in arrays]

    def call() -> Any:
        with torch.no_grad():
            return function(*tensors)

    return call


def _torch_gradients(arrays: Arrays, function: Callable[..., Any]) -> Call:
    import torch

    tensors = [torch.from_numpy(array).requires_grad_() for array in arrays]
    cotangent = torch.ones_like(tensors[0])
    return lambda: torch.autograd.grad(function(*tensors), tensors, cotangent)


def _keras(arrays: Arrays, given: dict[str, Any]) -> Call:
    from attention_ref.keras import attention as function

    return compiled_in_keras(partial(function, **given), arrays)


def _keras_ops(kind: str, arrays: Arrays) -> Call:
    from keras import ops

    visible = _mask(kind, arrays)
    mask = None if visible is None else visible[None, None]

    def function(query: Any, key: Any, value: Any) -> Any:
        lengths_first = (ops.swapaxes(array, 1, 2) for array in (query, key, value))  # (b,l,h,d)
        return ops.swapaxes(ops.dot_product_attention(*lengths_first, mask=mask), 1, 2)

    return compiled_in_keras(function, arrays)


def compiled_in_keras(function: Callable[..., Any], arrays: tuple[np.ndarray, ...]) -> Call:
    """Compile for the engine as `fit` and `predict` do: a graph of TensorFlow, `jax.jit`, or nothing on PyTorch."""
    import keras
    from keras import ops

    tensors = [ops.convert_to_tensor(array) for array in arrays]
    engine = keras.backend.backend()
    if engine == "torch":
        return without_gradients(function, arrays)
    if engine == "jax":
        return _jitted(function, tensors)
    import tensorflow

    compiled = tensorflow.function(function)
    return lambda: compiled(*tensors).numpy()


def _jax(kind: str, arrays: Arrays) -> Call:
    import jax

    def function(query: Any, key: Any, value: Any) -> Any:
        lengths_first = (array.swapaxes(1, 2) for array in (query, key, value))  # (b,l,h,d)
        window = (WINDOW, 0) if kind == "window" else None
        is_causal = kind in ("causal", "window")
        result = jax.nn.dot_product_attention(*lengths_first, is_causal=is_causal, local_window_size=window)
        return result.swapaxes(1, 2)

    return _jitted(function, [jax.numpy.asarray(array) for array in arrays])


def _jitted(function: Callable[..., Any], arrays: list[Any]) -> Call:
    import jax

    compiled = jax.jit(function)
    return lambda: compiled(*arrays).block_until_ready()
