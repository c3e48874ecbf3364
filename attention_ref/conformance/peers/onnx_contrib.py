"""ONNX Runtime's own operators `GroupQueryAttention` and `MultiHeadAttention`, each in a model of one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from attention_ref.conformance.errors import SubjectError, Unsupported
from attention_ref.conformance.peers.onnxruntime import run

Arrays = dict[str, np.ndarray]
_GROUPED = (
    *("query", "key", "value", "past_key", "past_value", "seqlens_k", "total_sequence_length"),
    *("cos_cache", "sin_cache", "position_ids", "attention_bias", "head_sink"),
)
_MULTI_HEAD = ("query", "key", "value", "bias", "key_padding_mask", "attention_bias")
_BEYOND = 1024.0
"""What the cache holds behind a row's last key."""


def multi_head(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    num_heads: int,
    key_padding_mask: Any = None,
    attention_bias: np.ndarray | None = None,
    unidirectional: bool = False,
    scale: float | None = None,
) -> np.ndarray:
    """The operator `MultiHeadAttention` of packed heads `(b,n,h*d)`."""
    inputs = {"query": query, "key": key, "value": value}
    if key_padding_mask is not None:
        inputs["key_padding_mask"] = np.broadcast_to(np.asarray(key_padding_mask, np.int32), query.shape[:1])
    if attention_bias is not None:
        inputs["attention_bias"] = attention_bias
    attributes = {"num_heads": num_heads, "scale": scale, "unidirectional": int(unidirectional)}
    return _called("MultiHeadAttention", attributes, _MULTI_HEAD, inputs, ("output",))[0]


def grouped(query: np.ndarray, key: np.ndarray, value: np.ndarray, **options: Any) -> np.ndarray:
    """The operator `GroupQueryAttention`; the keys before the queries are its cache."""
    return _grouped(query, key, value, **options)


def grouped_packed(query: np.ndarray, key: np.ndarray, value: np.ndarray, **options: Any) -> np.ndarray:
    """The same with query, key and value in one array."""
    return _grouped(query, key, value, is_packed=True, **options)


def grouped_rotary(query: np.ndarray, key: np.ndarray, value: np.ndarray, **options: Any) -> np.ndarray:
    """The same, packed, with rotary positions inside.

    The angles are multiples of a right angle, so that turning back what is turned inside rounds nothing.
    """
    return _grouped(query, key, value, is_packed=True, is_rotary=True, **options)


class _Places(NamedTuple):
    """Where the sequences of a call stand: the number of keys of each row, and how many of them are in the cache."""

    lengths: np.ndarray
    past: np.ndarray


