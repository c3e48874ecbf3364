"""Laws of visibility: what is hidden does not matter, and every rule is a mask."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attention_ref.conformance.laws.law import Demand, Law, Term, Trial, agreement, places
from attention_ref.conformance.laws.strategies import EMPTY_ROWS, EVERYTHING, GARBAGE, ORDERLESS, Draw, Rejected
from attention_ref.spec.operations import ATTENTION
from attention_ref.vectors.call import Call

_POISON = (1.0, -1.0, 128.0, np.nan, np.inf, -np.inf)


def _hidden_by(*rules: str) -> Callable[[Draw], Trial]:
    """What keys hold does not matter to the queries that do not see them; the keys are hidden by some rules."""

    def trial(draw: Draw) -> Trial:
        call = draw.call(*(name for name in EVERYTHING if name not in rules))
        for name in rules:
            call = call.changed(**draw.option(name, call))
        visible = call.visible()  # (b,h,q,k)
        rows = visible.reshape(-1, visible.shape[-1])
        hidden = np.flatnonzero(~rows[draw.integer(0, len(rows) - 1)])
        if not hidden.size:
            raise Rejected
        calls = (call, _refilled(draw, call, hidden))
        unmoved = ~visible[..., hidden].any(axis=-1)  # (b,h,q)

        def view(_: str, at: np.ndarray) -> np.ndarray:
            return at[unmoved]

        return Trial(calls, agreement(calls, first_view=view, second_view=view))

    return trial


def _refilled(draw: Draw, call: Call, at: np.ndarray, among: tuple[float, ...] = GARBAGE) -> Call:
    """Replace keys and values at some positions by other numbers."""
    changed = {name: call.inputs[name].copy() for name in ("key", "value")}
    for array in changed.values():
        array[:, :, at] = draw.reals(*array[:, :, at].shape, among=among)
    return call.changed(**changed)


def _padding_independence(draw: Draw) -> Trial:
    call = draw.call(*(name for name in EVERYTHING if name != "key_lengths"))
    lengths = np.array([draw.integer(0, call.size("k")) for _ in range(call.size("b"))], np.int64)
    call = call.changed(key_lengths=lengths)
    is_padding = np.arange(call.size("k")) >= lengths[:, None]  # (b,k)
    if not is_padding.any():
        raise Rejected
    noise = _refilled(draw, call, np.arange(call.size("k")), _POISON)
    filled = {
        name: np.where(is_padding[:, None, :, None], noise.inputs[name], call.inputs[name]) for name in ("key", "value")
    }
    calls = (call, call.changed(**filled))
    return Trial(calls, agreement(calls))


def _padding_is_absence(draw: Draw) -> Trial:
    call = draw.call(*(name for name in EVERYTHING if name != "key_lengths"))
    length = draw.integer(1, call.size("k"))
    calls = (
        call.changed(key_lengths=np.full(call.size("b"), length, np.int64)),
        call.taken("k", range(length)),
    )

    def real(name: str, at: np.ndarray) -> np.ndarray:
        return at[..., :length] if name == "weights" else at

    return Trial(calls, agreement(calls, first_view=real))


def _is_a_mask(*rules: str, others: tuple[str, ...] = ()) -> Callable[[Draw], Trial]:
    """Rules of visibility together hide what a mask of them hides."""

    def trial(draw: Draw) -> Trial:
        call = draw.call(*(name for name in EVERYTHING if ATTENTION[name].stage != "visibility"))
        for name in (*rules, *(name for name in others if draw.maybe(name))):
            call = call.changed(**draw.option(name, call))
        rest = [name for name in ATTENTION.visibility if ATTENTION[name].stage == "visibility"]
        bare = call.changed(**dict.fromkeys(rest))
        calls = (call, bare.changed(mask=call.changed(bias=None).visible()))
        return Trial(calls, agreement(calls))

    return trial


def _mask_is_a_bias(draw: Draw) -> Trial:
    call = draw.call("bias", "scale", "softcap", "sinks", "causal", "dropout")
    mask = draw.option("mask", call)["mask"]
    bias = np.where(mask, call.inputs.get("bias", 0.0), -np.inf)
    calls = (call.changed(mask=mask), call.changed(bias=bias))
    return Trial(calls, agreement(calls))


def _empty_row(draw: Draw) -> Trial:
    call = draw.call(*ORDERLESS, "causal")
    shape = tuple(call.size(letter) for letter in "bhqk")
    mask = np.broadcast_to(call.inputs.get("mask", True), shape).copy()
    mask[:, :, draw.some(shape[2])] = False
    call = call.changed(mask=mask)
    is_empty = ~call.visible().any(axis=-1)  # (b,h,q)
    nothing = {"output": 0.0, "weights": 0.0, "log_sum_exp": -np.inf}
    demands = [Demand((Term(0, name, places(call, name)[is_empty]),), constant=nothing[name]) for name in call.results]
    return Trial((call,), tuple(demands))


LAWS = (
    Law(
        "hidden-keys",
        "attention(q, k, v, mask)[i] stays what it is whatever the keys and values hold that query i does not see",
        _hidden_by("mask"),
        ("attention.mask", "attention.visibility"),
        needs=("mask",),
        about="mask",
    ),
    Law(
        "future-independence",
        "causal: attention(q, k, v)[i] stays what it is whatever the keys and values at j > i + query_offset hold",
        _hidden_by("causal"),
        ("attention.causal",),
        needs=("causal",),
        about="causal",
    ),
    Law(
        "outside-the-window",
        "window: attention(q, k, v)[i] stays what it is whatever the keys and values outside the window hold",
        _hidden_by("window"),
        ("attention.window",),
        needs=("window",),
        about="window",
    ),
    Law(
        "padding-independence",
        "attention(q, k, v, key_lengths=n) stays what it is whatever k[n:] and v[n:] hold, NaN and infinity too",
        _padding_independence,
        ("attention.key-lengths",),
        needs=("key_lengths",),
    ),
    Law(
        "padding-is-absence",
        "attention(q, k, v, key_lengths=n) = attention(q, k[:n], v[:n])",
        _padding_is_absence,
        ("attention.key-lengths",),
        needs=("key_lengths",),
        about="key_lengths",
    ),
    Law(
        "causal-is-a-mask",
        "attention(causal, query_offset=p) = attention(mask=[j <= i + p])",
        _is_a_mask("causal"),
        ("attention.causal", "attention.query-offset"),
        needs=("causal", "mask"),
        about="causal",
    ),
    Law(
        "window-is-a-mask",
        "attention(window=(l, r), query_offset=p) = attention(mask=[-l <= j - (i + p) <= r])",
        _is_a_mask("window"),
        ("attention.window", "attention.query-offset"),
        needs=("window", "mask"),
        about="window",
    ),
    Law(
        "lengths-are-a-mask",
        "attention(key_lengths=n) = attention(mask=[j < n])",
        _is_a_mask("key_lengths"),
        ("attention.key-lengths",),
        needs=("key_lengths", "mask"),
        about="key_lengths",
    ),
    Law(
        "rules-together",
        "attention(mask, causal, window, key_lengths) = attention(mask AND causal AND window AND key_lengths)",
        _is_a_mask("mask", "causal", others=("window", "key_lengths")),
        ("attention.visibility",),
        needs=("mask", "causal"),
    ),
    Law(
        "mask-is-a-bias",
        "attention(mask=m) = attention(bias=[0 where m, -inf elsewhere])",
        _mask_is_a_bias,
        ("attention.mask", "attention.exclusion"),
        needs=("mask", "bias"),
    ),
    Law(
        "empty-row",
        "a query that sees no key: output 0, weights 0, log-sum-exp -inf",
        _empty_row,
        ("attention.empty-row",),
        needs=("mask",),
        about=EMPTY_ROWS,
    ),
)
