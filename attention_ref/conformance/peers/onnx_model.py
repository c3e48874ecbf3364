"""The ONNX operator `Attention`: convert our call into a model of one node and its inputs, for any ONNX runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from attention_ref.conformance.errors import Unsupported

Arrays = dict[str, np.ndarray]
Run = Callable[[bytes, Arrays], Sequence[np.ndarray]]

INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")
OUTPUTS = ("Y", "present_key", "present_value", "qk_matmul_output")
WEIGHTS = 3
"""The `qk_matmul_output_mode` of the weights."""


def adapter(run: Run) -> Callable[..., Any]:
    """Return the ONNX operator as a function with ONNX's argument names, see `dialects/onnxruntime.toml`.

    Arguments:
        run: runs a serialized model on named inputs and returns its outputs.
    """

    def attention(
        query: np.ndarray,
        key: np.ndarray,
        value: np.ndarray,
        *,
        attn_mask: np.ndarray | None = None,
        query_offset: Any = 0,
        nonpad_kv_seqlen: Any = None,
        return_weights: bool = False,
        **attributes: Any,
    ) -> Any:
        """The offset of the queries is the length of the cache."""
        inputs = {"Q": query, "K": key, "V": value}
        if attn_mask is not None:
            if attn_mask.shape[-1] != key.shape[2]:
                raise Unsupported("the last axis of a mask does not broadcast: missing keys are hidden")
            inputs["attn_mask"] = attn_mask
        if nonpad_kv_seqlen is not None:
            inputs["nonpad_kv_seqlen"] = np.broadcast_to(np.asarray(nonpad_kv_seqlen, np.int64), query.shape[:1])
        has_window = "left_window_size" in attributes
        if has_window or attributes.get("is_causal"):
            inputs |= _cache(inputs, np.asarray(query_offset))
        attributes |= {"is_causal": int(attributes.get("is_causal", False))}
        attributes |= {"qk_matmul_output_mode": WEIGHTS} if return_weights else {}
        opset = 25 if has_window else 24 if nonpad_kv_seqlen is not None else 23
        results = run(_describe(opset, attributes, inputs), inputs)
        return tuple(results) if return_weights else results[0]

    return attention


def _cache(inputs: Arrays, offset: np.ndarray) -> Arrays:
    """Return inputs in which the first `offset` keys are the cache, so that the first query has that position."""
    if "nonpad_kv_seqlen" in inputs:
        if np.any(inputs["nonpad_kv_seqlen"] - inputs["Q"].shape[2] != offset):
            raise Unsupported("with nonpad_kv_seqlen the offset is nonpad_kv_seqlen - q")
        return {}
    past = int(offset.flat[0])
    if np.any(offset != past):
        raise Unsupported("offsets that differ between batch rows need nonpad_kv_seqlen")
    if past == 0:
        return {}
    if not 0 < past < inputs["K"].shape[2]:
        raise Unsupported("the offset is the length of a cache, which is shorter than the keys")
    names = {"past_key": "K", "past_value": "V"}
    present = {name: inputs[name][:, :, past:] for name in names.values()}
    return present | {cache: inputs[name][:, :, :past] for cache, name in names.items()}


def _describe(opset: int, attributes: Mapping[str, Any], inputs: Arrays) -> bytes:
    """Return the serialized model of a call; calls that differ only in sizes or values share it."""
    given = {name: number for name, number in attributes.items() if number is not None}
    for name, number in given.items():
        if inputs["Q"].dtype == np.float64 and float(np.float32(number)) != number:
            raise Unsupported(f"{name} is a float32 attribute, which cannot represent {number}")
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
    """Return the names in order, empty for an unused slot, up to the last used one."""
    last = max(names.index(name) for name in used)
    return [name if name in used else "" for name in names[: last + 1]]
