"""A dialect: in which words and conventions a function says what the specification says in its own.

It is data. `attention_ref.conformance.dialects.adapter` translates a call by it, and translates only: what a dialect
has no way to say is unsupported, and what a function computes otherwise stays wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from attention_ref.conformance.dialects import axes
from attention_ref.conformance.errors import UsageError, reject
from attention_ref.conformance.frameworks import KINDS
from attention_ref.spec.clauses import clauses
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import ATTENTION

OPTIONS = ATTENTION.options
"""The options of attention, by the specification's names."""
TENSORS = tuple(argument.name for argument in ATTENTION.positional)
SIDES = {name: (f"{name}_left", f"{name}_right") for name in OPTIONS if ATTENTION[name].kind == "pair"}
"""The names of the two halves of a pair, by the name of the pair."""
EXTRAS = (*TENSORS, *(side for sides in SIDES.values() for side in sides), "heads", "kv_heads", "grouped")
"""What else a function may have a name for."""
RESULTS = tuple(result.name for result in ATTENTION.results)
BY_MASK = tuple(name for name in ATTENTION.hiding if ATTENTION[name].counts_positions)
"""The rules of visibility that a mask can stand for."""
CONDITIONS = ("grouped", "multi-query", "value size", "no keys", "no queries", "more queries", "non-finite")
"""What an exclusion may speak of beside options, dtypes and engines: more query heads than key/value heads; one of the
latter for several of the former; a head of the values of another size; an axis of size 0; more queries than keys; NaN
or infinity that nothing hides."""

VALUES: Mapping[str, tuple[str, ...]] = {
    "arrays": KINDS,
    "mask_true": ("attends", "hides"),
    "mask_kind": ("boolean", "added", "boolean or added", "numbers"),
    "hidden_score": ("-inf", "lowest"),
    "causal_alignment": ("top left", "bottom right", "offset"),
    "heads": ("grouped", "tiled", "equal"),
    "window": ("distances", "two distances", "distance", "count"),
    "window_open": ("None", "-1", "length"),
    "key_lengths": ("lengths", "keys", "padding"),
    "default_scale": ("1/sqrt(size)", "1"),
    "weights": ("before dropout", "after dropout", "averaged"),
    "empty_row": ("zero", "mean", "nan", "unmasked", "bias only", "depends", "unknown"),
}
"""The values that a field may have, where they can be counted."""


