"""Wrong kernels: a right one with one mistake in it, as kernel authors make them.

A mistake is a passage of the right kernel and what stands there instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.wrong_kernels import backward, right


class Mistake(NamedTuple):
    """A mistake in a kernel.

    `needed` is a regular expression for the options of the smallest call that shows it. In the dtypes of `hidden` it is
    smaller than the rounding that nobody can avoid: float16 has three bits more than bfloat16.
    """

    kernel: Callable[..., Any]
    passage: str
    instead: str
    needed: str = "plain"
    hidden: tuple[str, ...] = ()

    def planted(self) -> Callable[..., Any]:
        """Return the kernel with the mistake."""
        source = inspect.getsource(self.kernel)
        assert source.count(self.passage) == 1, self.passage
        names = dict(vars(inspect.getmodule(self.kernel)))
        exec(compile(source.replace(self.passage, self.instead), self.kernel.__name__, "exec"), names)
        return names[self.kernel.__name__]


IN_BFLOAT16 = ("bfloat16",)
_ONLINE = {
    "the partial last tile is dropped": ("range(first, last, KEYS)", "range(first, max(last // KEYS, 1) * KEYS, KEYS)"),
    "a last tile of one key is dropped": ("range(first, last, KEYS)", "range(first, max(last - 1, 1), KEYS)"),
    "the sum of the weights is not rescaled": ("total = total * rescale + ", "total = total + "),
    "the sum of the values is not rescaled": ("summed = summed * rescale[:, None] + ", "summed = summed + "),
    "the rescaling forgets the old maximum": ("np.exp(m - shift)", "np.exp(s.max(axis=1) - shift)"),
    "the maximum is that of the last tile": ("np.maximum(m, s.max(axis=1))", "s.max(axis=1)", ".*"),
    "there is no maximum": ("new = np.maximum(m, s.max(axis=1))", "new = np.zeros(len(rows), dtype)", ".*"),
    "a tile without visible keys gives NaN": ("np.where(np.isinf(new), 0, new).astype(dtype)", "new", "window|causal"),
    "the tiles of the diagonal are skipped early": ("min(length, rows[-1] + 1)", "min(length, rows[0] + 1)", "causal"),
    "the diagonal is masked in its last tile only": ("high > rows[0]", "high > rows[-1]", "causal"),
    "the diagonal itself is hidden": (
        "columns <= rows[:, None], s",
        "columns < np.maximum(rows[:, None], 1), s",
        "causal",
    ),
    "the offset is ignored after the first tile": (
        "queries)) + offset",
        "queries)) + (offset if start == 0 else 0)",
        "offset",
    ),
    "the offset of the first row is that of all": ("int(offsets[b])", "int(offsets[0])", r"offset=\d+\+"),
    "the window begins at the next tile": ("- left) // KEYS * KEYS", "- left + KEYS // 2) // KEYS * KEYS", "window"),
    "the window has one key less": ("columns <= left", "columns < max(left, 1)", "window"),
    "the window is that of the first row of a tile": (
        "rows[:, None] - columns <= left",
        "rows[0] - columns <= left",
        "window",
    ),
    "the window has no right side": ("if right is not None:", "if right is not None and low == first:", "window"),
    "key lengths are rounded up to tiles": ("min(low + KEYS, length)", "min(low + KEYS, keys)", "lengths"),
    "the first key length is that of all": ("int(lengths[b])", "int(lengths[0])", r"lengths=\d+\+"),
    "heads read every other key head": ("h // (heads // groups)", "h % groups"),
    "heads after the first group read the last key head": ("h // (heads // groups)", "min(h, groups - 1)"),
    "the last rows are not written": ("range(0, queries, ROWS)", "range(0, max(queries // ROWS, 1) * ROWS, ROWS)"),
    "sums are added up in float16": (
        "p @ value[b, g, low:high].astype(dtype)",
        "(p @ value[b, g, low:high]).astype(np.float16)",
        "plain",
        IN_BFLOAT16,
    ),
    "the scale is that of a padded head size": ("1 / math.sqrt(size)", "1 / math.sqrt(-(-size // 32) * 32)"),
    "the scale is off by one part in ten thousand": (
        "1 / math.sqrt(size)",
        "1.0001 / math.sqrt(size)",
        "plain|sinks",
        IN_BFLOAT16,
    ),
    "columns of the values after the head size are not written": (
        "summed / total[:, None]",
        "np.where(np.arange(value.shape[-1]) < size, summed / total[:, None], 0)",
    ),
    "the sink is counted in the maximum only": ("np.ones(len(rows), dtype)", "np.zeros(len(rows), dtype)", "sinks"),
    "the sink is that of the key head": ("sinks[h]", "sinks[g]", "sinks"),
    "the softcap is not multiplied back": ("softcap * np.tanh", "np.tanh", "softcap"),
    "one key of the second tile is dropped": (
        "new = np.maximum",
        "s[:, 0] = -np.inf if low == KEYS and high - low > 1 else s[:, 0]; new = np.maximum",
    ),
}
_SPLIT = {
    "parts are averaged": ("shares = np.exp(np.array(lses) - np.max(lses, axis=0))", "shares = np.ones_like(lses)"),
    "parts are combined by their maximum": ("lses.append(m + np.log(total))", "lses.append(m)"),
    "the last part is dropped": ("range(0, length, PART)", "range(0, max(length // PART, 1) * PART, PART)"),
    "a part without visible keys counts": (
        "lses.append(m + np.log(total))",
        "lses.append(m + np.log(total + 1e-6))",
        "causal",
    ),
    "parts are combined in float16": ("np.array(outputs)", "np.array(outputs, np.float16)", "plain", IN_BFLOAT16),
}
_TWO_PASS = {
    "the log-sum-exp lacks the maximum": ("lse = m + np.log(total)", "lse = np.log(total)", "log_sum_exp"),
    "the log-sum-exp is of base two": ("lse = m + np.log(total)", "lse = m + np.log2(total)", "log_sum_exp"),
    "the sum is that of the last tile": ("total += np.exp", "total = np.exp"),
    "the maximum is that before a negative scale": (
        "m = np.maximum(m, scores(low).max(axis=-1, keepdims=True))",
        "m = np.maximum(m, np.max(scores(low) / scale, axis=-1, keepdims=True) * scale)",
        "scale=-",
    ),
    "the bias is scaled": ("hidden[..., low : low + KEYS]", "scale * hidden[..., low : low + KEYS]", "bias"),
    "masked scores are -30": ("hidden, -np.inf)", "hidden, -30.0)", "mask"),
}

MISTAKES = {
    name: Mistake(kernel, *change)
    for kernel, mistakes in ((right.online, _ONLINE), (right.split_keys, _SPLIT), (right.two_pass, _TWO_PASS))
    for name, change in mistakes.items()
}

_RECOMPUTING = {
    "the gradient of keys is that of the last head of a group": ("dk[b, g, low:high] += ", "dk[b, g, low:high] = "),
    "the gradient of values is added up in the wrong group": (
        "dv[b, g, low:high] +=",
        "dv[b, h % groups, low:high] +=",
    ),
    "the gradient of queries lacks the scale": ("low:high].astype(dtype) * scale\n", "low:high].astype(dtype)\n"),
    "the gradient of keys lacks the scale": ("dS.T @ q * scale", "dS.T @ q"),
    "the gradient of queries is that of the last tile": ("dq[b, h, place] += dS", "dq[b, h, place] = dS"),
    "the gradient of values lacks the partial last tile": (
        "dv[b, g, low:high] += P.T @ go",
        "dv[b, g, low:high] += P.T @ go * (high - low == KEYS or low == 0)",
    ),
    "the gradient of keys lacks the partial last tile of queries": (
        "dk[b, g, low:high] += dS.T",
        "dk[b, g, low:high] += (len(place) == ROWS or start == 0) * dS.T",
    ),
    "the softcap has no derivative": ("(dP - D) * slope", "(dP - D)", "softcap"),
    "the derivative of the softcap is that of its square": ("1 - bounded**2", "1 - bounded", "softcap"),
    "the log-sum-exp is of base two": ("m + np.log(total)", "m + np.log2(total)"),
    "the log-sum-exp lacks the sink": ("+ np.exp(sink - m)\n", "+ 0 * np.exp(sink - m)\n", "sinks"),
    "the log-sum-exp is stored in half precision": ("m + np.log(total)", "(m + np.log(total)).astype(np.float16)"),
    "the mean is left out": ("(dP - D)", "dP"),
    "the mean is that of the first tile": (
        "go * output.astype(query.dtype).astype(dtype)",
        "go * (np.exp(scores(*tiles[0])[0] - lse) @ v[: tiles[0][1]])",
    ),
    "the causal tile of the diagonal is skipped": (
        "for low, high in tiles:\n",
        "for low, high in tiles[: max(len(tiles) - causal, 1)]:\n",
        "causal",
    ),
    "the offset is ignored where keys are skipped": (
        "for low, high in tiles:\n",
        "for low, high in tiles[: max(1, -(-(int(place[-1]) + 1) // KEYS))] if causal else tiles:\n",
        "causal.*offset",
    ),
    "scores are added up in half precision": (
        "(dP - D) * slope",
        "((dP - D) * slope).astype(np.float16)",
        "plain",
        IN_BFLOAT16,
    ),
    "the gradient of the sink has the opposite sign": ("dsink[h] -=", "dsink[h] +=", "sinks"),
    "the gradient of the sink is that of the last batch row": ("dsink[h] -= ", "dsink[h] = -", "sinks"),
}
_WHOLE = {
    "the gradient of a repeated bias is that of the first row": (
        "dS.sum(axis=repeated, keepdims=True)",
        "dS[tuple(slice(1) if axis in repeated else slice(None) for axis in range(4))]",
        "bias",
    ),
    "the gradient of the bias is scaled": ("dS.sum(axis=repeated", "(factor * dS).sum(axis=repeated", "bias"),
    "masked keys have a gradient": ("np.where(mask, s, -np.inf)", "np.where(mask, s, -10.0)", "mask"),
    "the gradient of keys is the mean over a group": (
        "grouped(factor * (dS.swapaxes(-1, -2) @ q))",
        "grouped(factor * (dS.swapaxes(-1, -2) @ q)) * groups / heads",
    ),
}

BACKWARD_MISTAKES = {
    name: Mistake(kernel, *change)
    for kernel, mistakes in ((backward.recomputing, _RECOMPUTING), (backward.whole, _WHOLE))
    for name, change in mistakes.items()
}
"""Mistakes in backward passes."""
