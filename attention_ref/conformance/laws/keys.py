"""Laws of what is attended to: the order of keys, their number, what they share."""

from __future__ import annotations

import math

import numpy as np

from attention_ref.conformance.laws.law import Demand, Law, Term, Trial, agreement, places
from attention_ref.conformance.laws.strategies import COARSE, EVERYTHING, GROUPS, ORDERLESS, Draw


def _key_permutation(draw: Draw) -> Trial:
    call = draw.call(*ORDERLESS)
    order = draw.order(call.size("k"))
    calls = (call, call.taken("k", order))

    def arranged(name: str, at: np.ndarray) -> np.ndarray:
        return at[..., order] if name == "weights" else at

    return Trial(calls, agreement(calls, first_view=arranged))


def _key_shift(draw: Draw) -> Trial:
    extras = [name for name in EVERYTHING if name not in ("softcap", "sinks")]
    call = draw.call(*extras, among=COARSE)
    sizes = [call.size(letter) for letter in "bg"]
    shift = draw.reals(*sizes, 1, call.inputs["key"].shape[-1], among=(1.0, -1.0, 0.0, 16.0, -16.0))
    calls = (call, call.changed(key=call.inputs["key"] + shift))
    return Trial(calls, agreement(calls, results=("output", "weights")))


def _duplicate_keys(draw: Draw) -> Trial:
    call = draw.call("mask", "bias", "scale", "softcap")
    copies, length = draw.pick((2, 3)), call.size("k")
    calls = (call, call.taken("k", [*range(length)] * copies))
    demands = list(agreement(calls, results=("output",)))
    if "weights" in call.results:
        once, each = places(calls[0], "weights"), places(calls[1], "weights")
        left = Term(0, "weights", np.concatenate([once] * copies, axis=-1))
        demands.append(Demand((left,), (Term(1, "weights", each, float(copies)),)))
    if "log_sum_exp" in call.results:
        at = places(call, "log_sum_exp")
        right = (Term(0, "log_sum_exp", at),)
        demands.append(Demand((Term(1, "log_sum_exp", at),), right, constant=math.log(copies)))
    return Trial(calls, tuple(demands))


def _sink_is_a_key(draw: Draw) -> Trial:
    call = draw.call("scale", "softcap", "mask")
    heads, length = call.size("h"), call.size("k")
    sinks = draw.reals(heads)
    bias = np.zeros((heads, 1, length + 1))
    bias[:, 0, -1] = sinks
    more = {name: np.pad(call.inputs[name], [(0, 0), (0, 0), (0, 1), (0, 0)]) for name in ("key", "value")}
    if "mask" in call.inputs:
        more["mask"] = np.concatenate([call.inputs["mask"], np.ones_like(call.inputs["mask"][..., :1])], axis=-1)
    calls = (call.changed(sinks=sinks), call.changed(bias=bias, **more))
    demands = agreement(calls, results=("output",))
    if "weights" in call.results:
        demands += agreement(calls, second_view=lambda _, at: at[..., :-1], results=("weights",))
    return Trial(calls, demands)


def _grouped_heads(draw: Draw) -> Trial:
    call = draw.call(*EVERYTHING, heads=draw.pick(((2, 1), (4, 2))))
    repeats = call.size("h") // call.size("g")
    repeated = {name: np.repeat(call.inputs[name], repeats, axis=-3) for name in ("key", "value")}
    calls = (call, call.changed(**repeated))
    return Trial(calls, agreement(calls))


LAWS = (
    Law(
        "key-permutation",
        "attention(q, k[p], v[p]) = attention(q, k, v) for every order p of the keys",
        _key_permutation,
        ("attention.formula",),
    ),
    Law(
        "key-shift",
        "attention(q, k + c, v) = attention(q, k, v): all scores of a query move by the same q . c",
        _key_shift,
        ("attention.formula", "attention.stability"),
        operations=("attention", "multiplicative_attention"),
    ),
    Law(
        "duplicate-keys",
        "attention(q, [k k], [v v]) = attention(q, k, v), with half the weights and log-sum-exp + log 2",
        _duplicate_keys,
        ("attention.formula", "attention.weights", "attention.log-sum-exp"),
    ),
    Law(
        "sink-is-a-key",
        "attention(q, k, v, sinks=s) = attention(q, [k 0], [v 0], bias=[0 s])",
        _sink_is_a_key,
        ("attention.sinks",),
        operations=("attention",),
        needs=("sinks", "bias"),
        about="sinks",
    ),
    Law(
        "grouped-heads",
        "attention(q, k, v) = attention(q, repeat(k, h/g), repeat(v, h/g))",
        _grouped_heads,
        ("attention.heads",),
        about=GROUPS,
    ),
)
