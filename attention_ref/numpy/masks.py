"""Masks: boolean, True where a query may attend to a key.

A key is visible when every rule allows it: `mask` and `causal` and `window` and `key_lengths` and `bias > -inf`.
See `attention_ref.spec.masks` for how other libraries differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attention_ref.numpy._arrays import Array, check_rules, checked, describe, values
from attention_ref.numpy._band import band, inside
from attention_ref.numpy._visibility import conjunction, within_lengths
from attention_ref.spec.attention_checks import check_key_lengths
from attention_ref.spec.masks import Window


def causal_mask(query_length: int, key_length: int, *, query_offset: Any = 0) -> Array:
    """Return the causal mask: query `i` sees key `j` iff `j <= i + query_offset`.

    Arguments:
        query_length: q.
        key_length: k.
        query_offset: the position of the first query among the keys, an integer or one for each batch row `(b,)`.
            With a cache of p earlier keys it is p; `k - q` aligns the last query with the last key.

    Returns:
        Boolean `(q,k)`, or `(b,1,q,k)` with one offset for each batch row.

    Raises:
        SpecificationError: for an offset outside -2^63 to 2^63 - 1.

    Example:
        >>> causal_mask(2, 3, query_offset=1).tolist()
        [[True, True, False], [True, True, True]]
    """
    lengths = {"query_length": query_length, "key_length": key_length}
    (query_offset,) = checked("causal_mask", **lengths, query_offset=query_offset)
    return inside(band(True, query_offset, None), query_length, key_length)


def window_mask(query_length: int, key_length: int, window: Window, *, query_offset: Any = 0) -> Array:
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

    Example:
        >>> window_mask(3, 3, (1, 0)).tolist()
        [[True, False, False], [True, True, False], [False, True, True]]
    """
    lengths = {"query_length": query_length, "key_length": key_length}
    (query_offset,) = checked("window_mask", **lengths, window=window, query_offset=query_offset)
    return inside(band(False, query_offset, window), query_length, key_length)


def length_mask(key_lengths: Any, key_length: int) -> Array:
    """Return the padding mask: every query of a batch row sees key `j` iff `j < key_lengths`.

    Arguments:
        key_lengths: how many keys of each batch row are not padding, integers `(b,)` from 0 to k.
        key_length: k.

    Returns:
        Boolean `(b,1,1,k)`.

    Raises:
        SpecificationError: for lengths that are not integers from 0 to k.

    Example:
        >>> length_mask(np.array([2]), 3).tolist()
        [[[[True, True, False]]]]
    """
    (key_lengths,) = checked("length_mask", key_lengths=key_lengths, key_length=key_length)
    check_key_lengths("length_mask", describe(key_lengths), values(key_lengths), key_length)
    return within_lengths(key_lengths, key_length)


def visible_keys(
    shape: Sequence[int],
    *,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    query_offset: Any = 0,
    window: Window | None = None,
    key_lengths: Any = None,
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
        >>> visible_keys((1, 1, 2, 3), causal=True, key_lengths=np.array([2])).tolist()
        [[[[True, False, False], [True, True, False]]]]
    """
    arrays = {"mask": mask, "bias": bias, "query_offset": query_offset, "key_lengths": key_lengths}
    options = {"causal": causal, "window": window}
    arrays = check_rules(shape, arrays, options)
    return conjunction(shape, **arrays, **options)
