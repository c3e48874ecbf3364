"""Call a function as attention once, and find out what to change where that cannot be right.

Nothing is refused whose plain call gives the right numbers, or numbers of the right shape, which the cases judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attention_ref.conformance import conventions
from attention_ref.conformance.convention_words import differences
from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.plain_call import (
    DISTINCT,
    ERROR,
    KIND,
    RIGHT,
    SHAPE,
    SHAPES,
    SQUARE,
    UNKNOWN,
    WRONG,
    Caller,
    Outcome,
    Shape,
)
from attention_ref.conformance.preflight.preflight_error import PreflightError
from attention_ref.conformance.preflight.unsuitable_objects import (
    device_sentence,
    random_sentence,
    require_no_class,
    require_no_weights,
    shown_name,
)
from attention_ref.conformance.preflight.wrappers import wrappers

NO_REMARK = ("", "")
_LIBRARIES = ("torch", "jax", "flax", "keras", "tensorflow", "transformers", "x_transformers")


@dataclass(frozen=True)
class Fit:
    """A way to call a function in which it is right.

    Arguments:
        dialect: the conventions.
        shape: the sizes for which it is.
    """

    dialect: Dialect
    shape: Shape

    @property
    def is_plain(self) -> bool:
        """Whether the kind of arrays alone differs from the specification's convention."""
        return self.dialect == Dialect(arrays=self.dialect.arrays)

    @property
    def toml(self) -> str:
        """The dialect as TOML; empty if only the kind of arrays differs."""
        return "" if self.is_plain else conventions.toml(self.dialect)

    def words(self, arrays: str = "") -> str:
        """Describe the conventions, and a restriction to as many keys as queries."""
        found = differences(self.dialect, arrays)
        return found if self.shape == DISTINCT else f"{found}; and for as many keys as queries alone".lstrip("; ")


def examine(function: Callable[..., Any], arrays: str, caller: Caller, name: str = "") -> tuple[str, str]:
    """Call an attention without options, and find out what to change where that cannot work.

    Arguments:
        function: what is to be checked.
        arrays: the declared array type.
        caller: makes the calls.
        name: what it is called; by default its own name.

    Returns:
        A remark on what another dialect would make right, and that dialect as TOML; both empty if there is none.

    Raises:
        PreflightError: when a plain call cannot work.
    """
    name = shown_name(function, name)
    first = caller.call(function, arrays)
    if first.what == UNKNOWN:
        return NO_REMARK
    if first.what == RIGHT:
        return _remark(function, name, arrays, caller)
    others = [caller.call(function, arrays, shape) for shape in SHAPES[1:]]
    works_elsewhere = first.what != WRONG and any(each.what == RIGHT for each in others)
    if works_elsewhere or any(each.what == UNKNOWN for each in others):
        return NO_REMARK
    return _Explanation(function, name, arrays, caller, [first, *others]).remark()


def _remark(function: Callable[..., Any], name: str, arrays: str, caller: Caller) -> tuple[str, str]:
    """Examine the options of a function whose plain call is right: their names, and the meaning of True in a mask."""
    if conventions.signature(function) is None:
        _require_options(function, name, arrays, caller)
        return NO_REMARK
    dialect = conventions.with_options(function, Dialect(arrays=arrays), caller)
    if dialect == Dialect(arrays=arrays):
        return NO_REMARK
    return f"more of it can be checked with a dialect: {differences(dialect)}", conventions.toml(dialect)


def _require_options(function: Callable[..., Any], name: str, arrays: str, caller: Caller) -> None:
    """Reject a function without a signature that does not understand the specification's options."""
    outcomes = [caller.call(function, arrays, mask=True), caller.call(function, arrays, causal=True)]
    if any(each.what != ERROR for each in outcomes):
        return
    if dialect := conventions.named(function, [arrays], caller):
        raise PreflightError(_released(function, name, dialect))
    raise PreflightError(
        f"{name} is built in, without a signature that says what it accepts, and lacks mask and causal: wrap it",
        wrapper=f"def checked(query, key, value):\n    return {name}(query, key, value)",
    )


