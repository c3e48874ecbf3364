"""Translate a test of the standard into calls of our operations, and their results back into ONNX's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from attention_ref.conformance.onnx_nodes.standard import NodeTest
from attention_ref.spec.config import Rotary
from attention_ref.vectors.array_forms import widened
from attention_ref.vectors.build.recipe import Recipe
from attention_ref.vectors.call import Call

Arrays = Mapping[str, np.ndarray]

RAW, CAPPED, MASKED, WEIGHTS = range(4)
"""The content of `qk_matmul_output` by mode: scores, scores after softcap, scores with -inf where hidden, weights."""

ONE_TURN = Rotary(base=1.0)
"""A rotary encoding that rotates every pair by one radian at position 1."""


class Translation(NamedTuple):
    """The calls of a test by name, and the function from their results to ONNX's outputs.

    The results of a call are those of the operation, and for attention the scores.
    """

    calls: Mapping[str, Recipe]
    answer: Callable[[Mapping[str, Arrays]], dict[str, np.ndarray]]


def translate(test: NodeTest) -> Translation:
    """Translate a test."""
    operators = {"Attention": _attention, "RotaryEmbedding": _rotary_embedding, "RMSNormalization": _rms_normalization}
    return operators[test.operator](test)


def _attention(test: NodeTest) -> Translation:
    """Translate `Attention`: unpack heads, concatenate cache and keys, pass a mask as mask or bias."""
    given, attributes = test.inputs, test.attributes
    query = _heads(given["Q"], attributes.get("q_num_heads", 1))
    present = {
        name: _behind(given.get(f"past_{name}"), _heads(given[letter], attributes.get("kv_num_heads", 1)))
        for name, letter in (("key", "K"), ("value", "V"))
    }
    arrays = {"query": query, **present}
    options = {
        name: attributes[name] for name in ("scale", "softcap") if attributes.get(name)
    }  # 0 means no softcap in ONNX
    rules = _rules(test, query.shape, present["key"].shape[2])
    wanted = "qk_matmul_output" in test.outputs
    mode = attributes.get("qk_matmul_output_mode", RAW) if wanted else None
    more = {"return_weights": True} if mode == WEIGHTS else {}
    calls = {"attention": _recipe(test, "attention", {**arrays, **rules}, {**options, **more})}
    if mode in (RAW, CAPPED):
        capped = {name: value for name, value in options.items() if name == "scale" or mode == CAPPED}
        calls["scores"] = _recipe(test, "attention", arrays, capped)

    def answer(results: Mapping[str, Arrays]) -> dict[str, np.ndarray]:
        found = results["attention"]
        outputs = {"Y": _packed(found["output"]) if given["Q"].ndim == 3 else found["output"]}
        outputs |= {f"present_{name}": array for name, array in present.items()}
        if wanted:
            intermediates = results.get("scores", found)
            outputs["qk_matmul_output"] = intermediates["weights" if mode == WEIGHTS else "scores"]
        return {name: outputs[name] for name in test.outputs}

    return Translation(calls, answer)


def _rules(test: NodeTest, query_shape: tuple[int, ...], key_length: int) -> dict[str, Any]:
    """Return the visibility rules as arrays and options."""
    given, attributes = test.inputs, test.attributes
    rules: dict[str, Any] = {}
    if "attn_mask" in given:
        rules["mask" if given["attn_mask"].dtype == bool else "bias"] = _longer(given["attn_mask"], key_length)
    if "nonpad_kv_seqlen" in given:
        rules["key_lengths"] = given["nonpad_kv_seqlen"]
    sides = [attributes.get(f"{side}_window_size", -1) for side in ("left", "right")]
    window = tuple(None if size < 0 else size for size in sides)
    if attributes.get("is_causal"):
        rules["causal"] = True
    if window != (None, None):
        rules["window"] = window
    if rules.keys() & {"causal", "window"}:
        rules |= _offset(given, query_shape[2])
    return rules


def _offset(given: Arrays, query_length: int) -> dict[str, Any]:
    """Return the offset: the length of the cache, or so that the last query aligns with the last real key."""
    if "past_key" in given:
        return {"query_offset": given["past_key"].shape[2]}
    if "nonpad_kv_seqlen" in given:
        return {"query_offset": given["nonpad_kv_seqlen"] - query_length}
    return {}


def _longer(mask: np.ndarray, length: int) -> np.ndarray:
    """Extend the last axis of a mask with hidden keys."""
    missing = [(0, 0)] * (mask.ndim - 1) + [(0, length - mask.shape[-1])]
    return np.pad(mask, missing, constant_values=mask.dtype.type(False if mask.dtype == bool else -np.inf))


def _heads(array: np.ndarray, heads: int) -> np.ndarray:
    """Split packed heads: `(b,l,h*d)` to `(b,h,l,d)`."""
    if array.ndim == 4:
        return array
    batch, length, size = array.shape
    return array.reshape(batch, length, heads, size // heads).transpose(0, 2, 1, 3)


def _packed(array: np.ndarray) -> np.ndarray:
    """Pack heads: `(b,h,l,d)` to `(b,l,h*d)`."""
    batch, heads, length, size = array.shape
    return array.transpose(0, 2, 1, 3).reshape(batch, length, heads * size)


def _behind(past: np.ndarray | None, new: np.ndarray) -> np.ndarray:
    return new if past is None else np.concatenate([past, new], axis=2)


def _rotary_embedding(test: NodeTest) -> Translation:
    """Translate `RotaryEmbedding`, which takes tables of cosines and sines; our operation computes them.

    Our operation rotates every pair by one radian, which determines the pairs and the direction, and so a rotation by
    90 degrees: `quarter(x) = (rotated(x) - cos(1) x) / sin(1)`. The tables are then applied by
    `y = cosine x + sine quarter(x)`.
    """
    given, attributes = test.inputs, test.attributes
    array = _heads(given["X"], attributes.get("num_heads", 1))
    interleaved = bool(attributes.get("interleaved"))
    config = replace(ONE_TURN, dimension=attributes.get("rotary_embedding_dim") or None, interleaved=interleaved)
    tables = [given[name].astype(np.float64) for name in ("cos_cache", "sin_cache")]
    if "position_ids" in given:
        tables = [table[given["position_ids"]] for table in tables]  # (b,l,n/2)
    cosine, sine = (np.repeat(t, 2, -1) if interleaved else np.concatenate([t, t], -1) for t in tables)

    def answer(results: Mapping[str, Arrays]) -> dict[str, np.ndarray]:
        x, size = array.astype(np.float64), cosine.shape[-1]
        quarter = (results["rotate"]["output"] - math.cos(1) * x) / math.sin(1)
        rotated = cosine[:, None] * x[..., :size] + sine[:, None] * quarter[..., :size]  # (b,h,l,n)
        output = np.concatenate([rotated, results["rotate"]["output"][..., size:]], axis=-1)
        return {"Y": _packed(output) if given["X"].ndim == 3 else output}

    inputs = {"array": array, "positions": np.ones(array.shape[2], np.int64)}
    return Translation({"rotate": _recipe(test, "rotate", inputs, {}, config)}, answer)


def _rms_normalization(test: NodeTest) -> Translation:
    """Translate `RMSNormalization` over several last axes: our operation on one axis that merges them."""
    array = test.inputs["X"]
    axis = test.attributes.get("axis", -1) % array.ndim
    flat = array.reshape(*array.shape[:axis], -1)
    inputs = {"array": flat, "gain": test.inputs["scale"].reshape(-1)}
    recipe = _recipe(test, "rms_norm", inputs, {"eps": test.attributes.get("epsilon", 1e-5)})
    return Translation({"rms_norm": recipe}, lambda results: {"Y": results["rms_norm"]["output"].reshape(array.shape)})


def _recipe(
    test: NodeTest, operation: str, given: Mapping[str, Any], options: Mapping[str, Any], config: Any = None
) -> Recipe:
    """Make a recipe of arrays and options."""
    arrays = {name: widened(array) for name, array in given.items() if isinstance(array, np.ndarray)}
    scalars = {name: value for name, value in given.items() if name not in arrays}
    return Recipe(
        id=f"{operation}/onnx/{test.name}",
        call=Call(operation, arrays, {**scalars, **options}, config),
        catches=f"a difference from ONNX's test_{test.name}",
        gradient=False,
    )
