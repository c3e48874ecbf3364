"""A dialect: the calling convention of an attention as data: argument names, layout, mask semantics.

`attention_ref.conformance.dialects.adapter` translates calls by it. What a dialect cannot express is unsupported; wrong
results of a function are not corrected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from attention_ref.conformance.dialects import axes
from attention_ref.conformance.errors import UsageError, reject
from attention_ref.conformance.frameworks import KINDS
from attention_ref.spec.clauses import clauses
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import ATTENTION

OPTIONS = ATTENTION.options
"""The options of attention by their names in the specification."""
TENSORS = tuple(argument.name for argument in ATTENTION.positional)
SIDES = {name: (f"{name}_left", f"{name}_right") for name in OPTIONS if ATTENTION[name].kind == "pair"}
"""The arguments that a pair may be split into, by the name of the pair."""
STORED = ("query_key_value", "query_starts", "key_starts", "longest_query", "longest_keys", "page_table")
"""The arguments that a storage of sequences has: see the fields `storage` and `arguments`."""
EXTRAS = (*TENSORS, *(side for sides in SIDES.values() for side in sides), "heads", "kv_heads", "grouped", *STORED)
"""Further facts of a call that a function may take as arguments."""
RESULTS = tuple(result.name for result in ATTENTION.results)
BY_MASK = tuple(name for name in ATTENTION.hiding if ATTENTION[name].counts_positions)
"""The rules of visibility that a dialect may express by its mask."""
CONDITIONS = (
    *("grouped", "multi-query", "value size", "no keys", "no queries", "empty axis", "more queries", "non-finite"),
)
"""The conditions of an exclusion besides options, dtypes and engines: more query heads than key/value heads; a single
key/value head for several query heads; another head size of the values; no keys; no queries; any axis of size 0; more
queries than keys; visible NaN or infinity."""

VALUES: Mapping[str, tuple[str, ...]] = {
    "arrays": KINDS,
    "storage": ("dense", "packed", "paged", "packed, paged", "buffer", "one array", "packed, one array"),
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
"""The allowed values of enumerated fields."""


@dataclass(frozen=True)
class Exclusion:
    """A combination that a function does not support.

    Arguments:
        when: conditions that all hold: the name of a given option, a dtype such as `"float64"`, an engine of Keras such
            as `"engine torch"`, or one of `CONDITIONS`.
        reason: the reason that the report shows.
    """

    when: tuple[str, ...]
    reason: str


class Limits(NamedTuple):
    """The sizes that a function takes.

    Arguments:
        head_sizes: the head sizes; all if empty.
        grouped: whether there may be more query heads than key/value heads.
        value_size: whether values may have another size than keys.
        cross: whether there may be more or fewer queries than keys.
    """

    head_sizes: Sequence[int] = ()
    grouped: bool = True
    value_size: bool = True
    cross: bool = True


@dataclass(frozen=True, repr=False)
class Dialect:
    """The calling convention of a function. The defaults are the specification's convention.

    Arguments:
        arrays: its array type.
        storage: how sequences lie in memory: `"dense"`, every tensor with its own axes of batch and length; `"packed"`,
            the tokens of all sequences one after the other, without padding, with the places where sequences begin;
            `"paged"`, keys and values in pages that a table assigns to batch rows; `"buffer"`, keys and values in a
            buffer longer than their lengths; `"one array"`, query, key and value in one array. `"packed, paged"` has
            packed queries with paged keys and values, and `"packed, one array"` query, key and value of packed tokens.
        page_size: the number of keys in a page.
        page_layout: the order of the axes `pages slots heads size` of paged keys and values.
        layout: the order of the axes of query, key and value: `batch`, `heads`, `length` and `size`, each once,
            separated by blanks; `heads*size` is one merged axis, heads outermost. Of packed sequences `tokens heads
            size`; in one array also `tensors`, along which query, key and value are stacked; without it their heads
            are appended.
        output_layout: the order of the output's axes, if different.
        weights_layout, log_sum_exp_layout: the order of `batch heads queries keys` and of `batch heads queries`; of
            packed log-sum-exp `tokens heads`.
        arguments: the function's name for each argument, by its name in the specification. An argument that is not
            listed keeps its name, if the signature has it; `""` means that the function lacks it. Besides the options:
            `heads` and `kv_heads` (the numbers of heads), `grouped` (whether they differ), `window_left`,
            `window_right`; of packed sequences `query_starts` and `key_starts` (cumulative lengths, `(sequences+1)`),
            `longest_query` and `longest_keys`; of pages `page_table` `(b,pages)`; and `query_key_value`.
        constants: arguments that are always passed, with their values.
        mask_true: the meaning of True (or 1) in a mask for a key: `"attends"` or `"hides"`.
        mask_kind: the kind of a mask: `"boolean"`; numbers `"added"` to the scores; `"boolean or added"` in the same
            argument; or `"numbers"`, 1 for True and 0 for False.
        hidden_score: the number added to hide a key: `"-inf"`, or the `"lowest"` finite number.
        mask_layout: `"broadcast"`, as in NumPy, to `batch heads queries keys`; or the axes that it must
            have, not broadcast, such as `"batch queries keys"`.
        mask_rank: the minimal rank of a mask that broadcasts.
        by_mask: which of `causal`, `window` and `key_lengths` are passed as part of the mask, for lack of an argument.
        causal_alignment: the alignment of the causal diagonal: `"top left"`, `"bottom right"`, or at an `"offset"`
            that is an argument.
        heads: the key/value head of query head i: `"grouped"`, `i // (h/g)`; `"tiled"`, `i % g`; or
            `"equal"`, where their numbers must agree.
        window: a pair of inclusive `"distances"`; `"two distances"`, in two arguments; one inclusive `"distance"`; or
            a `"count"` of keys including the query's own position. A single number applies to both sides.
        window_open: the value of an unlimited side: `"None"`, `"-1"`, or the `"length"` of the arrays.
        key_lengths: `"lengths"`, or a boolean mask `(b,k)` that is True for real `"keys"` or for `"padding"`.
        default_scale: the scale used if none is passed.
        weights: which weights it returns: `"before dropout"`, `"after dropout"`, or `"averaged"` over the heads.
        returns: the results that it always returns, in order; if empty, the output and the requested results.
        dtypes: the supported dtypes; all if empty.
        ranks: the supported ranks of the query; all if empty.
        head_sizes: the supported head sizes of queries, keys and values; all if empty.
        exclusions: combinations that it does not support.
        empty_row: its documented result of an empty row. The report shows it with a failure; the failure still counts.
        notes: known differences by clause id. The report shows them with a failure too.
        library, versions: the distribution, and the range of versions that this dialect was measured with.
    """

    arrays: str = "numpy"
    storage: str = "dense"
    page_size: int = 16
    page_layout: str = "pages slots heads size"
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
    head_sizes: Sequence[int] = ()
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
        for size in self.head_sizes:
            if type(size) is not int or size < 1:
                raise UsageError(f"head_sizes: {size!r} is not a positive integer")
        _among("clause", self.notes, clauses())
        for exclusion in self.exclusions:
            engines = [f"engine {name}" for name in KINDS if name not in ("numpy", "keras")]
            _among("condition", exclusion.when, (*OPTIONS, *DTYPES, *CONDITIONS, *engines))
        if self.page_size < 1:
            raise UsageError(f"page_size: {self.page_size} is less than 1")
        for name, wanted in self._phrases().items():
            _check_phrase(name, getattr(self, name), wanted)
        if self.mask_layout != "broadcast":
            _check_phrase("mask_layout", self.mask_layout, axes.SCORES, is_whole=False)

    def __repr__(self) -> str:
        """Return an expression that makes it again, with the fields that differ from the specification's convention."""
        given, defaults = vars(self), vars(Dialect())
        words = [f"{name}={value!r}" for name, value in given.items() if value != defaults[name]]
        return f"Dialect({', '.join(words)})"

    @property
    def limits(self) -> Limits:
        """The sizes that it takes, whatever the options."""
        alone = {exclusion.when[0] for exclusion in self.exclusions if len(exclusion.when) == 1}
        is_joined = self.storage.endswith("one array")
        return Limits(
            head_sizes=tuple(self.head_sizes),
            grouped=self.heads != "equal" and "grouped" not in alone and not self._is_stacked,
            value_size="value size" not in alone and not is_joined,
            cross=not is_joined,
        )

    def _phrases(self) -> Mapping[str, tuple[str, ...]]:
        """Return the axes that each phrase must have."""
        found = {**_PHRASES, "page_layout": axes.PAGES}
        if self.storage.startswith("packed"):
            found |= {"layout": axes.TOKENS, "output_layout": axes.TOKENS}
            if self.log_sum_exp_layout != Dialect.log_sum_exp_layout:
                found["log_sum_exp_layout"] = axes.TOKEN_ROWS
        if self._is_stacked:
            found["layout"] = axes.JOINED_TOKENS if self.storage.startswith("packed") else axes.JOINED
        return found

    @property
    def _is_stacked(self) -> bool:
        """Whether query, key and value have an axis along which they are stacked."""
        return self.storage.endswith("one array") and "tensors" in axes.flat(axes.parse(self.layout))

    def note(self, clause: str) -> str:
        """Return the note on a clause, or an empty string; a report shows it with a failure."""
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
    "unmasked": "an empty row attends to every key",
    "bias only": "an empty row gives the output projection's bias",
    "depends": "the result of an empty row depends on other options",
}
FIELDS = tuple(each.name for each in fields(Dialect))


def _among(what: str, names: Any, allowed: Any) -> None:
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise UsageError(f"{what}: expected a list, got {names!r}")
    for name in names:
        if name not in allowed:
            reject(what, str(name), allowed)


def _check_phrase(name: str, text: str, wanted: tuple[str, ...], *, is_whole: bool = True) -> None:
    if not text and name == "output_layout":
        return
    names = axes.flat(axes.parse(text))
    _among(f"axis of {name}", names, wanted)
    if len(set(names)) < len(names) or (is_whole and set(names) != set(wanted)):
        raise UsageError(
            f"{name}: {text!r} must have each of {', '.join(wanted)} {'once' if is_whole else 'at most once'}"
        )
