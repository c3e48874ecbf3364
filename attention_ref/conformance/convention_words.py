"""Describe in words how a dialect differs from the specification's convention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from attention_ref.conformance.dialects.dialect import TENSORS, Dialect

_WORDS: Mapping[str, str] = {
    "layout": "its arrays have the axes ({found}) instead of ({plain})",
    "default_scale": "its default scale is {found} instead of {plain}",
    "mask_true": "True in its mask {found} a key instead of letting it attend",
    "mask_layout": "its mask has the axes ({found})",
    "mask_rank": "its mask has {found} axes",
    "key_lengths": "its padding is a mask (batch, keys) that is True for {found}",
    "causal_alignment": "its causal mask begins {found}, without an offset",
}
"""Sentences by the field of the dialect."""
_MASKS = {
    "added": "its mask is numbers that are added to the scores",
    "numbers": "its mask is 1 and 0, not True and False",
}


def differences(found: Dialect, arrays: str = "") -> str:
    """Describe how a dialect differs from the specification's convention.

    Arguments:
        found: the dialect.
        arrays: the kind of arrays that was expected; not compared when empty.
    """
    return "; ".join(_each(found, arrays))


def _each(found: Dialect, arrays: str) -> Iterator[str]:
    plain = Dialect()
    if arrays and found.arrays != arrays:
        yield f"with arrays of {found.arrays} instead of {arrays}"
    for each in fields(Dialect):
        ours, its = getattr(plain, each.name), getattr(found, each.name)
        if each.name in _WORDS and ours != its:
            yield _WORDS[each.name].format(found=its, plain=ours)
    if words := [found.arguments[name] for name in TENSORS if name in found.arguments]:
        yield f"its arrays are passed by name, as {', '.join(words)}"
    for name, word in found.arguments.items():
        if name not in TENSORS and word != name:
            yield f"its name for {name} is {word}"
    if found.mask_kind in _MASKS:
        yield _MASKS[found.mask_kind]
    if found.constants:
        yield f"it requires {', '.join(f'{name}={value}' for name, value in found.constants.items())}"
    if found.returns:
        yield f"it returns a tuple ({', '.join(found.returns)})"
