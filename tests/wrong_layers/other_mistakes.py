"""Wrong layers beyond those of the gallery's pages: one for every deviation that no page shows."""

# ruff: noqa: ARG001 - a mistake may be to leave an argument out

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import embedding, primitives
from attention_ref.spec.architecture import HeadConfig
from tests.wrong_layers.other_layers import LAYERS
from tests.wrong_layers.other_models import MODELS
from tests.wrong_layers.other_positions import POSITIONS
from tests.wrong_layers.record import Mistake, configured, patched

MHA, MODEL = "MultiHeadAttention", "Transformer"


def _sinusoid(change: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Return sinusoidal positions whose angles or arrangement a function changes."""

    def sinusoidal_positions(positions, size, config, *, like):
        steps = size // 2 - (config.variant == "tensor2tensor")
        frequencies = config.base ** (-np.arange(size // 2) / steps)
        places = np.asarray(positions, np.float64)[..., None] + config.offset
        return change(places, frequencies, size, config).astype(like.dtype)

    return sinusoidal_positions


def _arranged(angles, config, first=np.sin, second=np.cos):
    pair = first(angles), second(angles)
    interleaved = np.stack(pair, axis=-1).reshape(*angles.shape[:-1], -1)
    return interleaved if config.variant == "interleaved" else np.concatenate(pair, axis=-1)


def _per_column(places, _, size, config):
    angles = places * config.base ** (-np.arange(size) / size)
    alternating = np.where(np.arange(size) % 2, np.cos(angles), np.sin(angles))
    return (
        alternating
        if config.variant == "interleaved"
        else _arranged(places * config.base ** (-np.arange(size // 2) / _steps(size, config)), config)
    )


def _steps(size, config):
    return size // 2 - (config.variant == "tensor2tensor")


def _with_base(places, _, size, config):
    return _arranged(places * 10000.0 ** (-np.arange(size // 2) / _steps(size, config)), config)


def _distant_rewarded(heads, query_length, key_length, *, query_offset=0, like):
    return -right.alibi_bias(heads, query_length, key_length, query_offset=query_offset, like=like)


def _without_gain(array, gain, bias=None, *, eps, gain_offset=0.0):
    return right.layer_norm(array, np.ones_like(gain), bias, eps=eps)


def _without_bias(array, gain, bias=None, *, eps, gain_offset=0.0):
    return right.layer_norm(array, gain, None, eps=eps, gain_offset=gain_offset)


def _over_positions(array, gain, bias=None, *, eps, gain_offset=0.0):
    axes = (-2, -1) if array.ndim > 1 else (-1,)
    scaled = (array - array.mean(axes, keepdims=True)) / np.sqrt(array.var(axes, keepdims=True) + eps)
    scaled = scaled * (gain + gain_offset)
    return (scaled if bias is None else scaled + bias).astype(array.dtype)


def _without_root(array, gain, bias=None, *, eps, gain_offset=0.0):
    scaled = (array - array.mean(-1, keepdims=True)) / (array.var(-1, keepdims=True) + eps) * (gain + gain_offset)
    return (scaled if bias is None else scaled + bias).astype(array.dtype)


def _activating(asked, computed):
    return lambda array, name: right.activate(array, computed if name == asked else name)


class _OutputBiasForEachHead(right.MultiHeadAttention):
    def _linear(self, array, name, inputs=1):
        result, bias = super()._linear(array, name, inputs), self.parameters.get("output.bias")
        return result + bias * (self.config.heads - 1) if name == "output" and bias is not None else result


class _KernelsExchanged(right.MultiHeadAttention):
    def __init__(self, config, parameters):
        query, key = parameters["query.kernel"], parameters["key.kernel"]
        others = {"query.kernel": key, "key.kernel": query} if query.shape == key.shape else {}
        super().__init__(config, {**parameters, **others})


def _one_too_far(table, query_length, key_length, config, *, query_offset=0):
    offsets = np.asarray(query_offset) - 1
    return right.relative_bias(table, query_length, key_length, config, query_offset=offsets)


class _OutputMissing(right.MultiHeadAttention):
    def _linear(self, array, name, inputs=1):
        if name == "output":
            return array.reshape(*array.shape[:2], -1)
        return super()._linear(array, name, inputs)


class _HeadsSplitWrongly(right.MultiHeadAttention):
    def _linear(self, array, name, inputs=1):
        result = super()._linear(array, name, inputs)
        if name == "output":
            return result
        batch, length, heads, size = result.shape
        return result.reshape(batch, heads, length, size).swapaxes(1, 2)


class _NormAfterRotary(right.MultiHeadAttention):
    def _heads(self, array, name, places):
        heads, norm = self._projected(array, name).swapaxes(1, 2), self.config.query_key_norm
        if self.config.rotary is not None:
            heads = right.rotate(heads, places, self.config.rotary)
        if norm is None:
            return heads
        shares = self.config.query_key_norm_heads
        normal = primitives.normalize_heads(heads.swapaxes(1, 2), norm, shares, self.parameters, f"{name}_norm")
        return normal.swapaxes(1, 2)


class _KeysNotRotated(right.MultiHeadAttention):
    def _heads(self, array, name, places):
        return super()._heads(array, name, np.zeros_like(places) if name == "key" else places)


class _QueriesAhead(right.MultiHeadAttention):
    def _heads(self, array, name, places):
        return super()._heads(array, name, places + 1 if name == "query" else places)


class _SelfForCross(right.MultiHeadAttention):
    @functools.wraps(right.MultiHeadAttention.__call__)
    def __call__(self, query, key=None, *arrays, **options):
        own = query if key is not None and key.shape[-1] == query.shape[-1] else key
        return super().__call__(query, own, *arrays, **options)


def _of_block(**steps: Callable[..., Any]) -> Callable[..., Any]:
    """Return a builder of blocks with other steps."""
    return type("WrongBlock", (right.Block,), steps)


def _sublayer_without_residual(self, array, sublayer, name, tap):
    order, norms = self.config.order, self.config.norms_of(name)
    branch = sublayer(self._norm(array, f"{name}_norm", tap) if order != "post" and f"{name}_norm" in norms else array)
    if order in ("output", "sandwich"):
        branch = self._norm(branch, f"{name}_output_norm", tap)
    return self._norm(branch, f"{name}_norm", tap) if order == "post" else branch


def _sublayer_of_normal(self, array, sublayer, name, tap):
    is_normalised = self.config.order in ("pre", "sandwich") and f"{name}_norm" in self.config.norms_of(name)
    result = right.Block._sublayer(self, array, sublayer, name, tap)
    start = array if self.config.residual == "input" else 0
    return result - start + self._norm(array, f"{name}_norm", tap) if is_normalised and start is array else result


def _norm_of_attention_alone(self, array, name, tap):
    return array if name == "feedforward_norm" else right.Block._norm(self, array, name, tap)


def _exchanged_norms(self, array, name, tap):
    pair = {"self_attention_norm": "feedforward_norm", "feedforward_norm": "self_attention_norm"}
    other = pair.get(name, name)
    return right.Block._norm(self, array, other if f"{other}.gain" in self.parameters else name, tap)


def _last_block_missing(config, parameters):
    model = right.Transformer(config, parameters)
    for stack in (model.encoder, model.decoder):
        if stack is not None and len(stack.blocks) > 1:
            stack.blocks = stack.blocks[:-1]
    return model


def _scaled_with_positions(self, *arrays, **options):
    scale, self.config = self.config.scale, replace(self.config, scale=1.0)
    result = _EMBED(self, *arrays, **options) * scale
    self.config = replace(self.config, scale=scale)
    return result


def _last_of_batch(config, parameters):
    model = right.Transformer(config, parameters)
    if config.head is not None and config.head.kind != "language":
        read = model.head
        model.head = lambda array, *, lengths=None, tap=None: read(array, tap=tap)
    return model


def _plain_feedforward(config, parameters):
    taken = {name: array for name, array in parameters.items() if not name.startswith("gate")}
    return right.FeedForward(replace(config, gated=False), taken)


_EMBED = embedding.Embedding.__call__

MISTAKES: tuple[Mistake, ...] = (
    Mistake("position.off-by-one", "sinusoidal_positions", _sinusoid(lambda p, f, _, c: _arranged((p + 1) * f, c))),
    Mistake("position.exponent-doubled", "sinusoidal_positions", _sinusoid(lambda p, f, _, c: _arranged(p * f**2, c))),
    Mistake("position.frequency-per-column", "sinusoidal_positions", _sinusoid(_per_column)),
    Mistake(
        "position.cosine-first",
        "sinusoidal_positions",
        _sinusoid(lambda p, f, _, c: _arranged(p * f, c, np.cos, np.sin)),
    ),
    Mistake("position.base", "sinusoidal_positions", _sinusoid(_with_base)),
    Mistake("rotary.base", "rotate", lambda array, places, c: right.rotate(array, places, replace(c, base=5e5))),
    Mistake("alibi.positive", "alibi_bias", _distant_rewarded),
    Mistake("relative-bias.off-by-one", "relative_bias", _one_too_far),
    Mistake("norm.gain-missing", "layer_norm", _without_gain),
    Mistake("norm.bias-missing", "layer_norm", _without_bias),
    Mistake("norm.over-positions", "layer_norm", _over_positions),
    Mistake("norm.root-missing", "layer_norm", _without_root),
    *(
        Mistake(
            f"activation.{computed.replace('_', '-')}-for-{asked.replace('_', '-')}",
            "activate",
            _activating(asked, computed),
        )
        for asked, computed in permutations(
            ("relu", "relu_squared", "gelu", "gelu_tanh", "quick_gelu", "silu", "tanh"), 2
        )
        if {asked, computed} != {"gelu", "gelu_tanh"}
    ),
    Mistake("activation.missing", "activate", lambda array, name: array),
    Mistake("gate.missing", "FeedForward", lambda c, p: (_plain_feedforward if c.gated else right.FeedForward)(c, p)),
    Mistake("rotary.keys-not-rotated", MHA, _KeysNotRotated),
    Mistake("rotary.off-by-one", MHA, _QueriesAhead),
    Mistake("projection.kernels-exchanged", MHA, _KernelsExchanged),
    Mistake("heads.split-wrongly", MHA, _HeadsSplitWrongly),
    Mistake("projection.bias-repeated", MHA, _OutputBiasForEachHead),
    Mistake("projection.output-missing", MHA, _OutputMissing),
    Mistake("query-key-norm.after-rotary", MHA, _NormAfterRotary),
    Mistake("cross-attention.self", MHA, _SelfForCross),
    Mistake("residual.missing", "Block", _of_block(_sublayer=_sublayer_without_residual)),
    Mistake("residual.normalised", "Block", _of_block(_sublayer=_sublayer_of_normal)),
    Mistake("norm.missing", "Block", _of_block(_norm=_norm_of_attention_alone)),
    Mistake("norm.exchanged", "Block", _of_block(_norm=_exchanged_norms)),
    Mistake("blocks.last-missing", MODEL, _last_block_missing),
    Mistake("head.place-of-padding", MODEL, _last_of_batch),
    Mistake(
        "head.last-for-first",
        MODEL,
        configured(MODEL, HeadConfig, lambda c: replace(c, place="last") if c.kind != "language" else c),
    ),
    Mistake(
        "embedding.scaled-with-positions",
        MODEL,
        patched(MODEL, embedding.Embedding, "__call__", _scaled_with_positions),
    ),
    *POSITIONS,
    *LAYERS,
    *MODELS,
)
