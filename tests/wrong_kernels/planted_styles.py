"""Mistakes in the kernels of `styles.py`."""

from __future__ import annotations

from tests.wrong_kernels import styles
from tests.wrong_kernels.planted import IN_BFLOAT16, Mistake

_PAGED = {
    "the last page is left out unless it is full": (
        "used = -(-length // PAGE)\n",
        "used = max(length // PAGE, 1); length = min(length, used * PAGE)\n",
    ),
    "the length is rounded up to pages": ("[:, :length]", ""),
    "the table of pages is that of the first row": ("table[b, :used]", "table[0, :used]"),
    "the table of pages has 16 entries": ("table[b, :used]", "table[b, np.arange(used) % 16]"),
}
_PACKED = {
    "a row begins one key late": ("start = end - length\n", "start = min(end - length + (b > 0), end - 1)\n"),
    "the longest row is that of all": (
        "start = end - length\n",
        "start = end - length; end = min(start + max(lengths), ends[-1])\n",
        r"lengths=\d+\+",
    ),
    "a row has the first key of the next": ("start = end - length\n", "start = end - length; end = end + 1\n"),
    "places count through the batch": ("+ offsets[b]", "+ offsets[b] + b * queries", "causal"),
}
_COMBINED = {
    "parts are counted by whole ones": ("range(0, keys, SPLIT)", "range(0, max(keys // SPLIT, 1) * SPLIT, SPLIT)"),
    "parts overlap by a key": ("high = min(low + SPLIT, keys)", "high = min(low + SPLIT, keys); low = max(low - 1, 0)"),
    "an empty part has the log-sum-exp 0": ("m + np.log(total), -np.inf)", "m + np.log(total), 0)", "lengths"),
    "the log-sum-exp of parts is in half precision": ("np.array(lses) -", "np.array(lses, np.float16) -"),
    "the last part takes part twice": (
        "np.array(lses) -",
        "np.array(lses) + (np.arange(len(lses)) == 1)[:, None, None, None, None] -",
    ),
    "parts have equal shares": ("np.array(lses) - np.max(lses, axis=0)", "0 * np.array(lses)"),
}
_WHOLE = {
    "groups are interleaved": (
        "q, k, v = grouped(query, key, value)",
        "q, k, v = query, *(np.tile(each, (1, heads // each.shape[1], 1, 1)) for each in (key, value))",
    ),
    "heads after the fourth read the first": ("q @ k.", "q @ k[:, np.arange(heads) * (np.arange(heads) < 4)]."),
    "scores read 64 channels": ("q @ k.", "q[..., :64] @ k[..., :64]."),
    "queries are rounded to half precision": (
        "q @ k.",
        "q.astype(np.float16).astype(np.float32) @ k.",
        "plain",
        IN_BFLOAT16,
    ),
    "the scale is in half precision": ("np.float32(1 / math", "np.float16(1 / math", "plain", IN_BFLOAT16),
    "the bias is scaled with the scores": (
        "scores + bias.astype(np.float32)",
        "scores + bias * 0.999",
        "bias",
        IN_BFLOAT16,
    ),
    "the offset is rounded down to tiles": (
        "np.broadcast_to(query_offset, batch)",
        "(np.broadcast_to(query_offset, batch) // TILE * TILE)",
        "offset",
    ),
    "causal rows see to the end of their tile": ("columns <= places", "columns // TILE <= places // TILE", "causal"),
    "the window has one key less on the left": (
        "places - columns <= left",
        "places - columns < max(left, 1)",
        "window",
    ),
    "the right edge of the window is that of a tile": (
        "columns - places <= right",
        "columns - places // TILE * TILE <= right",
        "window",
    ),
    "one key of the padding is seen": ("columns < lengths", "columns <= lengths", "lengths"),
    "the mask is that of the first batch row": (
        "np.broadcast_to(mask, scores.shape)",
        "np.broadcast_to(mask, scores.shape)[:1]",
        "mask",
    ),
    "the mask is that of the first head": (
        "np.broadcast_to(mask, scores.shape)",
        "np.broadcast_to(mask, scores.shape)[:, :1]",
        "mask",
    ),
    "hidden scores are -100": ("np.float32(-np.inf)", "np.float32(-100)", ".*"),
    "the maximum begins at 0": (
        "scores.max(axis=-1, keepdims=True)",
        "scores.max(axis=-1, keepdims=True, initial=0)",
        ".*",
    ),
    "the exponential has an error of 1e-4": (
        "weights = np.exp(scores -",
        "weights = np.exp2(1.4428 * scores - 1.4428 *",
        "plain",
        IN_BFLOAT16,
    ),
    "small weights are skipped": (
        "weights = weights / weights.sum",
        "weights = np.where(weights < 1e-3, 0, weights) / weights.sum",
    ),
    "weights are rounded and their sum is not": (
        "weights = weights / weights.sum",
        "weights = weights.astype(np.float16) / weights.sum",
        "plain",
        IN_BFLOAT16,
    ),
    "only 128 keys are kept": (
        "weights = weights / weights.sum",
        "weights = np.where(np.argsort(np.argsort(-weights)) < 128, weights, 0) / weights.sum",
    ),
    "dropout multiplies": ("weights / np.float32(1 - dropout)", "weights * np.float32(1 - dropout)", "dropout"),
    "the last columns of odd value sizes are zero": (
        "np.isfinite(v)",
        "np.isfinite(v) & (np.arange(v.shape[-1]) < max(v.shape[-1] // 32 * 32, 16))",
    ),
    "rows after the 256th are those of the first": ("q @ k.", "q[:, :, np.arange(queries) % 256] @ k."),
}
_OF_TWO_OPTIONS = {
    "the bias is that of the first batch row": (
        "scores + bias.astype(np.float32)",
        "scores + np.broadcast_to(bias, scores.shape)[:1].astype(np.float32)",
        "bias",
    ),
    "the dropout mask is that of the first batch row": (
        "np.where(dropout_mask,",
        "np.where(dropout_mask[:1],",
        "dropout",
    ),
    "the mask is left out beside a window": (
        "seen if mask is None else",
        "seen if mask is None or window else",
        "window.*mask",
    ),
    "the bias is left out beside lengths": (
        "scores if bias is None else",
        "scores if bias is None or key_lengths is not None else",
        "lengths.*bias",
    ),
    "causal scores have no softcap": (
        "scores if softcap is None else",
        "scores if softcap is None or causal else",
        "causal",
    ),
    "rows of the batch after the second read the second": ("q @ k.", "q @ k[np.minimum(np.arange(batch), 1)]."),
    "heads after the eighth read the first": ("q @ k.", "q @ k[:, np.arange(heads) * (np.arange(heads) < 8)]."),
}
_BUFFERED = {
    "scores after the last key are those before": (
        "s = tile[..., : high - low]",
        "s = tile[..., : TILE if low else high]",
    ),
    "small changes of the maximum are not rescaled in the sum": (
        "total = total * rescale",
        "total = total * np.where(new - m < 1, 1, rescale)",
    ),
    "sums are kept in bfloat16": (
        "m = new\n",
        "m, summed = new, (summed.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)\n",
    ),
    "a causal kernel ends with the first tile": (
        "range(0, keys, TILE)",
        "range(0, TILE if causal else keys, TILE)",
        "causal",
    ),
    "tiles are counted in two bits": ("range(0, keys, TILE)", "range(0, min(keys, 4 * TILE), TILE)"),
    "values of the last tile are those before": (
        "@ v[:, :, low:high]",
        "@ v[:, :, high - 2 * (high - low) if low else 0 :][:, :, : high - low]",
    ),
}
_REMEMBERING = {
    "results are kept by the query": (", key.tobytes(), value.tobytes())", ")"),
    "results are kept by the keys": ("query.tobytes(), key.tobytes(), value.tobytes()", "key.tobytes()"),
    "results are kept by the values": ("query.tobytes(), key.tobytes(), ", ""),
    "results are kept by a part of the query": (
        "query.tobytes(), key.tobytes(), value.tobytes()",
        "query[0, 0, :1].tobytes()",
    ),
}
_IN_VECTORS = {
    "the last vector of a head is filled up with what lies in memory": ("copied[..., used:] = 0\n", "pass\n"),
    "the scale is that of whole vectors": ("1 / math.sqrt(size)", "1 / math.sqrt(q.shape[-1])"),
    "the head after its last whole vector is left out": (
        "range(0, q.shape[-1], VECTOR)",
        "range(0, max(size // VECTOR, 1) * VECTOR, VECTOR)",
    ),
    "heads smaller than a vector have no scores": ("range(0, q.shape[-1],", "range(0, q.shape[-1] * (size >= VECTOR),"),
    "the last numbers of a head are read twice": (
        "copied[..., used:] = 0\n",
        "copied[..., used:] = array[..., used - VECTOR : whole - VECTOR] if used > VECTOR else 0\n",
    ),
    "values after their last whole vector are not written": (
        "(softmax(scores) @ v)[..., :value_size]",
        "np.where(np.arange(value_size) < max(value_size // 8 * 8, 1), (softmax(scores) @ v)[..., :value_size], 0)",
    ),
    "rows lie as far apart as whole vectors": (
        "copied[..., :used] = array\n",
        "copied[..., :used] = np.resize(array, copied.shape)[..., :used]\n",
    ),
}

STYLE_MISTAKES = {
    name: Mistake(kernel, *change)
    for kernel, mistakes in (
        (styles.paged, _PAGED),
        (styles.packed, _PACKED),
        (styles.combined, _COMBINED),
        (styles.whole, _WHOLE),
        (styles.buffered, _BUFFERED),
        (styles.remembering, _REMEMBERING),
        (styles.whole, _OF_TWO_OPTIONS),
        (styles.in_vectors, _IN_VECTORS),
    )
    for name, change in mistakes.items()
}