def _released(function: Callable[..., Any], name: str, dialect: str) -> str:
    has_none = conventions.signature(function) is None
    what = "built in, without a signature that says what it accepts" if has_none else "a function of a released library"
    return f'{name} is {what}: add dialect="{dialect}" (--dialect {dialect}), which describes it'


@dataclass(frozen=True)
class _Explanation:
    """Why no plain call of a function is right.

    Arguments:
        function, name, arrays, caller: as in `examine`.
        outcomes: of its plain calls, for the sizes `SHAPES`.
    """

    function: Callable[..., Any]
    name: str
    arrays: str
    caller: Caller
    outcomes: Sequence[Outcome]

    def remark(self) -> tuple[str, str]:
        """Return the remark on a function that gives wrong numbers.

        Raises:
            PreflightError: where it gives none.
        """
        require_no_class(self.function, self.name)
        kinds = list(dict.fromkeys([self.arrays, *conventions.kinds_of(self.function, self.outcomes[0].returned)]))
        self._require_no_released(kinds)
        gives_numbers = self.outcomes[0].what == WRONG
        if found := self._fit(self.function, kinds):
            if gives_numbers:
                return f"it is right where it is called in another way: {found.words()}", found.toml
            raise PreflightError(self._fitting_sentence(found), found.toml)
        by_kind = {kind: self._outcomes(kind) for kind in kinds}
        if not gives_numbers:
            require_no_weights(self.function, self.name)
        self._require_repeatable(by_kind)
        if remark := self._wrapped(kinds, gives_numbers=gives_numbers):
            return remark
        if not gives_numbers:
            self._require_three_arrays()
            self._refuse(by_kind)
        return NO_REMARK

    def _require_no_released(self, kinds: Sequence[str]) -> None:
        """Reject a function of a released library that a dialect of the kit describes."""
        package = str(getattr(self.function, "__module__", "") or "").partition(".")[0]
        is_released = conventions.signature(self.function) is None or package in _LIBRARIES
        if is_released and (dialect := conventions.named(self.function, kinds, self.caller)):
            raise PreflightError(_released(self.function, self.name, dialect))

    def _fit(
        self,
        function: Callable[..., Any],
        kinds: Sequence[str],
        shapes: Sequence[Shape] = (DISTINCT, SQUARE),
        **options: bool,
    ) -> Fit | None:
        for shape in shapes:
            if dialect := conventions.fitting(function, kinds, self.caller, shape, **options):
                return Fit(dialect, shape)
        return None

    def _fitting_sentence(self, found: Fit) -> str:
        """Explain why a function fails that would be right with a dialect."""
        if found.is_plain and found.shape == DISTINCT:
            return self._other_arrays(found.dialect.arrays)
        return f"{self.name} is right where it is called in another way: {found.words(self.arrays)}"

    def _other_arrays(self, kind: str) -> str:
        return (
            f"{self.name} computes with arrays of {kind}, and was called with those of {self.arrays}: "
            f'add arrays="{kind}" (--arrays {kind})'
        )

    def _outcomes(self, kind: str) -> Sequence[Outcome]:
        if kind == self.arrays:
            return self.outcomes
        return [self.caller.call(self.function, kind, shape) for shape in SHAPES]

    def _require_repeatable(self, by_kind: Mapping[str, Sequence[Outcome]]) -> None:
        """Reject a function that returns other numbers for the same arrays."""
        for kind, outcomes in by_kind.items():
            if outcomes[0].what in (WRONG, KIND):
                again = self.caller.call(self.function, kind)
                if not _are_equal(outcomes[0].returned, again.returned):
                    raise PreflightError(random_sentence(self.function, self.name))

    def _wrapped(self, kinds: Sequence[str], *, gives_numbers: bool) -> tuple[str, str] | None:
        """Try wrappers; return a remark on a function that gives numbers, or None where no wrapper makes it right."""
        for kind in sorted(kinds, key=lambda each: each == self.arrays):
            for wrapper in wrappers(self.function, self.name, kind):
                options = {"causal": True} if wrapper.causal else {}
                try:
                    found = self._fit(wrapper.around(self.function, self.name), [kind], wrapper.shapes, **options)
                except (ImportError, SyntaxError):
                    continue
                if found is None:
                    continue
                if wrapper.causal and gives_numbers:
                    return wrapper.sentence, ""
                more = f"; and it follows another convention: {found.words(self.arrays)}"
                if found.is_plain:
                    more = f"; add --arrays {kind}" if kind != self.arrays else ""
                raise PreflightError(wrapper.sentence + more, found.toml, wrapper.code)
        return None

    def _require_three_arrays(self) -> None:
        """Reject a function that cannot take three arrays, by its signature."""
        found = conventions.signature(self.function)
        if found is None or any(each.kind is each.VAR_POSITIONAL for each in found):
            return
        positional = [each for each in found if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
        called = f"attention is called as {self.name}(query, key, value)"
        if len(positional) < 3:
            takes = ", ".join(each.name for each in found) or "nothing"
            raise PreflightError(f"{self.name} takes ({takes}), and {called}: let it take these three arrays first")
        extra = [each.name for each in found if each.default is each.empty and each.kind is not each.VAR_KEYWORD][3:]
        if extra and extra[0] != "self":
            plural = "arguments" if len(extra) > 1 else "argument"
            raise PreflightError(
                f"{self.name} requires the {plural} {', '.join(extra)}, and {called}: give "
                f"{'them' if len(extra) > 1 else 'it'} a default with which it computes softmax(q k^T / sqrt(d)) v"
            )

    def _refuse(self, by_kind: Mapping[str, Sequence[Outcome]]) -> None:
        """Reject a function none of whose plain calls gives an array of the right shape, where the reason is plain."""
        kind = next((each for each, found in by_kind.items() if found[0].what in (WRONG, SHAPE, KIND)), [*by_kind][-1])
        outcomes = by_kind[kind]
        if kind != self.arrays and any(each.what == WRONG for each in outcomes):
            raise PreflightError(self._other_arrays(kind))
        first, found = outcomes[0], {each.what for each in outcomes}
        with_arrays = "" if kind == self.arrays else f"; add --arrays {kind} too"
        if first.what == ERROR and (sentence := device_sentence(self.name, first.text)):
            raise PreflightError(sentence + with_arrays)
        if found == {KIND}:
            what = "add the `return`" if first.text == "None" else "return the output alone"
            raise PreflightError(f"{self.name} returns {first.text} instead of an array of {kind}: {what}{with_arrays}")
        if found == {SHAPE}:
            b, h, q, k, d = DISTINCT.batch, DISTINCT.heads, DISTINCT.queries, DISTINCT.keys, DISTINCT.size
            raise PreflightError(
                f"{self.name} returns the shape {first.text} instead of {first.expected} for a query ({b}, {h}, {q}, "
                f"{d}) and keys ({b}, {h}, {k}, {d}): return (batch, heads, queries, value size){with_arrays}"
            )
        if found == {ERROR} and kind != self.arrays:
            raise PreflightError(
                f"{self.name} mentions {kind}, and raises an error for arrays of {self.arrays} and of {kind} alike: "
                f"let it take (batch, heads, length, size), and add --arrays {kind} ({first.text})"
            )


def _are_equal(one: Any, other: Any) -> bool:
    """Return whether two results are the same, as far as they are arrays; tuples by their first item."""
    one, other = (each[0] if isinstance(each, (tuple, list)) and len(each) else each for each in (one, other))
    if not hasattr(one, "shape") or not hasattr(other, "shape"):
        return True
    from attention_ref.conformance.frameworks import values_of

    return np.array_equal(values_of(one), values_of(other), equal_nan=True)
