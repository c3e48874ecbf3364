"""Laws of independence: of batch rows, heads and queries; and decoding with a cache equals one call."""

from __future__ import annotations

import numpy as np

from attention_ref.conformance.laws.law import Demand, Law, Trial, agreement
from attention_ref.conformance.laws.strategies import EVERYTHING, ORDERLESS, Draw
from attention_ref.vectors.call import Call


def _batch_independence(draw: Draw) -> Trial:
    call = draw.call(*EVERYTHING, b=draw.integer(1, 3))
    rows = draw.some(call.size("b"))
    calls = (call, call.taken("b", rows))
    return Trial(calls, agreement(calls, first_view=lambda _, at: at[rows]))


def _batch_axes(draw: Draw) -> Trial:
    call = draw.call(*EVERYTHING)
    names = ("query", "key", "value", "key_lengths", "query_offset")
    more = {name: array[None] for name, array in call.inputs.items() if name in names and array.ndim}
    calls = (call, call.changed(**more))
    return Trial(calls, agreement(calls, second_view=lambda _, at: at[0]))


def _head_independence(draw: Draw) -> Trial:
    call = draw.call(*EVERYTHING, heads=draw.heads(at_least=2))
    heads, repeats = draw.some(call.size("h")), call.size("h") // call.size("g")
    groups = [head // repeats for head in heads]
    per_group = {name: call.inputs[name][:, groups] for name in ("key", "value")}
    calls = (call, call.taken("h", heads).changed(**per_group))
    return Trial(calls, agreement(calls, first_view=lambda _, at: at[:, heads]))


def _query_independence(draw: Draw) -> Trial:
    call = draw.call(*ORDERLESS, "key_lengths", q=draw.integer(2, 3))
    chosen = draw.some(call.size("q"))
    calls = (call, call.taken("q", chosen))
    return Trial(calls, agreement(calls, first_view=lambda _, at: at[:, :, chosen]))


def _cache(draw: Draw) -> Trial:
    length = draw.integer(2, 4)
    call = draw.call("scale", "softcap", "sinks", "window", q=length, k=length).changed(causal=True, query_offset=None)
    first = draw.integer(1, length - 1)
    before = call.taken("q", range(first)).taken("k", range(first))
    after = call.taken("q", range(first, length)).changed(query_offset=first)
    calls = (call, before, after)
    names = [name for name in call.results if name != "weights"]
    return Trial(calls, (*_rows(calls, 1, slice(0, first), names), *_rows(calls, 2, slice(first, length), names)))


def _rows(calls: tuple[Call, ...], number: int, rows: slice, names: list[str]) -> tuple[Demand, ...]:
    def view(_: str, at: np.ndarray) -> np.ndarray:
        return at[:, :, rows]

    return agreement(calls, second=number, first_view=view, results=names)


LAWS = (
    Law(
        "batch-independence",
        "attention(q[r], k[r], v[r]) = attention(q, k, v)[r] for any batch rows r, in any order or alone",
        _batch_independence,
        ("attention.batch",),
    ),
    Law(
        "batch-axes",
        "attention of (1,b,h,.,.) is attention of (b,h,.,.)",
        _batch_axes,
        ("attention.batch",),
    ),
    Law(
        "head-independence",
        "attention(q[h], k[h // r], v[h // r]) = attention(q, k, v)[h] for any heads h, r to a key/value head",
        _head_independence,
        ("attention.formula", "attention.heads"),
    ),
    Law(
        "query-independence",
        "attention(q[i], k, v) = attention(q, k, v)[i] for any queries i, in any order or alone",
        _query_independence,
        ("attention.formula",),
    ),
    Law(
        "cache",
        "causal: attention(q[:p], k[:p], v[:p]) and attention(q[p:], k, v, query_offset=p) make attention(q, k, v)",
        _cache,
        ("attention.causal", "attention.query-offset"),
        needs=("causal", "query_offset"),
        about="query_offset",
    ),
)
