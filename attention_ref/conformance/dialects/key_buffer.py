"""Keys and values in a buffer that is longer than they are, with the number of valid ones: a static cache."""

from __future__ import annotations

from typing import Any

from attention_ref.conformance.dialects import axes
from attention_ref.conformance.dialects.dense_layout import restored, sizes_with
from attention_ref.conformance.dialects.stored_call import GARBAGE, Call, StoredCall, require_alignment
from attention_ref.conformance.frameworks import framework_of


def buffered(call: Call) -> StoredCall:
    """Append unused memory to keys and values, and pass lengths, in an argument or as part of the mask.

    Places behind a row's length hold what the call has there, such as NaN; behind all keys is what is unused.
    """
    require_alignment(call, call.key_lengths)
    more, layout = 7 + call.sizes.keys // 4, axes.parse(call.dialect.layout)
    keys = {name: _extended(getattr(call, name), more, -2, GARBAGE[name]) for name in ("key", "value")}
    options = {**call.options, "key_lengths": call.integers(call.key_lengths.reshape(call.sizes.batch))}
    for name in ("mask", "bias"):
        if name in options and int(options[name].shape[-1]) == call.sizes.keys != 1:
            options[name] = _extended(options[name], more, -1, 0)  # hidden by the lengths
    return StoredCall(
        tensors={name: axes.arrange(array, layout, axes.TENSOR) for name, array in _named(call.query, keys)},
        options=options,
        sizes=sizes_with(call, call.sizes.keys + more),
        restore=lambda name, result: restored(call, name, result),
    )


def _named(query: Any, keys: dict[str, Any]) -> list[tuple[str, Any]]:
    return [("query", query), *keys.items()]


def _extended(array: Any, more: int, axis: int, value: float) -> Any:
    """Append places that hold a value along an axis."""
    framework, shape = framework_of(array), list(map(int, array.shape))
    shape[axis] = more
    beyond = framework.scalar(value, array)
    return framework.concatenate([array, framework.broadcast(beyond, shape)], axis % len(shape))
