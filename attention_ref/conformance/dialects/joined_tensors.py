"""Query, key and value in one array, as one projection computes them."""

from __future__ import annotations

from typing import Any

from attention_ref.conformance.dialects import axes
from attention_ref.conformance.dialects.dense_layout import restored
from attention_ref.conformance.dialects.stored_call import Call, StoredCall, require_alignment
from attention_ref.conformance.errors import Unsupported
from attention_ref.conformance.frameworks import framework_of


def joined(call: Call) -> StoredCall:
    """Stack query, key and value along an axis `tensors`, or append their heads where the layout has no such axis.

    Raises:
        Unsupported: if their lengths or sizes differ, or their heads do where they are stacked.
    """
    require_alignment(call, call.sizes.keys)
    sizes, phrase = call.sizes, axes.parse(call.dialect.layout)
    if sizes.queries != sizes.keys:
        raise Unsupported("as many queries as keys, which lie in one array with them")
    if sizes.size != sizes.value_size:
        raise Unsupported("values of the head size, which lie in one array with queries and keys")
    framework, rank = framework_of(call.query), len(call.query.shape)
    tensors: list[Any] = [call.query, call.key, call.value]
    is_stacked = "tensors" in axes.flat(phrase)
    if is_stacked:
        if sizes.heads != sizes.groups:
            raise Unsupported("as many key/value heads as query heads, which are stacked with them")
        tensors = [framework.reshape(each, (*sizes.batch, 1, *map(int, each.shape[-3:]))) for each in tensors]
    array = framework.concatenate(tensors, rank - 3)  # (...,3,h,l,d) or (...,h+2g,l,d)
    return StoredCall(
        tensors={"query_key_value": axes.arrange(array, phrase, axes.JOINED if is_stacked else axes.TENSOR)},
        options=call.options,
        sizes=sizes,
        restore=lambda name, result: restored(call, name, result),
    )
