"""Arrays with an axis for each of batch, heads, length and size, in any order, merged or not."""

from __future__ import annotations

from typing import Any

from attention_ref.conformance.dialects import axes
from attention_ref.conformance.dialects.dialect import TENSORS, Dialect
from attention_ref.conformance.dialects.option_rules import Sizes
from attention_ref.conformance.dialects.stored_call import Call, StoredCall, require_alignment
from attention_ref.conformance.errors import SubjectError


def dense(call: Call) -> StoredCall:
    """Permute and merge axes by `layout`."""
    require_alignment(call, call.sizes.keys)
    layout = axes.parse(call.dialect.layout)
    tensors = {name: axes.arrange(getattr(call, name), layout, axes.TENSOR) for name in TENSORS}
    return StoredCall(tensors, call.options, call.sizes, lambda name, array: restored(call, name, array))


def restored(call: Call, name: str, array: Any) -> Any:
    """Return a dense result in the specification's order of axes.

    Raises:
        SubjectError: for a wrong shape.
    """
    text, names = {
        "output": (output_layout(call.dialect), axes.TENSOR),
        "weights": (call.dialect.weights_layout, axes.SCORES),
        "log_sum_exp": (call.dialect.log_sum_exp_layout, axes.ROWS),
    }[name]
    phrase, behind = axes.parse(text), call.sizes.behind(names)
    require_shape(name, array, axes.shape_in(phrase, behind), text)
    return axes.restore(array, phrase, names, behind)


def require_shape(name: str, array: Any, shape: tuple[int, ...], layout: str) -> None:
    """Raise `SubjectError` for a result of another shape."""
    if tuple(array.shape) != shape:
        raise SubjectError(f"{name} has the shape {tuple(array.shape)} instead of {shape} ({layout})")


def output_layout(dialect: Dialect) -> str:
    """Return the layout of the output: that of the queries, without the axis of joined tensors."""
    kept = (tuple(name for name in axis if name != "tensors") for axis in axes.parse(dialect.layout))
    return dialect.output_layout or " ".join("*".join(axis) for axis in kept if axis)


def sizes_with(call: Call, keys: int) -> Sizes:
    """Return the sizes of a call with another number of keys."""
    sizes = call.sizes
    return Sizes(sizes.batch, sizes.heads, sizes.groups, sizes.queries, keys, sizes.size, sizes.value_size)
