"""Laws of values and weights: a linear mean of what is visible."""

from __future__ import annotations

import numpy as np

from attention_ref.conformance.laws.law import Demand, Law, Relation, Term, Trial, places
from attention_ref.conformance.laws.strategies import EVERYTHING, Draw, numbers
from attention_ref.vectors.call import Call

_HALVES = numbers(1, 64)
"""The sum of two of them is exact in bfloat16."""


def _linear_in_values(draw: Draw) -> Trial:
    call = draw.call(*EVERYTHING)
    values = [draw.reals(*call.inputs["value"].shape, among=_HALVES) for _ in range(2)]
    calls = tuple(call.changed(value=value) for value in (values[0] + values[1], *values))
    at = places(call, "output")
    return Trial(calls, (Demand((Term(0, "output", at),), (Term(1, "output", at), Term(2, "output", at))),))


def _within_values(draw: Draw) -> Trial:
    call = draw.call(*(name for name in EVERYTHING if name != "dropout"))
    visible = call.visible()  # (b,h,q,k)
    values = _value_of_heads(call)[:, :, None]  # (b,h,1,k,v)
    highest = np.where(visible[..., None], values, -np.inf).max(axis=-2)
    lowest = np.where(visible[..., None], values, np.inf).min(axis=-2)
    if "sinks" in call.inputs:
        highest, lowest = np.maximum(highest, 0), np.minimum(lowest, 0)
    is_empty = ~visible.any(axis=-1)
    highest[is_empty] = lowest[is_empty] = 0
    at = places(call, "output")
    demands = (
        Demand((Term(0, "output", at),), (), "<=", highest),
        Demand((Term(0, "output", at, -1.0),), (), "<=", -lowest),
    )
    return Trial((call,), demands)


def _weights_sum(draw: Draw) -> Trial:
    call = draw.call(*EVERYTHING).changed(return_weights=True)
    visible = call.visible()
    at = places(call, "weights")
    row = tuple(Term(0, "weights", at[..., j]) for j in range(at.shape[-1]))
    relation: Relation = "<=" if "sinks" in call.inputs else "="
    demands = (
        Demand((Term(0, "weights", at[~visible]),)),
        Demand((Term(0, "weights", at, -1.0),), (), "<="),
        Demand(row, (), relation, visible.any(axis=-1).astype(np.float64)),
    )
    return Trial((call,), demands)


def _weights_give_output(draw: Draw) -> Trial:
    call = draw.call(*EVERYTHING).changed(return_weights=True)
    output, weights = places(call, "output"), places(call, "weights")
    values = _value_of_heads(call)  # (b,h,k,v)
    kept = call.inputs.get("dropout_mask", np.ones(weights.shape)) / (1 - call.options.get("dropout", 0.0))
    terms = []
    for j in range(weights.shape[-1]):
        at = np.broadcast_to(weights[..., j, None], output.shape)
        terms.append(Term(0, "weights", at, kept[..., j, None] * values[:, :, None, j]))
    return Trial((call,), (Demand((Term(0, "output", output),), tuple(terms)),))


def _dropout_complement(draw: Draw) -> Trial:
    call = draw.call(*(name for name in EVERYTHING if name != "dropout"))
    rate = draw.pick((0.5, 0.25, 0.75))
    mask = draw.booleans(*(call.size(letter) for letter in "bhqk"))
    kept, left = (call.changed(dropout=rate, dropout_mask=each) for each in (mask, ~mask))
    at = places(call, "output")
    halves = (Term(1, "output", at, 1 - rate), Term(2, "output", at, 1 - rate))
    return Trial((call, kept, left), (Demand((Term(0, "output", at),), halves),))


def _value_of_heads(call: Call) -> np.ndarray:
    """Return the values that every query head reads, `(b,h,k,v)`."""
    return np.repeat(call.inputs["value"], call.size("h") // call.size("g"), axis=1)


LAWS = (
    Law(
        "linear-in-values",
        "attention(q, k, v + v') = attention(q, k, v) + attention(q, k, v')",
        _linear_in_values,
        ("attention.formula",),
    ),
    Law(
        "within-values",
        "the output lies between the smallest and the largest visible value (with sinks: and 0)",
        _within_values,
        ("attention.formula", "attention.empty-row"),
    ),
    Law(
        "weights-sum",
        "weights >= 0, 0 where hidden, and sum_j w_ij = 1 (with sinks: <= 1; where nothing is visible: 0)",
        _weights_sum,
        ("attention.weights", "attention.visibility", "attention.empty-row"),
        needs=("return_weights",),
    ),
    Law(
        "weights-give-output",
        "output_i = sum_j w_ij v_j, times dropout_mask_ij / (1 - dropout) where there is dropout",
        _weights_give_output,
        ("attention.weights", "attention.dropout"),
        needs=("return_weights",),
    ),
    Law(
        "dropout-complement",
        "(1 - p) (attention(dropout_mask=m) + attention(dropout_mask=NOT m)) = attention without dropout",
        _dropout_complement,
        ("attention.dropout",),
        needs=("dropout", "dropout_mask"),
        about="dropout",
    ),
)
