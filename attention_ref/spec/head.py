"""The head: maps the output of the last stack to the result of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attention_ref.spec import primitives
from attention_ref.spec.architecture import HeadConfig
from attention_ref.spec.arrays import Array, as_array, inspect
from attention_ref.spec.embedding import scaled
from attention_ref.spec.errors import reject
from attention_ref.spec.layer_checks import check_places
from attention_ref.spec.numbers import constant, stored, tanh
from attention_ref.spec.taps import Tap, report


class Head:
    """The head: maps the output of the last stack to the result of the model; see `HeadConfig`.

        language     softcap(transform(x) * scale W + b)        at every position
        pooler       tanh(x_i W + b)                            at one position i
        classifier   softcap(transform(x_i) * scale W + b)      at one position i

    Arguments:
        config: sizes and options.
        parameters: if configured, `kernel (m,n)`, `bias (n)`, `transform.kernel (m,m)`, `transform.bias (m)`,
            `norm.gain (m)`, `norm.bias (m)`, `pooler.kernel (m,m)`, `pooler.bias (m)`; with a `transform_size` the
            kernel and the norm read vectors of that size.
        token: `(n,m)`, whose transpose is the kernel of a tied head.
    """

    def __init__(self, config: HeadConfig, parameters: Mapping[str, Array], token: Array | None = None) -> None:
        self.config = config
        self.parameters = parameters
        self.kernel: Any = _transposed(token) if config.tied and token is not None else parameters.get("kernel")

    def __call__(self, array: Array, *, lengths: Any = None, tap: Tap | None = None) -> Array:
        """Apply the head.

        Arguments:
            array: `(b,l,m)`.
            lengths: how many positions of each batch row are not padding, integers `(b,)`; all when None.
            tap: receives `output`.

        Returns:
            `(b,l,n)` for a language head, `(b,n)` otherwise.
        """
        config, parameters = self.config, self.parameters
        if config.kind != "language":
            array = _places(array, config.place, lengths)
        if config.kind == "pooler":
            pooled = primitives.linear(array, parameters["pooler.kernel"], parameters.get("pooler.bias"))
            return report(tap, "output", primitives.activate(pooled, "tanh"))
        if config.transform is not None:
            array = primitives.linear(array, parameters["transform.kernel"], parameters.get("transform.bias"))
            if config.transform != "identity":
                array = primitives.activate(array, config.transform)
            if config.norm is not None:
                array = primitives.normalize(array, config.norm, parameters, "norm")
        scores = primitives.linear(scaled(array, config.scale), self.kernel, parameters.get("bias"))
        if config.softcap is not None:
            scores = scores.map(lambda score: _capped(score, config.softcap))
        return report(tap, "output", scores)


def _capped(score: Any, softcap: Any) -> Any:
    cap = constant(softcap, score)
    return stored(cap * tanh(score / cap))


def _places(array: Array, place: str, lengths: Any) -> Array:
    """Return the vector at the first position, or at the last one that is not padding: `(b,l,m)` to `(b,m)`."""
    batch, length, model = array.shape
    check_places("Head", (batch, length), {"lengths": lengths}, inspect)
    ends = as_array(lengths).values if lengths is not None else [length] * batch
    if place == "last":
        check_last_place(ends)
    taken = [0 if place == "first" else end - 1 for end in ends]
    return Array((batch, model), [n for b in range(batch) for n in array[(b, taken[b])]], "real")


def check_last_place(lengths: Sequence[int] | None) -> None:
    """Check that every row has a position that is not padding, if the lengths can be read."""
    for length in lengths or ():
        if length < 1:
            reject(
                "Head",
                "place='last' needs at least one position in every row that is not padding",
                f"the length {length}",
            )


def _transposed(table: Array) -> Array:
    """`(n,m)` to `(m,n)`."""
    rows, columns = table.shape
    return Array((columns, rows), [table[(row, column)] for column in range(columns) for row in range(rows)], "real")
