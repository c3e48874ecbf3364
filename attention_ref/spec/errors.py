"""The one place where errors are worded: operation, rule broken, what was received, all shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn


class SpecificationError(ValueError):
    """An input that the specification does not define.

    The message is the same in every backend:

        attention: query and key must have the same head size d.
          received 8 and 4
          query (2, 4, 3, 8), key (2, 4, 5, 4), value (2, 4, 5, 8)
    """


class FileError(SpecificationError):
    """A file with invalid content.

    The message ends with its path:

        weights.load: the file's metadata must have attention_ref.config.
          received no metadata
          file model.safetensors
    """


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Raise every `SpecificationError` of the block as a `FileError` about the file at `path`."""
    try:
        yield
    except SpecificationError as error:
        raise FileError(f"{error}\n  file {path}") from error


def reject(
    operation: str,
    rule: str,
    received: object,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
) -> NoReturn:
    """Raise `SpecificationError` for `operation`.

    Arguments:
        operation: the public name of what was called, such as `attention`.
        rule: the rule that the input breaks, as a sentence without its full stop.
        received: what was given instead.
        shapes: the shape of every array of the call by argument name; an unknown size is None.
    """
    lines = [f"{operation}: {rule}.", f"  received {received}"]
    if shapes:
        lines.append("  " + ", ".join(f"{name} {shape_text(shape)}" for name, shape in shapes.items()))
    raise SpecificationError("\n".join(lines))


def shape_text(shape: Sequence[int | None]) -> str:
    """Write a shape as Python does, an unknown size as `?`."""
    sizes = ["?" if size is None else str(size) for size in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def received_text(value: object) -> str:
    """Format a received value; a long integer as its number of digits."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {int(value.bit_length() * math.log10(2)) + 1} digits"
    return repr(value)


def shape_letters(letters: str) -> str:
    """Write axes as Python writes a shape."""
    return f"({letters},)" if len(letters) == 1 else f"({', '.join(letters)})"