def _grouped(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    causal: bool = False,
    query_offset: Any = 0,
    key_lengths: Any = None,
    local_window_size: int | None = None,
    attention_bias: np.ndarray | None = None,
    sinks: np.ndarray | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    is_packed: bool = False,
    is_rotary: bool = False,
) -> np.ndarray:
    """Arrays are `(b,h,q,d)`, `(b,g,k,d)` and `(b,g,k,d)`; the result is `(b,q,h*d)`."""
    if local_window_size is not None and key_lengths is not None and np.any(np.less(key_lengths, query.shape[2])):
        raise Unsupported("with a window, a query behind the last key of its row is padding")
    places = _places(query, key, causal or local_window_size is not None, query_offset, key_lengths)
    new = places.past[:, None] + np.arange(
        query.shape[2]
    )  # (b,q): the positions of queries, and of the keys beside them
    rows, total = np.arange(len(query))[:, None], max(places.lengths.max(), query.shape[2])
    turned = _turned if is_rotary else lambda array, _: array
    heads = [
        turned(query.swapaxes(1, 2), new),
        turned(key.swapaxes(1, 2)[rows, new], new),
        value.swapaxes(1, 2)[rows, new],
    ]
    tokens = [array.reshape(*array.shape[:2], -1) for array in heads]  # (b,q,h*d), (b,q,g*d)
    inputs = {"query": np.concatenate(tokens, -1)} if is_packed else dict(zip(_GROUPED[:3], tokens, strict=True))
    inputs |= {"past_key": _cached(key, places.past), "past_value": _cached(value, places.past)}
    inputs["seqlens_k"] = (places.lengths - 1).astype(np.int32)
    inputs["total_sequence_length"] = np.array([total], np.int32)
    if is_rotary:
        cos, sin = _right_angles(np.arange(key.shape[2]), query.shape[3] // 2)
        inputs |= {"cos_cache": cos.astype(query.dtype), "sin_cache": sin.astype(query.dtype)}
    inputs |= {} if attention_bias is None else {"attention_bias": attention_bias[..., :total]}
    inputs |= {} if sinks is None else {"head_sink": sinks}
    attributes = {"num_heads": query.shape[1], "kv_num_heads": key.shape[1], "do_rotary": int(is_rotary)}
    attributes |= {"scale": scale, "softcap": softcap, "local_window_size": local_window_size}
    names = ("output", "present_key", "present_value")
    output, *present = _called("GroupQueryAttention", attributes, _GROUPED, inputs, names)
    for name, array, given in zip(names[1:], present, (key, value), strict=True):
        _require_present(name, array, given, places.lengths)
    return output


def _places(query: np.ndarray, key: np.ndarray, is_placed: bool, offset: Any, lengths: Any) -> _Places:
    """Return where the sequences stand; the operator is causal, and its queries are the last tokens of their rows."""
    batch, _, queries, _ = query.shape
    keys = key.shape[2]
    lengths = np.broadcast_to(keys if lengths is None else lengths, batch).astype(np.int64)
    if not is_placed and queries > 1:
        raise Unsupported("every call is causal")
    offsets = np.broadcast_to(offset, batch) if is_placed else lengths - 1
    if queries == 0 or lengths.min(initial=1) == 0:
        raise Unsupported("no queries, or a row without keys")
    if queries == keys and not offsets.any():
        return _Places(lengths, np.zeros(batch, np.int64))
    if np.any(offsets != lengths - queries):
        raise Unsupported("the queries are the last tokens of their rows, or all of them")
    if queries > 1 and batch > 1:
        raise Unsupported("several queries behind a cache in one batch row only")
    return _Places(lengths, offsets.astype(np.int64))


def _cached(array: np.ndarray, past: np.ndarray) -> np.ndarray:
    """Return the cache `(b,g,p,d)`: as long as that of the longest row, and filled with something else in others."""
    is_past = np.arange(past.max(initial=0)) < past[:, None]
    return np.where(is_past[:, None, :, None], array[:, :, : past.max(initial=0)], array.dtype.type(_BEYOND))


def _require_present(name: str, present: np.ndarray, given: np.ndarray, lengths: np.ndarray) -> None:
    """Raise `SubjectError` unless the new cache has the old and the new tokens, rotated, to the bit."""
    is_real = np.arange(given.shape[2]) < lengths[:, None]
    is_real = is_real[:, None, : present.shape[2], None]
    found, wanted = (np.where(is_real, array, 0) for array in (present, given[:, :, : present.shape[2]]))
    if not np.array_equal(found, wanted, equal_nan=True):
        raise SubjectError(f"{name} is not the cache with the new tokens")


def _right_angles(positions: np.ndarray, half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines and sines `(...,d/2)` of angles that are other multiples of a right angle in every pair."""
    turns = positions[..., None] * (1 + np.arange(half)) % 4
    return np.array([1, 0, -1, 0])[turns], np.array([0, 1, 0, -1])[turns]


def _turned(array: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Turn tokens `(b,n,h,d)` back by the angles of their positions `(b,n)`, in halves."""
    cos, sin = (each[:, :, None].astype(array.dtype) for each in _right_angles(positions, array.shape[-1] // 2))
    first, second = np.split(array, 2, axis=-1)
    return np.concatenate([first * cos + second * sin, second * cos - first * sin], axis=-1)


def _called(
    operator: str, attributes: Mapping[str, Any], slots: Sequence[str], inputs: Arrays, outputs: Sequence[str]
) -> Sequence[np.ndarray]:
    given = tuple((name, value) for name, value in attributes.items() if value is not None)
    dtypes = tuple(
        (name, str(inputs[name].dtype), inputs[name].ndim) if name in inputs else ("", "", 0) for name in slots
    )
    return run(_model(operator, given, dtypes, tuple(outputs)), inputs)


@cache
def _model(
    operator: str,
    attributes: tuple[tuple[str, Any], ...],
    inputs: tuple[tuple[str, str, int], ...],
    outputs: tuple[str, ...],
) -> bytes:
    from onnx import helper

    def declare(name: str, dtype: str, rank: int) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [None] * rank)

    ranks = dict(zip(outputs, (3, 4, 4), strict=False))
    node = helper.make_node(
        operator, [name for name, _, _ in inputs], list(outputs), domain="com.microsoft", **dict(attributes)
    )
    graph = helper.make_graph(
        [node],
        operator,
        [declare(*each) for each in inputs if each[0]],
        [declare(name, inputs[0][1], rank) for name, rank in ranks.items()],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()
