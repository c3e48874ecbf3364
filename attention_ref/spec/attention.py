"""Attention: three score functions, one softmax-weighted sum.

    weights = softmax over the visible keys of scores + bias
    output  = weights @ value

`masks.py` defines which keys are visible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attention_ref.spec import attention_checks, masks
from attention_ref.spec.arrays import Array, Index, as_array, broadcast_index, indices
from attention_ref.spec.numbers import Number, constant, dot, sqrt, stored, tanh, total
from attention_ref.spec.primitives import log_sum_exp, softmax
from attention_ref.spec.shapes import Described, Sizes
from attention_ref.spec.taps import Tap, report

Score = Callable[[Sequence[Number], Sequence[Number]], Number]


def attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    query_offset: Any = 0,
    window: masks.Window | None = None,
    key_lengths: Any = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Any = None,
    dropout: float = 0.0,
    dropout_mask: Any = None,
    return_weights: bool = False,
    return_log_sum_exp: bool = False,
    tap: Tap | None = None,
) -> Any:
    """Scaled dot-product attention.

        s_ij = scale * sum_d query_id key_jd                    scale
        s_ij = softcap * tanh(s_ij / softcap)                   if softcap is given
        s_ij = s_ij + bias_ij                                   if bias is given
        w_ij = exp(s_ij) / (sum_l exp(s_il) + exp(sink))        over the visible keys l; 0 elsewhere
        o_i  = sum_j w_ij value_j

    Query head `i` reads key/value head `i // (h/g)`.

    Arguments:
        query: `(b,h,q,d)`; any number of leading batch axes.
        key: `(b,g,k,d)`.
        value: `(b,g,k,v)`.
        mask: boolean, broadcasts to `(b,h,q,k)`; True where a query may attend.
        bias: added to the scores, broadcasts to `(b,h,q,k)`; -inf hides a key.
        causal: query `i` sees key `j` only if `j <= i + query_offset`.
        query_offset: the position of the first query among the keys, an integer or one for each batch row `(b,)`.
        window: `(left, right)`; query `i` sees key `j` only if `-left <= j - (i + query_offset) <= right`; None in
            place of a distance is no limit.
        key_lengths: how many keys of each batch row are not padding, integers `(b,)`; padding never affects the output.
        scale: multiplies the scores, any finite number; `1/sqrt(d)` when None.
        softcap: a soft bound of the scores, above 0; no bound when None.
        sinks: `(h,)`, one logit for each head, which is added to the denominator but has no value.
        dropout: the rate with which `dropout_mask` was drawn; kept weights are divided by `1 - dropout` and not
            normalised again.
        dropout_mask: boolean, broadcasts to `(b,h,q,k)`; True where a weight is kept.
        return_weights: also return the weights `(b,h,q,k)` before dropout.
        return_log_sum_exp: also return the logarithm of each row's denominator `(b,h,q)`.
        tap: receives `scores` (-inf where a key is hidden) and `weights` (before dropout), `(b,h,q,k)`.

    Returns:
        The output `(b,h,q,v)`, or a tuple of the output and, in this order, the weights and the log-sum-exp that were
        requested. A query that sees no key has weights 0, output 0 and log-sum-exp -inf.

    Raises:
        SpecificationError: for invalid or inconsistent shapes, dtypes or options.

    Source: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.1; grouped heads: Ainslie et al. (2023);
    softcap: Gemma 2 (2024), section 2; sinks: gpt-oss (2025).

    How others differ: see `attention-ref explain` for each clause.

    Example:
        >>> query, key = as_array([[[[0.0], [0.0]]]]), as_array([[[[1.0], [2.0]]]])
        >>> value = as_array([[[[2.0], [4.0]]]])
        >>> [round(number, 3) for number in attention(query, key, value, causal=True).values]
        [2.0, 3.0]
    """
    query, key, value = as_array(query), as_array(key), as_array(value)
    options = {"causal": causal, "window": window, "dropout": dropout, "scale": scale, "softcap": softcap}
    arrays = _arrays(query, key, value, mask, bias, query_offset, key_lengths, dropout_mask, sinks=sinks)
    sizes = attention_checks.check_attention("attention", *_describe(arrays, options))

    def score(query_row: Sequence[Number], key_row: Sequence[Number]) -> Number:
        number = dot(query_row, key_row)
        if scale is None:
            number = number / sqrt(constant(sizes.head_size, number))
        else:
            number = number * constant(scale, number)
        if softcap is not None:
            cap = constant(softcap, number)
            number = cap * tanh(number / cap)
        return number

    return _attend(score, sizes, arrays, options, return_weights, return_log_sum_exp, tap)


def additive_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    score_kernel: Any,
    query_kernel: Any = None,
    key_kernel: Any = None,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    query_offset: Any = 0,
    window: masks.Window | None = None,
    key_lengths: Any = None,
    dropout: float = 0.0,
    dropout_mask: Any = None,
    return_weights: bool = False,
    return_log_sum_exp: bool = False,
    tap: Tap | None = None,
) -> Any:
    """Additive attention (Bahdanau): the score of a key is a tanh layer.

        s_ij = score_kernel . tanh(query_i query_kernel + key_j key_kernel) + bias_ij

    Arguments:
        query: `(b,h,q,d)`; any number of leading batch axes.
        key: `(b,g,k,e)`.
        value: `(b,g,k,v)`.
        score_kernel: `(a,)`, the output weights of the tanh layer.
        query_kernel: `(d,a)`; the identity when None, which needs `d` equal to `a`.
        key_kernel: `(e,a)`; the identity when None, which needs `e` equal to `a`.
        mask, bias, causal, query_offset, window, key_lengths, dropout, dropout_mask, return_weights,
            return_log_sum_exp, tap: as in `attention`.

    Returns:
        As `attention`.

    Raises:
        SpecificationError: for invalid or inconsistent shapes, dtypes or options.

    Source: Bahdanau, Cho and Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate" (2015),
    section 3.1 and appendix A.1.2.

    How others differ: `keras.layers.AdditiveAttention` has no kernels for query and key, and its `scale` is the
    `score_kernel` here.

    Example:
        >>> query, key = as_array([[[[0.0]]]]), as_array([[[[0.0], [0.0]]]])
        >>> value = as_array([[[[2.0], [4.0]]]])
        >>> [round(number, 3) for number in additive_attention(query, key, value, score_kernel=as_array([1.0])).values]
        [3.0]
    """
    query, key, value = as_array(query), as_array(key), as_array(value)
    options = {"causal": causal, "window": window, "dropout": dropout}
    kernels = {"score_kernel": score_kernel, "query_kernel": query_kernel, "key_kernel": key_kernel}
    arrays = _arrays(query, key, value, mask, bias, query_offset, key_lengths, dropout_mask, **kernels)
    sizes = attention_checks.check_additive_attention("additive_attention", *_describe(arrays, options))

    def score(query_row: Sequence[Number], key_row: Sequence[Number]) -> Number:
        left = _project(query_row, arrays["query_kernel"])  # (a)
        right = _project(key_row, arrays["key_kernel"])  # (a)
        hidden = [tanh(a + b) for a, b in zip(left, right, strict=True)]  # (a)
        return dot(hidden, arrays["score_kernel"].values)

    return _attend(score, sizes, arrays, options, return_weights, return_log_sum_exp, tap)


def multiplicative_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    score_kernel: Any = None,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    query_offset: Any = 0,
    window: masks.Window | None = None,
    key_lengths: Any = None,
    dropout: float = 0.0,
    dropout_mask: Any = None,
    return_weights: bool = False,
    return_log_sum_exp: bool = False,
    tap: Tap | None = None,
) -> Any:
    """Multiplicative attention (Luong): the score of a key is a bilinear form, without a scale.

        s_ij = query_i score_kernel key_j + bias_ij             "general"
        s_ij = query_i key_j + bias_ij                          "dot", without score_kernel

    Arguments:
        query: `(b,h,q,d)`; any number of leading batch axes.
        key: `(b,g,k,e)`.
        value: `(b,g,k,v)`.
        score_kernel: `(d,e)`; the identity when None, which needs `d` equal to `e`.
        mask, bias, causal, query_offset, window, key_lengths, dropout, dropout_mask, return_weights,
            return_log_sum_exp, tap: as in `attention`.

    Returns:
        As `attention`.

    Raises:
        SpecificationError: for invalid or inconsistent shapes, dtypes or options.

    Source: Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine Translation" (2015),
    section 3.1.

    How others differ: `keras.layers.Attention` is the "dot" form; its `use_scale` is a trained factor of the scores.

    Example:
        >>> query, key = as_array([[[[0.0]]]]), as_array([[[[1.0], [2.0]]]])
        >>> [round(number, 3) for number in multiplicative_attention(query, key, key).values]
        [1.5]
    """
    query, key, value = as_array(query), as_array(key), as_array(value)
    options = {"causal": causal, "window": window, "dropout": dropout}
    arrays = _arrays(query, key, value, mask, bias, query_offset, key_lengths, dropout_mask, score_kernel=score_kernel)
    sizes = attention_checks.check_multiplicative_attention("multiplicative_attention", *_describe(arrays, options))

    def score(query_row: Sequence[Number], key_row: Sequence[Number]) -> Number:
        return dot(_project(query_row, arrays["score_kernel"]), key_row)

    return _attend(score, sizes, arrays, options, return_weights, return_log_sum_exp, tap)


def _attend(
    score: Score,
    sizes: Sizes,
    arrays: dict[str, Any],
    options: dict[str, Any],
    return_weights: bool,
    return_log_sum_exp: bool,
    tap: Tap | None,
) -> Any:
    """For every query, score its visible keys, take the softmax and sum their values."""
    query, key, value, bias = (arrays[name] for name in ("query", "key", "value", "bias"))
    visible = masks.visible_keys(
        sizes.scores,
        mask=arrays["mask"],
        bias=bias,
        causal=options["causal"],
        query_offset=arrays["query_offset"],
        window=options["window"],
        key_lengths=arrays["key_lengths"],
    )  # (b,h,q,k)
    repeats = sizes.heads // sizes.groups
    outputs, weights, log_sums, logits = [], [], [], []
    for index in indices((*sizes.batch, sizes.heads, sizes.query_length)):
        *batch, head, _ = index
        group = (*batch, head // repeats)
        seen = [j for j in range(sizes.key_length) if visible[(*index, j)]]  # (s), the visible keys of one query

        scores = [score(query[index], key[(*group, j)]) for j in seen]  # (s)
        if bias is not None:
            scores = [s + bias[broadcast_index((*index, j), bias.shape)] for s, j in zip(scores, seen, strict=True)]
        sink = arrays["sinks"][(head,)] if arrays.get("sinks") is not None else None
        row = [stored(weight) for weight in softmax(scores, sink)]  # (s)
        kept = _dropout(row, seen, index, arrays["dropout_mask"], options["dropout"])
        for column in range(sizes.value_size):
            terms = [weight * value[(*group, j, column)] for j, weight in kept.items()]
            outputs.append(stored(total(terms)) if terms else constant(0.0, query[index][0]))
        weights += _spread(seen, row, sizes.key_length, 0.0)
        logits += _spread(seen, scores, sizes.key_length, float("-inf"))
        log_sum = log_sum_exp(scores, sink)
        log_sums.append(float("-inf") if log_sum is None else log_sum)

    report(tap, "scores", Array(sizes.scores, logits, "real"))
    report(tap, "weights", Array(sizes.scores, weights, "real"))
    results = [Array((*sizes.scores[:-1], sizes.value_size), outputs)]  # (b,h,q,v)
    if return_weights:
        results.append(Array(sizes.scores, weights))  # (b,h,q,k)
    if return_log_sum_exp:
        results.append(Array(sizes.scores[:-1], log_sums))  # (b,h,q)
    return results[0] if len(results) == 1 else tuple(results)


def _dropout(
    weights: Sequence[Number], seen: Sequence[int], index: Index, dropout_mask: Array | None, rate: float
) -> dict[int, Number]:
    """Return the weights that dropout keeps, by key position, each divided by `1 - rate`."""
    pairs = zip(seen, weights, strict=True)
    if dropout_mask is None:
        return dict(pairs)
    return {
        j: weight / constant(1 - rate, weight)
        for j, weight in pairs
        if dropout_mask[broadcast_index((*index, j), dropout_mask.shape)]
    }


def _spread(seen: Sequence[int], row: Sequence[Number], length: int, elsewhere: float) -> list[Number]:
    """Return one number for every key: those in `row` for the visible keys, `elsewhere` for the others."""
    at = dict(zip(seen, row, strict=True))
    return [at.get(j, elsewhere) for j in range(length)]


def _project(row: Sequence[Number], kernel: Array | None) -> Sequence[Number]:
    """Multiply a row by a kernel `(len(row), columns)`; return it unchanged when the kernel is None."""
    if kernel is None:
        return row
    return [dot(row, [kernel[(i, column)] for i in range(len(row))]) for column in range(kernel.shape[1])]


def _arrays(
    query: Array,
    key: Array,
    value: Array,
    mask: Any,
    bias: Any,
    query_offset: Any,
    key_lengths: Any,
    dropout_mask: Any,
    **parameters: Any,
) -> dict[str, Any]:
    given = {"mask": mask, "bias": bias, "query_offset": query_offset, "key_lengths": key_lengths}
    given |= {"dropout_mask": dropout_mask} | parameters
    optional = {name: None if array is None else as_array(array) for name, array in given.items()}
    return {"query": query, "key": key, "value": value, **optional}


def _describe(arrays: dict[str, Any], options: dict[str, Any]) -> tuple[dict[str, Described | None], dict[str, Any]]:
    names = {"integer": "int64"}
    described = {
        name: None if array is None else Described(array.shape, names.get(array.dtype, array.dtype))
        for name, array in arrays.items()
    }
    values = {name: None if arrays[name] is None else arrays[name].values for name in ("query_offset", "key_lengths")}
    return described, options | values
