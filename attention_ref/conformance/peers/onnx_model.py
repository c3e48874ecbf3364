"""The ONNX operator `Attention`: our call as a model of one node and its inputs, for whatever runs ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from attention_ref.conformance.subject import Unsupported

Arrays = dict[str, np.ndarray]
Run = Callable[[bytes, Arrays], Sequence[np.ndarray]]

INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")
OUTPUTS = ("Y", "present_key", "present_value", "qk_matmul_output")
OPEN = -1
"""A side of a window without a bound."""
WEIGHTS = 3
"""The `qk_matmul_output_mode` that gives the weights."""


def adapter(run: Run) -> Callable[..., Any]:
    """Give our `attention` by the ONNX operator.

    Arguments:
        run: runs a serialized model on named inputs and gives its outputs.
    """

    def attention(
        query: np.ndarray,
        key: np.ndarray,
        value: np.ndarray,
        *,
        mask: np.ndarray | None = None,
        bias: np.ndarray | None = None,
        causal: bool = False,
        query_offset: Any = 0,
        window: tuple[int | None, int | None] | None = None,
        key_lengths: Any = None,
        scale: float | None = None,
        softcap: float | None = None,
        return_weights: bool = False,
    ) -> Any:
        """A mask and a bias together are one float mask; the offset of the queries is the length of the cache."""
        if query.ndim != 4:
            raise Unsupported("arrays of rank 4 only")
        inputs = {"Q": query, "K": key, "V": value} | _attn_mask(mask, bias, key.shape[2])
        if key_lengths is not None:
            inputs["nonpad_kv_seqlen"] = np.broadcast_to(np.asarray(key_lengths, np.int64), query.shape[:1])
        if causal or window is not None:
            inputs |= _cache(inputs, np.asarray(query_offset))
        attributes: dict[str, Any] = {"is_causal": int(causal), "scale": scale, "softcap": softcap}
        if window is not None:
            left, right = (OPEN if side is None else side for side in window)
            attributes |= {"left_window_size": left, "right_window_size": right}
        attributes |= {"qk_matmul_output_mode": WEIGHTS} if return_weights else {}
        opset = 25 if window is not None else 24 if key_lengths is not None else 23
        results = run(_describe(opset, attributes, inputs), inputs)
        return tuple(results) if return_weights else results[0]

    return attention


def _attn_mask(mask: np.ndarray | None, bias: np.ndarray | None, key_length: int) -> Arrays:
    attend = mask if bias is None else bias
    if attend is None:
        return {}
    if mask is not None and bias is not None:
        attend = np.where(mask, bias, bias.dtype.type(-np.inf))
    if attend.ndim == 0:
        raise Unsupported("a mask has at least one axis")
    if attend.shape[-1] != key_length:
        raise Unsupported("the last axis of a mask is not broadcast: what it lacks is hidden")
    return {"attn_mask": attend}


def _cache(inputs: Arrays, offset: np.ndarray) -> Arrays:
    """Give the inputs that put the first query at `offset`: the keys before it are the cache."""
    if "nonpad_kv_seqlen" in inputs:
        if np.any(inputs["nonpad_kv_seqlen"] - inputs["Q"].shape[2] != offset):
            raise Unsupported("with nonpad_kv_seqlen the offset is nonpad_kv_seqlen - q")
        return {}
    past = int(offset.flat[0])
    if np.any(offset != past):
        raise Unsupported("batch rows with offsets of their own need nonpad_kv_seqlen")
    if past == 0:
        return {}
    if not 0 < past < inputs["K"].shape[2]:
        raise Unsupported("the offset is the length of a cache, which is shorter than the keys")
    names = {"past_key": "K", "past_value": "V"}
    present = {name: inputs[name][:, :, past:] for name in names.values()}
    return present | {cache: inputs[name][:, :, :past] for cache, name in names.items()}


def _describe(opset: int, attributes: Mapping[str, Any], inputs: Arrays) -> bytes:
    """Give the model of a call, the same bytes for calls that differ in sizes or values only."""
    given = {name: number for name, number in attributes.items() if number is not None}
    for name, number in given.items():
        if inputs["Q"].dtype == np.float64 and float(np.float32(number)) != number:
            raise Unsupported(f"{name} is a float32 attribute, which cannot hold {number}")
    dtypes = tuple((name, str(array.dtype), array.ndim) for name, array in inputs.items())
    return _model(opset, tuple(given.items()), dtypes)


@cache
def _model(opset: int, attributes: tuple[tuple[str, Any], ...], inputs: tuple[tuple[str, str, int], ...]) -> bytes:
    from onnx import helper

    def declare(name: str, dtype: str, rank: int) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [None] * rank)

    wanted = ["Y", "qk_matmul_output"] if ("qk_matmul_output_mode", WEIGHTS) in attributes else ["Y"]
    names = [name for name, _, _ in inputs]
    produced = [*wanted, "present_key", "present_value"] if "past_key" in names else wanted
    node = helper.make_node("Attention", _slots(INPUTS, names), _slots(OUTPUTS, produced), **dict(attributes))
    dtype = inputs[0][1]
    graph = helper.make_graph(
        [node], "attention", [declare(*given) for given in inputs], [declare(name, dtype, 4) for name in wanted]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10).SerializeToString()


def _slots(names: Sequence[str], used: Sequence[str]) -> list[str]:
    """Give the names in order, the empty name for one that is not used, and none after the last that is."""
    last = max(names.index(name) for name in used)
    return [name if name in used else "" for name in names[: last + 1]]
