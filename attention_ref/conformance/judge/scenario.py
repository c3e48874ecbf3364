"""A call of attention at a real size, in one line: its dtype, sizes, options and the distribution of its numbers.

    float32/b2.h8.g2.q65.k129.d64.v80/causal,offset=64,window=63+open,mask=random.b1qk/normal

The line is the id of the call. With a seed it gives every number of its inputs, so that it can be asked again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from attention_ref.conformance.errors import UsageError
from attention_ref.spec.dtypes import DTYPES

DISTRIBUTIONS = ("normal", "outliers", "ties", "large", "tiny", "constant", "dominant", "low", "padding")
"""Unit normal; a few large channels; keys that are nearly equal; scores of hundreds; magnitudes of 1e-4; equal keys;
one key with nearly all weight; scores of -200; NaN and infinity in the padding."""

_SIZES = {
    "b": "batch",
    "h": "heads",
    "g": "groups",
    "q": "queries",
    "k": "keys",
    "d": "head_size",
    "v": "value_size",
}
_AXES = re.compile(r"(b|1)?(h|1)?(q|1)k|qk")
_KINDS = {"mask": ("random", "late"), "bias": ("normal", "holes")}
RETURNS = {"weights": "return_weights", "log_sum_exp": "return_log_sum_exp"}
"""The results beside the output, and the options that ask for them."""


@dataclass(frozen=True)
class Scenario:
    """One call.

    Arguments:
        dtype: of query, key, value, bias and sinks.
        batch, heads, groups, queries, keys, head_size, value_size: `b`, `h`, `g`, `q`, `k`, `d` and `v`.
        causal: as in `attention_ref.spec.attention`.
        offsets: the query offset: none, one for all, or one for each batch row.
        window: as in the specification.
        lengths: the key lengths, one for each batch row, or none.
        mask: empty, or how it is drawn and its axes: `"random.bhqk"`, half of the keys; `"late.qk"`, a run of keys that
            begins after the first ones. An axis `1` is repeated.
        bias: empty, or `"normal.bhqk"`; `"holes.bhqk"` with runs of -inf.
        scale, softcap: as in the specification.
        sinks: whether there are any.
        dropout: the rate; its mask is `(b,h,q,k)`.
        returns: the results that are asked for beside the output, some of `RETURNS`.
        gradients: whether the gradients of all inputs are asked for, and nothing else.
        distribution: one of `DISTRIBUTIONS`.
    """

    dtype: str
    batch: int
    heads: int
    groups: int
    queries: int
    keys: int
    head_size: int
    value_size: int
    causal: bool = False
    offsets: tuple[int, ...] = ()
    window: tuple[int | None, int | None] | None = None
    lengths: tuple[int, ...] = ()
    mask: str = ""
    bias: str = ""
    scale: float | None = None
    softcap: float | None = None
    sinks: bool = False
    dropout: float = 0.0
    returns: tuple[str, ...] = ()
    gradients: bool = False
    distribution: str = "normal"

    @property
    def id(self) -> str:
        """The whole call in one line."""
        sizes = ".".join(f"{letter}{getattr(self, name)}" for letter, name in _SIZES.items())
        return "/".join([self.dtype, sizes, ",".join(self._options()) or "plain", self.distribution])

    def _options(self) -> Iterator[str]:
        if self.causal:
            yield "causal"
        if self.offsets:
            yield f"offset={_joined(self.offsets)}"
        if self.window is not None:
            yield f"window={'+'.join('open' if side is None else str(side) for side in self.window)}"
        if self.lengths:
            yield f"lengths={_joined(self.lengths)}"
        for name in ("mask", "bias", "scale", "softcap"):
            if getattr(self, name):
                yield f"{name}={getattr(self, name)}"
        if self.sinks:
            yield "sinks"
        if self.dropout:
            yield f"dropout={self.dropout}"
        yield from self.returns
        if self.gradients:
            yield "gradients"

    @property
    def options(self) -> frozenset[str]:
        """The options of the specification that it uses."""
        used = {"causal": self.causal, "query_offset": self.offsets, "window": self.window, "key_lengths": self.lengths}
        used |= {name: getattr(self, name) for name in ("mask", "bias", "scale", "softcap", "sinks", "dropout")}
        used |= {"dropout_mask": self.dropout, **{RETURNS[name]: True for name in self.returns}}
        return frozenset(name for name, option in used.items() if option)

    @property
    def results(self) -> tuple[str, ...]:
        """The names of the results: the output and what is asked for beside it, or the inputs that have a gradient."""
        if not self.gradients:
            return ("output", *self.returns)
        return ("query", "key", "value", *(["bias"] if self.bias else []), *(["sinks"] if self.sinks else []))

    @property
    def axes(self) -> dict[str, int]:
        """The sizes by their letters in the specification, and 1."""
        return {letter: getattr(self, name) for letter, name in _SIZES.items()} | {"1": 1}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every result."""
        axes = {"output": "bhqv", "weights": "bhqk", "log_sum_exp": "bhq"}
        axes |= {"query": "bhqd", "key": "bgkd", "value": "bgkv", "sinks": "h", "bias": self.bias.partition(".")[2]}
        return {name: tuple(self.axes[axis] for axis in axes[name]) for name in self.results}

    @property
    def is_valid(self) -> bool:
        """Whether its parts are consistent and every query sees a key: empty rows do not depend on the size."""
        sizes = all(getattr(self, name) >= 1 for name in _SIZES.values()) and self.heads % self.groups == 0
        if not sizes or len(self.offsets) not in (0, 1, self.batch) or len(self.lengths) not in (0, self.batch):
            return False
        if (self.offsets and not (self.causal or self.window)) or any(not 1 <= n <= self.keys for n in self.lengths):
            return False
        if (self.distribution == "padding" and not self.lengths) or (self.gradients and self.returns):
            return False
        first, last = self.seen()
        return bool(np.all(first <= last))

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and the last key, `(b,q)`, that queries see by their place, without a mask or bias."""
        offsets = np.broadcast_to(np.array(self.offsets or (0,)), (self.batch,))
        lengths = np.broadcast_to(np.array(self.lengths or (self.keys,)), (self.batch,))
        places = offsets[:, None] + np.arange(self.queries)
        left, right = self.window or (None, None)
        first = np.zeros_like(places) if left is None else np.maximum(places - left, 0)
        last = np.broadcast_to(lengths[:, None] - 1, places.shape)
        last = last if right is None else np.minimum(last, places + right)
        return first, np.minimum(last, places) if self.causal else last

    @property
    def scores(self) -> int:
        """The number of scores, hidden ones included."""
        return self.batch * self.heads * self.queries * self.keys


def parse(text: str) -> Scenario:
    """Read a call from its id.

    Raises:
        UsageError: for a text that is none.
    """
    try:
        dtype, sizes, options, distribution = text.split("/")
        numbers = {_SIZES[part[0]]: int(part[1:]) for part in sizes.split(".")}
        found = Scenario(dtype, distribution=distribution, **numbers, **_read(options))  # type: ignore[arg-type]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise UsageError(
            f"{text!r} is no call to judge; one reads float32/b1.h1.g1.q1.k1.d1.v1/plain/normal"
        ) from error
    _check(found, text)
    return found


def _check(found: Scenario, text: str) -> None:
    if found.dtype not in DTYPES or found.distribution not in DISTRIBUTIONS or not found.is_valid or found.id != text:
        raise UsageError(f"{text!r} is no call to judge: its parts do not fit each other")


def _read(text: str) -> dict[str, object]:
    options: dict[str, object] = {"returns": ()}
    for part in text.split(",") if text != "plain" else ():
        name, _, value = part.partition("=")
        if name in RETURNS:
            options["returns"] = (*options["returns"], name)  # type: ignore[misc]
        elif name in ("causal", "sinks", "gradients"):
            options[name] = True
        elif name in ("offset", "lengths"):
            options[name if name == "lengths" else "offsets"] = tuple(map(int, value.split("+")))
        elif name == "window":
            left, right = (None if side == "open" else int(side) for side in value.split("+"))
            options[name] = (left, right)
        elif name in _KINDS:
            kind, axes = value.split(".")
            if kind not in _KINDS[name] or not _AXES.fullmatch(axes):
                raise ValueError(value)
            options[name] = value
        elif name in {each.name for each in fields(Scenario)}:
            options[name] = float(value)
        else:
            raise KeyError(name)
    return options


def _joined(numbers: tuple[int, ...]) -> str:
    return "+".join(map(str, numbers))
