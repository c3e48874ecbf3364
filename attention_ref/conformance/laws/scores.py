"""Laws of scores: what shifts, scales and bounds them."""

from __future__ import annotations

import math

import numpy as np

from attention_ref.conformance.laws.law import Demand, Law, Term, Trial, agreement, places
from attention_ref.conformance.laws.strategies import COARSE, ORDERLESS, REALS, REQUESTS, RULES, Draw
from attention_ref.vectors.call import Call

_SHIFTS = (1.0, -1.0, 0.0, 16.0, 1024.0, -1024.0, -16384.0)
_SMALL = (0.0, 1.0, -1.0, 2.0)


def _constant_shift(draw: Draw) -> Trial:
    call = draw.call(*RULES, "scale", "softcap", "sinks", "dropout")
    whole = {name: np.rint(call.inputs[name]) for name in ("bias", "sinks") if name in call.inputs}
    call = call.changed(**whole)  # so that few of the sums are too long for a narrow dtype
    sizes = tuple(call.size(letter) for letter in "bhq")
    bias = call.inputs.get("bias", np.zeros((1, 1)))
    if "sinks" in call.inputs:  # they move too, and are one for each head
        shift = draw.reals(1, sizes[1], 1, among=_SHIFTS)
        moved = call.changed(sinks=call.inputs["sinks"] + shift[0, :, 0])
    else:
        shift, moved = draw.reals(*sizes, among=_SHIFTS), call
    calls = (call, moved.changed(bias=bias + shift[..., None]))
    demands = agreement(calls, results=("output", "weights"))
    if "log_sum_exp" in call.results:
        at = places(call, "log_sum_exp")
        left, right = (Term(1, "log_sum_exp", at),), (Term(0, "log_sum_exp", at),)
        demands += (Demand(left, right, constant=np.broadcast_to(shift, sizes)),)
    return Trial(calls, demands)


def _default_scale(draw: Draw) -> Trial:
    extras = [name for name in ORDERLESS if name != "scale"]
    call = draw.call(*extras).changed(score_kernel=None)
    query, key = call.inputs["query"], call.inputs["key"]
    factor = 2.0 if call.operation == "attention" else 4.0  # 4 / sqrt(4), or no scale
    four_times = {"query": np.concatenate([query] * 4, axis=-1), "key": np.concatenate([key] * 4, axis=-1)}
    calls = (call.changed(**four_times), call.changed(query=factor * query))
    return Trial(calls, agreement(calls))


def _scale(draw: Draw) -> Trial:
    call = draw.call(*(name for name in ORDERLESS if name != "scale"))
    factor = draw.pick((1.0, 2.0, 0.5, -1.0))
    scale = factor / math.sqrt(call.size("d"))
    calls = (call.changed(scale=scale), call.changed(query=factor * call.inputs["query"]))
    return Trial(calls, agreement(calls))


def _softcap_bound(draw: Draw) -> Trial:
    cap = draw.pick((1.0, 0.5, 2.0))
    call = _weights_as_output(draw, draw.call("mask", "causal", "scale")).changed(softcap=cap)
    return _bounded(call, cap)


def _additive_bound(draw: Draw) -> Trial:
    call = _weights_as_output(draw, draw.call("mask", "causal"))
    return _bounded(call, float(np.abs(call.inputs["score_kernel"]).sum()))


def _weights_as_output(draw: Draw, call: Call) -> Call:
    """Let every key's value be its own unit vector, so that the output is the weights; and let scores be large."""
    length = call.size("k")
    unit = np.broadcast_to(np.eye(length), (*call.inputs["value"].shape[:2], length, length)).copy()
    wanted = dict.fromkeys(REQUESTS)
    return call.changed(value=unit, query=call.inputs["query"] * draw.pick((8.0, 1.0)), **wanted)


def _bounded(call: Call, cap: float) -> Trial:
    """Scores within (-cap, cap) give every visible key a weight of at least exp(-2 cap) / n."""
    visible = call.visible()
    least = np.broadcast_to(np.exp(-2 * cap) / np.maximum(visible.sum(axis=-1, keepdims=True), 1), visible.shape)
    at = places(call, "output")[visible]
    return Trial((call,), (Demand((Term(0, "output", at, -1.0),), (), "<=", -least[visible]),))


def _kernels_first(draw: Draw) -> Trial:
    call = draw.call(*ORDERLESS, "causal", among=COARSE)
    sizes = {name: call.inputs[name].shape[-1] for name in ("query", "key")}
    query, key = call.inputs["query"], call.inputs["key"]
    if call.operation == "multiplicative_attention":
        kernel = draw.reals(sizes["query"], sizes["key"], among=_SMALL)
        calls = (call.changed(score_kernel=kernel), call.changed(score_kernel=None, query=query @ kernel))
        return Trial(calls, agreement(calls))
    hidden = draw.integer(1, 2)
    kernels = [draw.reals(size, hidden, among=_SMALL) for size in sizes.values()]
    score = draw.reals(hidden, among=REALS)
    calls = (
        call.changed(query_kernel=kernels[0], key_kernel=kernels[1], score_kernel=score),
        call.changed(
            query=query @ kernels[0], key=key @ kernels[1], query_kernel=None, key_kernel=None, score_kernel=score
        ),
    )
    return Trial(calls, agreement(calls))


LAWS = (
    Law(
        "constant-shift",
        "attention(bias + c_i) = attention(bias) for every number c_i of a query; log-sum-exp moves by c_i",
        _constant_shift,
        ("attention.bias", "attention.stability", "attention.finite-bias", "attention.log-sum-exp"),
        needs=("bias",),
        about="bias",
    ),
    Law(
        "default-scale",
        "attention([q q q q], [k k k k], v) = attention(2 q, k, v): the scale is 1/sqrt(d); without a scale, of 4 q",
        _default_scale,
        ("attention.scale", "multiplicative.formula"),
        operations=("attention", "multiplicative_attention"),
    ),
    Law(
        "scale",
        "attention(q, k, v, scale=c/sqrt(d)) = attention(c q, k, v)",
        _scale,
        ("attention.scale",),
        operations=("attention",),
        needs=("scale",),
        about="scale",
    ),
    Law(
        "softcap-bound",
        "softcap=c: no visible key among n weighs less than exp(-2 c) / n",
        _softcap_bound,
        ("attention.softcap",),
        operations=("attention",),
        needs=("softcap",),
        about="softcap",
    ),
    Law(
        "additive-bound",
        "no visible key among n weighs less than exp(-2 sum |score_kernel|) / n",
        _additive_bound,
        ("additive.formula",),
        operations=("additive_attention",),
    ),
    Law(
        "kernels-first",
        "attention with kernels is attention of projected queries (and keys) without them",
        _kernels_first,
        ("additive.kernels", "multiplicative.kernel"),
        operations=("additive_attention", "multiplicative_attention"),
        needs=("score_kernel",),
    ),
)
