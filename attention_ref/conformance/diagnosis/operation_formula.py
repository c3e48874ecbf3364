"""Every operation of the specification by its formula in steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.model_formula import ModelFormula
from attention_ref.spec.config import SINUSOID
from attention_ref.vectors.call import Call

_REQUESTS = ("return_weights", "return_log_sum_exp", "return_cache", "like")


class OperationFormula(ModelFormula):
    """The formula of every operation, called with a `Call`."""

    def results(self, call: Call, dtype: str) -> Mapping[str, Array]:
        """Return the results of a call by name, all that there are.

        Raises:
            ArithmeticError, IndexError, KeyError, ValueError: where a deviated formula cannot be computed.
        """
        self.dtype = dtype
        given: dict[str, Any] = {name: value for name, value in call.given.items() if name not in _REQUESTS}
        if call.chunks:
            length = given["target" if "target" in given else call.positional[0]].shape[1]
            self.chunk_starts, self.is_behind_cache, self.cached = _chunks(call.chunks, length)
        with np.errstate(all="ignore"):
            found = _CALLS[call.operation](self, call, given)
        return found if isinstance(found, Mapping) else {"output": found}

    def coded_positions(self, positions: Array) -> Array:
        """Return the positions that a sinusoid codes."""
        return positions


def _additive(formula: OperationFormula, _: Call, given: dict[str, Any]) -> Any:
    kernels = [given.pop(name, None) for name in ("query_kernel", "key_kernel", "score_kernel")]
    return formula.attention(**given, scale=1.0, products=lambda q, k: formula.additive_scores(q, k, *kernels))


def _multiplicative(formula: OperationFormula, _: Call, given: dict[str, Any]) -> Any:
    kernel, scale = given.pop("score_kernel", None), formula.multiplicative_scale(given["query"])
    return formula.attention(**given, scale=scale, products=lambda q, k: formula.multiplicative_scores(q, k, kernel))


def _linear(formula: OperationFormula, _: Call, given: dict[str, Any]) -> Any:
    parameters = {f"linear.{name}": given[name] for name in ("kernel", "bias") if name in given}
    return formula.project(given["array"], parameters, "linear", inputs=given.get("inputs", 1))


def _sinusoid(formula: OperationFormula, call: Call, given: dict[str, Any]) -> Any:
    config: Any = call.config or SINUSOID
    return formula.sinusoidal_positions(formula.coded_positions(given["positions"]), int(given["size"]), config)


_CALLS: Mapping[str, Callable[[OperationFormula, Call, dict[str, Any]], Any]] = {
    "attention": lambda formula, _, given: formula.attention(**given),
    "additive_attention": _additive,
    "multiplicative_attention": _multiplicative,
    "sinusoidal_positions": _sinusoid,
    "rotate": lambda formula, call, given: formula.rotate(**given, config=call.config),  # type: ignore[arg-type]
    "alibi_bias": lambda formula, _, given: formula.alibi_bias(**given),
    "relative_bias": lambda formula, call, given: formula.relative_bias(**given, config=call.config),  # type: ignore[arg-type]
    "linear": _linear,
    "layer_norm": lambda formula, _, given: formula.layer_norm(**given),
    "rms_norm": lambda formula, _, given: formula.rms_norm(**given),
    "activate": lambda formula, _, given: formula.activate(**given),
    "MultiHeadAttention": lambda formula, call, given: formula.multihead(call.config, call.parameters, **given),  # type: ignore[arg-type]
    "LatentAttention": lambda formula, call, given: formula.latent_attention(call.config, call.parameters, **given),  # type: ignore[arg-type]
    "FeedForward": lambda formula, call, given: formula.feedforward(call.config, call.parameters, **given),  # type: ignore[arg-type]
    "MixtureOfExperts": lambda formula, call, given: formula.mixture(call.config, call.parameters, **given),  # type: ignore[arg-type]
    "Block": lambda formula, call, given: formula.block(call.config, call.parameters, **given),  # type: ignore[arg-type]
    "Transformer": lambda formula, call, given: formula.transformer(call.config, call.parameters, **given),  # type: ignore[arg-type]
}


def _chunks(chunks: tuple[tuple[int, ...], ...], length: int) -> tuple[Array, Array, Array]:
    """Return where the chunk of each position starts, whether any row has a cache then, and what its call sees.

    These are `(b,l)`, `(b,l)` and `(b,1,l,l)`.
    """
    ends = np.cumsum(np.array(chunks), axis=0)  # (chunks,b)
    chunk = (np.arange(length)[None, :, None] >= ends.T[:, None, :]).sum(axis=-1)  # (b,l)
    starts = np.vstack([np.zeros((1, ends.shape[1]), np.int64), ends])  # (chunks+1,b)
    first = np.take_along_axis(starts.T, chunk, axis=1)  # (b,l)
    is_behind = np.asarray((starts > 0).any(axis=1))  # (chunks+1)
    return first, is_behind[chunk], chunk[:, None, None, :] <= chunk[:, None, :, None]


_VALUES = {
    "order": {"post", "pre", "sandwich", "parallel", "output"},
    "activation": {"relu", "relu_squared", "gelu", "gelu_tanh", "quick_gelu", "silu", "tanh"},
}
_FIELDS = {
    "Norm": {"eps", "bias", "kind", "gain", "gain_offset"},
    "Sinusoid": {"variant", "base", "offset"},
    "Learned": {"offset", "length"},
    "RotaryScaling": {
        "high_frequency_factor",
        "slow_rotations",
        "kind",
        "attention_factor",
        "low_frequency_factor",
        "factor",
        "original_length",
        "fast_rotations",
        "truncate",
        "short_factors",
        "long_factors",
    },
    "Rotary": {"scaling", "base", "angles", "dimension", "interleaved"},
    "RelativeBias": {"buckets", "maximum_distance", "bidirectional"},
    "AttentionConfig": {
        "head_size",
        "query_bias",
        "scale",
        "query_key_norm",
        "alibi",
        "sinks",
        "output_bias",
        "memory_size",
        "dropout",
        "value_bias",
        "output_size",
        "key_bias",
        "softcap",
        "window",
        "causal",
        "heads",
        "relative_bias",
        "rotary",
        "kv_heads",
        "value_size",
        "model",
        "clip",
        "query_key_norm_heads",
        "alibi_factor",
        "value_memory_size",
        "trained_key_value",
    },
    "LatentAttentionConfig": {
        "model",
        "heads",
        "latent_size",
        "query_latent_size",
        "content_size",
        "rotary_size",
        "value_size",
        "norm",
        "latent_bias",
        "output_bias",
        "rotary",
        "mscale",
        "causal",
        "scale",
        "dropout",
    },
    "FeedForwardConfig": {
        "dropout",
        "gated",
        "activation",
        "input_bias",
        "model",
        "output_bias",
        "hidden",
        "clip",
        "input_offset",
    },
    "MixtureConfig": {
        "expert",
        "experts",
        "chosen",
        "scores",
        "normalised",
        "scale",
        "router_bias",
        "correction_bias",
        "groups",
        "chosen_groups",
        "group_score",
        "shared",
        "shared_gate",
    },
    "BlockConfig": {
        "order",
        "cross_attention",
        "dropout",
        "norm",
        "feedforward",
        "shared_norm",
        "attention",
        "self_attention_norm",
        "residual",
    },
    "Patches": {"width", "height", "channels", "size", "class_token", "distillation_token"},
    "Audio": {"channels"},
    "EmbeddingConfig": {
        "dropout",
        "scale",
        "positions_skip",
        "audio",
        "types",
        "patches",
        "positions",
        "norm",
        "vocab",
        "size",
        "projected",
        "projection_bias",
    },
    "StackConfig": {"embedding", "norm", "relative_bias", "blocks"},
    "HeadConfig": {
        "softcap",
        "bias",
        "tied",
        "kind",
        "transform",
        "scale",
        "norm",
        "place",
        "size",
        "transform_size",
        "transform_bias",
    },
    "ModelConfig": {"head", "decoder_stack", "shared_embedding", "encoder_stack"},
}


def knows(call: Call) -> bool:
    """Return whether the formula has every option that the configuration of a call sets."""
    is_known = call.options.get("name", "relu") in _VALUES["activation"]
    return is_known and _knows(call.config)


def _knows(item: Any) -> bool:
    if isinstance(item, tuple):
        return all(map(_knows, item))
    if not is_dataclass(item) or isinstance(item, type):
        return True
    known = _FIELDS.get(type(item).__name__, set())
    return all(_knows_field(known, each, getattr(item, each.name)) for each in fields(item))


def _knows_field(known: set[str], each: Any, value: Any) -> bool:
    is_known = each.name in known or value == each.default
    return is_known and (each.name not in _VALUES or value in _VALUES[each.name]) and _knows(value)
