"""Laws of layers and models with random configurations: causality, padding, batch, cache, rotary positions, heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.laws.law import Demand, Law, Trial, agreement
from attention_ref.conformance.laws.strategies import Draw, Rejected, numbers
from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.config import AttentionConfig, Learned, Norm, Rotary, Sinusoid
from attention_ref.spec.parameters import parameters as tree
from attention_ref.spec.records import Record
from attention_ref.vectors.call import Call

LAYER, MODEL = "MultiHeadAttention", "Transformer"
_VOCAB, _LENGTH, _SIZE = 3, 3, 2
_WEIGHTS = numbers(1, 8)
_NORMS = (Norm("rms", eps=1e-3), Norm("layer", eps=1e-5))
_ROTARY = (Rotary(), Rotary(interleaved=True), Rotary(base=100.0))


def _layer(draw: Draw, **given: Any) -> AttentionConfig:
    options = {
        "kv_heads": draw.pick((None, 1)),
        "causal": draw.maybe(),
        "rotary": draw.pick((None, *_ROTARY)),
        "softcap": draw.pick((None, 2.0)),
        "query_key_norm": draw.pick((None, _NORMS[0])),
        "query_bias": draw.maybe(),
        "output_bias": draw.maybe(),
    }
    return AttentionConfig(model=_SIZE, heads=2, head_size=2, **{**options, **given})


def _model(draw: Draw) -> ModelConfig:
    return ModelConfig.decoder(
        vocab=_VOCAB,
        model=4,
        heads=2,
        layers=draw.integer(1, 2),
        feedforward=4,
        kv_heads=draw.pick((None, 1)),
        norm=draw.pick(_NORMS),
        order=draw.pick(("pre", "post", "output", "sandwich", "parallel")),
        activation=draw.pick(("relu", "gelu", "gelu_tanh", "silu", "quick_gelu")),
        gated=draw.maybe(),
        bias=draw.maybe(),
        positions=draw.pick((Sinusoid(), Learned(length=2 * _LENGTH), *_ROTARY)),
        tied=draw.maybe(),
    )


def layer_call(draw: Draw, config: Record | None = None, batch: int = 0) -> Call:
    """Draw a call of the operation: self-attention, or a decoder of tokens."""
    batch = batch or draw.integer(1, 2)
    if draw.operation == MODEL:
        config = config or _model(draw)
        drawn = [draw.integer(0, _VOCAB - 1) for _ in range(batch * _LENGTH)]
        inputs = {"source": np.array(drawn, np.int64).reshape(batch, _LENGTH)}
    else:
        config = config or _layer(draw)
        inputs = {"query": draw.reals(batch, _LENGTH, _SIZE)}
    shapes = {name: (parameter.shape, parameter.start) for name, parameter in tree(config).items()}  # type: ignore[arg-type]
    parameters = {name: start + draw.reals(*shape, among=_WEIGHTS) for name, (shape, start) in shapes.items()}
    return Call(draw.operation, inputs, config=config, parameters=parameters)


def _first(call: Call) -> tuple[str, np.ndarray]:
    return next(iter(call.inputs.items()))


def _other(draw: Draw, values: np.ndarray) -> np.ndarray:
    """Draw other tokens, or other vectors."""
    if values.dtype.kind == "i":
        steps = [draw.integer(1, _VOCAB - 1) for _ in range(values.size)]
        return (values + np.reshape(steps, values.shape)) % _VOCAB
    return draw.reals(*values.shape, among=(1.0, -1.0, 2.0, 16.0))


def _future(draw: Draw) -> Trial:
    call = layer_call(draw, None if draw.operation == MODEL else _layer(draw, causal=True))
    name, values = _first(call)
    place, changed = draw.integer(1, _LENGTH - 1), values.copy()
    changed[:, place:] = _other(draw, values[:, place:])
    calls = (call, call.changed(**{name: changed}))
    return Trial(calls, _rows(calls, np.s_[:, :place]))


def _padding(draw: Draw) -> Trial:
    call = layer_call(draw)
    name, values = _first(call)
    lengths = np.array([draw.integer(1, _LENGTH) for _ in values], np.int64)
    is_real = np.arange(_LENGTH) < lengths[:, None]  # (b,l)
    if is_real.all():
        raise Rejected
    changed = values.copy()
    changed[~is_real] = _other(draw, values[~is_real])
    option = "lengths" if draw.operation == MODEL else "key_lengths"
    call = call.changed(**{option: lengths})
    calls = (call, call.changed(**{name: changed}))
    return Trial(calls, _rows(calls, is_real))


def _batch(draw: Draw) -> Trial:
    call = layer_call(draw, batch=draw.integer(1, 3))
    name, values = _first(call)
    rows = draw.some(len(values))
    calls = (call, call.changed(**{name: values[rows]}))
    return Trial(calls, agreement(calls, first_view=lambda _, at: at[rows]))


def _cache(draw: Draw) -> Trial:
    call = layer_call(draw, None if draw.operation == MODEL else _layer(draw, causal=True))
    _, values = _first(call)
    chunks: list[tuple[int, ...]] = []
    while (done := np.sum(chunks, axis=0, dtype=int) if chunks else np.zeros(len(values), int)).min() < _LENGTH:
        chunks.append(tuple(draw.integer(min(1, _LENGTH - n), _LENGTH - n) for n in done.tolist()))
    chunked = replace(call, chunks=tuple(chunks))
    return Trial((call, chunked), agreement((call, chunked)))


def _rotary_offset(draw: Draw) -> Trial:
    call = layer_call(draw, _layer(draw, rotary=draw.pick(_ROTARY)))
    places = np.arange(_LENGTH) * draw.integer(1, 2)
    shift = draw.pick((1, 2, 100, 4096))
    calls = (call.changed(positions=places), call.changed(positions=places + shift))
    return Trial(calls, agreement(calls))


def _place_permutation(draw: Draw) -> Trial:
    call = layer_call(draw, _layer(draw, causal=False, rotary=None))
    order = draw.order(_LENGTH)
    calls = (call, call.changed(query=call.inputs["query"][:, order]))
    return Trial(calls, agreement(calls, first_view=lambda _, at: at[:, order]))


def _head_permutation(draw: Draw) -> Trial:
    call = layer_call(draw, _layer(draw, kv_heads=None))
    order = draw.order(2)
    inner = ("query", "key", "value")
    axes = {"output.kernel": 0, **{f"{name}.kernel": 1 for name in inner}, **{f"{name}.bias": 0 for name in inner}}
    moved = {n: np.take(array, order, axes[n]) if n in axes else array for n, array in call.parameters.items()}
    calls = (call, replace(call, parameters=moved))
    return Trial(calls, agreement(calls))


def _rows(calls: tuple[Call, ...], chosen: Any) -> tuple[Demand, ...]:
    def view(_: str, at: np.ndarray) -> np.ndarray:
        return at[chosen]

    return agreement(calls, first_view=view, second_view=view)


BOTH = (LAYER, MODEL)
_Trial = Callable[[Draw], Trial]


def _law(id: str, statement: str, trial: _Trial, clauses: tuple[str, ...], operations: tuple[str, ...] = BOTH) -> Law:
    return Law(id, statement, trial, clauses, operations)


LAWS = (
    _law(
        "future-independence",
        "causal: layer(x)[:, :i] does not depend on x[:, i:]",
        _future,
        ("attention.causal",),
    ),
    _law(
        "padding-independence",
        "layer(x, lengths=n)[:, :n] does not depend on x[:, n:]",
        _padding,
        ("attention.key-lengths",),
    ),
    _law(
        "batch-independence",
        "layer(x[r]) = layer(x)[r] for any batch rows r, in any order or alone",
        _batch,
        ("attention.batch",),
    ),
    _law("cache", "causal: layer(x) in chunks with a cache = layer(x) at once", _cache, ("multihead.cache",)),
    _law(
        "rotary-offset",
        "layer(x, positions=p + c) = layer(x, positions=p): rotary positions are relative",
        _rotary_offset,
        ("positions.rotary", "multihead.positions"),
        (LAYER,),
    ),
    _law(
        "key-permutation",
        "layer(x[:, p]) = layer(x)[:, p] for every permutation p of the positions, without positional codes",
        _place_permutation,
        ("multihead.formula",),
        (LAYER,),
    ),
    _law(
        "head-permutation",
        "permuting the heads in every kernel does not change the layer",
        _head_permutation,
        ("multihead.formula",),
        (LAYER,),
    ),
)
