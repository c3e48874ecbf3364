"""Masks: boolean, True where a query may attend to a key.

A key is visible when every rule allows it: `mask` and `causal` and `window` and `key_lengths` and `bias > -inf`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attention_ref.spec.arrays import Array, as_array, broadcast_index, indices
from attention_ref.spec.attention_checks import check_key_lengths
from attention_ref.spec.checks import checked
from attention_ref.spec.numbers import Number
from attention_ref.spec.shapes import Described

Offsets = int | Sequence[int] | Array
Window = tuple[int | None, int | None]


def causal_mask(query_length: int, key_length: int, *, query_offset: Offsets = 0) -> Array:
    """Return the causal mask: query `i` sees key `j` iff `j <= i + query_offset`.

    Arguments:
        query_length: q.
        key_length: k.
        query_offset: the position of the first query among the keys, an integer or one for each batch row `(b,)`. With
            a cache of p earlier keys it is p; `k - q` aligns the last query with the last key.

    Returns:
        Boolean `(q,k)`, or `(b,1,q,k)` with one offset for each batch row.

    Raises:
        SpecificationError: for an offset outside -2^63 to 2^63 - 1.

    How others differ: PyTorch, JAX and Keras align at the top left, which is offset 0, also when q and k differ;
    FlashAttention from 2.1 and x-transformers align at the bottom right; ONNX takes the length of the cache.

    Example:
        >>> causal_mask(2, 3, query_offset=1).values
        [True, True, False, True, True, True]
    """
    lengths = {"query_length": query_length, "key_length": key_length}
    (query_offset,) = checked("causal_mask", **lengths, query_offset=query_offset)
    return _by_position(query_length, key_length, query_offset, lambda distance: distance <= 0)


def window_mask(query_length: int, key_length: int, window: Window, *, query_offset: Offsets = 0) -> Array:
    """Return the mask of a sliding window: query `i` sees key `j` iff `-left <= j - (i + query_offset) <= right`.

    Arguments:
        query_length: q.
        key_length: k.
        window: `(left, right)`, how many keys a query sees before and after its own position, in addition to the key at
            that position; None in place of a distance is no limit.
        query_offset: as in `causal_mask`.

    Returns:
        Boolean `(q,k)`, or `(b,1,q,k)` with one offset for each batch row.

    Raises:
        SpecificationError: for an offset outside -2^63 to 2^63 - 1, and for a window that is not two distances from 0
            to 2^63 - 1, each of which may be None.

    How others differ: FlashAttention, JAX and ONNX count the same way. A "sliding window of W" in Keras and in
    transformers' causal models counts the query's own position and is `(W - 1, 0)` here.

    Example:
        >>> window_mask(3, 3, (1, 0)).values
        [True, False, False, True, True, False, False, True, True]
    """
    lengths = {"query_length": query_length, "key_length": key_length}
    (query_offset,) = checked("window_mask", **lengths, window=window, query_offset=query_offset)
    left, right = window
    return _by_position(
        query_length,
        key_length,
        query_offset,
        lambda distance: (left is None or distance >= -left) and (right is None or distance <= right),
    )


def length_mask(key_lengths: Sequence[int] | Array, key_length: int) -> Array:
    """Return the padding mask: every query of a batch row sees key `j` iff `j < key_lengths`.

    Arguments:
        key_lengths: how many keys of each batch row are not padding, integers `(b,)` from 0 to k.
        key_length: k.

    Returns:
        Boolean `(b,1,1,k)`.

    Raises:
        SpecificationError: for lengths that are not integers from 0 to k.

    Example:
        >>> length_mask(as_array([2]), 3).values
        [True, True, False]
    """
    (lengths,) = checked("length_mask", key_lengths=key_lengths, key_length=key_length)
    described = Described(lengths.shape, "int64" if lengths.dtype == "integer" else lengths.dtype)
    check_key_lengths("length_mask", described, lengths.values, key_length)
    values = [position < length for length in lengths.values for position in range(key_length)]
    return Array((*lengths.shape, 1, 1, key_length), values, "bool")


def visible_keys(
    shape: Sequence[int],
    *,
    mask: Array | None = None,
    bias: Array | None = None,
    causal: bool = False,
    query_offset: Offsets = 0,
    window: Window | None = None,
    key_lengths: Sequence[int] | Array | None = None,
) -> Array:
    """Return which keys each query may attend to: the conjunction of all rules.

    Arguments:
        shape: `(b,h,q,k)`; any number of leading batch axes.
        mask: boolean, broadcasts to `shape`; True where a query may attend.
        bias: broadcasts to `shape`; a key whose bias is -inf is hidden.
        causal, query_offset: see `causal_mask`.
        window: see `window_mask`.
        key_lengths: see `length_mask`.

    Returns:
        Boolean `(b,h,q,k)`.

    Raises:
        SpecificationError: for an offset, a window or lengths that their rule refuses.

    Example:
        >>> visible_keys((1, 1, 2, 3), causal=True, key_lengths=as_array([2])).values
        [True, False, False, True, True, False]
    """
    query_length, key_length = shape[-2:]
    rules = [mask] if mask is not None else []
    if bias is not None:
        rules.append(Array(bias.shape, [not is_excluded(number) for number in bias.values], "bool"))
    if causal:
        rules.append(causal_mask(query_length, key_length, query_offset=query_offset))
    if window is not None:
        rules.append(window_mask(query_length, key_length, window, query_offset=query_offset))
    if key_lengths is not None:
        rules.append(length_mask(key_lengths, key_length))
    values = [all(rule[broadcast_index(index, rule.shape)] for rule in rules) for index in indices(shape)]
    return Array(shape, values, "bool")


def is_excluded(bias: Number) -> bool:
    """Return whether a bias hides its key: only -inf does, not a large negative number."""
    return bool(bias == float("-inf"))


def _by_position(query_length: int, key_length: int, query_offset: Offsets, is_visible: Callable[[int], bool]) -> Array:
    offsets = as_array(query_offset)
    values = [
        is_visible(j - (i + offset))
        for offset in offsets.values
        for i in range(query_length)
        for j in range(key_length)
    ]
    leading = (*offsets.shape, 1) if offsets.shape else ()
    return Array((*leading, query_length, key_length), values, "bool")