@dataclass(frozen=True)
class Exclusion:
    """A combination that a function does not offer.

    Arguments:
        when: all of these hold: an option is given, a dtype such as `"float64"`, an engine such as `"engine torch"`
            (of Keras), or one of `CONDITIONS`.
        reason: what the report says.
    """

    when: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Dialect:
    """The words and conventions of a function. Every default is the specification's own.

    Arguments:
        arrays: the kind that it takes and returns.
        layout: the order of the axes of query, key and value: `batch`, `heads`, `length` and `size`, each once,
            separated by blanks; `heads*size` is one axis with the heads one after the other.
        output_layout: the order of the output's, where it is another.
        weights_layout, log_sum_exp_layout: the order of `batch heads queries keys` and of `batch heads queries`.
        arguments: its name for each argument, by the specification's name. A name that is not listed stays, where the
            function's signature has it; `""` says that it has none. Beside the options: `heads`, `kv_heads` (numbers
            that it wants to be told), `grouped` (told True where `h` and `g` differ), `window_left`, `window_right`.
        constants: arguments that are always given, with their values.
        mask_true: what True in a mask, or 1, says of a key: `"attends"` or `"hides"`.
        mask_kind: what a mask is: `"boolean"`; numbers that are `"added"` to the scores; `"boolean or added"`, in one
            argument; or `"numbers"`, 1 for True and 0 for False.
        hidden_score: what is added to hide a key: `"-inf"`, or the `"lowest"` finite number.
        mask_layout: `"broadcast"`, as in NumPy, to `batch heads queries keys`; or the axes that it must have, each in
            full, such as `"batch queries keys"`.
        mask_rank: how many axes a mask that broadcasts has at the least.
        by_mask: which of `causal`, `window` and `key_lengths` are said by the mask, since there is no other way.
        causal_alignment: where the diagonal of `causal` begins: `"top left"`, `"bottom right"`, or at an `"offset"`
            that is an argument.
        heads: which key/value head a query head reads: `"grouped"`, `i // (h/g)`; `"tiled"`, `i % g`; or their
            numbers are `"equal"`.
        window: a pair of inclusive `"distances"`; `"two distances"`, in two arguments; one inclusive `"distance"`; or
            a `"count"` of keys, the query's own place among them. A single number holds to both sides.
        window_open: what stands for an open side: `"None"`, `"-1"`, or the `"length"` of the arrays.
        key_lengths: `"lengths"`, or a boolean mask of `(b,k)` that is True for real `"keys"` or for `"padding"`.
        default_scale: what the scores are multiplied by unless told otherwise.
        weights: the weights that it returns: `"before dropout"`, `"after dropout"`, or `"averaged"` over the heads.
        returns: what it always returns, in order; when empty, the output and what it was asked for.
        dtypes: those that it takes; all when empty.
        ranks: the numbers of axes of a query that it takes; all when empty.
        exclusions: combinations that it does not offer.
        empty_row: what it says a query that sees no key gives. It is shown beside a failure, and excuses nothing.
        notes: by the id of a clause, what it does otherwise. Shown beside a failure too.
        library, versions: the distribution that it belongs to, and the versions that this was measured with.
    """

    arrays: str = "numpy"
    layout: str = "batch heads length size"
    output_layout: str = ""
    weights_layout: str = "batch heads queries keys"
    log_sum_exp_layout: str = "batch heads queries"
    arguments: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    mask_true: str = "attends"
    mask_kind: str = "boolean"
    hidden_score: str = "-inf"
    mask_layout: str = "broadcast"
    mask_rank: int = 0
    by_mask: Sequence[str] = ()
    causal_alignment: str = "offset"
    heads: str = "grouped"
    window: str = "distances"
    window_open: str = "None"
    key_lengths: str = "lengths"
    default_scale: str = "1/sqrt(size)"
    weights: str = "before dropout"
    returns: Sequence[str] = ()
    dtypes: Sequence[str] = ()
    ranks: Sequence[int] = ()
    exclusions: Sequence[Exclusion] = ()
    empty_row: str = "unknown"
    notes: Mapping[str, str] = field(default_factory=dict)
    library: str = ""
    versions: str = ""

    def __post_init__(self) -> None:
        for name, values in VALUES.items():
            _among(f"value of {name}", [getattr(self, name)], values)
        _among("argument", self.arguments, (*OPTIONS, *EXTRAS))
        _among("option of by_mask", self.by_mask, BY_MASK)
        _among("result", self.returns, RESULTS)
        _among("dtype", self.dtypes, DTYPES)
        _among("clause", self.notes, clauses())
        for exclusion in self.exclusions:
            engines = [f"engine {name}" for name in KINDS if name not in ("numpy", "keras")]
            _among("condition", exclusion.when, (*OPTIONS, *DTYPES, *CONDITIONS, *engines))
        for name, wanted in _PHRASES.items():
            _check_phrase(name, getattr(self, name), wanted)
        if self.mask_layout != "broadcast":
            _check_phrase("mask_layout", self.mask_layout, axes.SCORES, is_whole=False)

    def note(self, clause: str) -> str:
        """Return what the dialect says of a clause, or nothing; a report shows it beside a failure."""
        says = _EMPTY_ROWS.get(self.empty_row, "") if clause == "attention.empty-row" else ""
        return "; ".join(filter(None, (says, self.notes.get(clause, ""))))


_PHRASES = {
    "layout": axes.TENSOR,
    "output_layout": axes.TENSOR,
    "weights_layout": axes.SCORES,
    "log_sum_exp_layout": axes.ROWS,
}
_EMPTY_ROWS = {
    "zero": "an empty row gives 0",
    "mean": "an empty row gives the mean of the values",
    "nan": "an empty row gives NaN",
    "unmasked": "an empty row attends as if nothing were hidden",
    "bias only": "an empty row gives the output projection's bias",
    "depends": "what an empty row gives depends on other options",
}
FIELDS = tuple(each.name for each in fields(Dialect))


def _among(what: str, names: Any, there: Any) -> None:
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise UsageError(f"{what}: expected a list, got {names!r}")
    for name in names:
        if name not in there:
            reject(what, str(name), there)


def _check_phrase(name: str, text: str, wanted: tuple[str, ...], *, is_whole: bool = True) -> None:
    if not text and name == "output_layout":
        return
    names = axes.flat(axes.parse(text))
    _among(f"axis of {name}", names, wanted)
    if len(set(names)) < len(names) or (is_whole and set(names) != set(wanted)):
        raise UsageError(
            f"{name}: {text!r} must have each of {', '.join(wanted)} {'once' if is_whole else 'at most once'}"
        )
