"""Every operation of the specification by its formula in steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
            found = _CALLS.get(call.operation, _named)(self, call, given)
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


def _named(formula: OperationFormula, call: Call, given: dict[str, Any]) -> Any:
    """Call the method of the operation's name, with its configuration if it has one."""
    configured = {} if call.table.record is None else {"config": call.config}
    return getattr(formula, call.operation)(**given, **configured)


def _layer(formula: OperationFormula, call: Call, given: dict[str, Any]) -> Any:
    method = getattr(formula, _LAYERS[call.operation])
    return method(call.config, call.parameters, **given)


_LAYERS = {
    "MultiHeadAttention": "multihead",
    "LatentAttention": "latent_attention",
    "FeedForward": "feedforward",
    "MixtureOfExperts": "mixture",
    "Block": "block",
    "Transformer": "transformer",
}
_CALLS: Mapping[str, Callable[[OperationFormula, Call, dict[str, Any]], Any]] = {
    "additive_attention": _additive,
    "multiplicative_attention": _multiplicative,
    "sinusoidal_positions": _sinusoid,
    "linear": _linear,
    **dict.fromkeys(_LAYERS, _layer),
}
"""How operations are called whose arguments are not those of the method of their name."""


def _chunks(chunks: tuple[tuple[int, ...], ...], length: int) -> tuple[Array, Array, Array]:
    """Return where the chunk of each position starts, whether any row has a cache then, and which keys its call sees.

    These are `(b,l)`, `(b,l)` and `(b,1,l,l)`.
    """
    ends = np.cumsum(np.array(chunks), axis=0)  # (chunks,b)
    chunk = (np.arange(length)[None, :, None] >= ends.T[:, None, :]).sum(axis=-1)  # (b,l)
    starts = np.vstack([np.zeros((1, ends.shape[1]), np.int64), ends])  # (chunks+1,b)
    first = np.take_along_axis(starts.T, chunk, axis=1)  # (b,l)
    is_behind = np.asarray((starts > 0).any(axis=1))  # (chunks+1)
    return first, is_behind[chunk], chunk[:, None, None, :] <= chunk[:, None, :, None]
