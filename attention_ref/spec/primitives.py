"""The steps that layers are made of: softmax, linear maps, normalisations, activations, dropout."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from attention_ref.spec.arrays import Array, indices
from attention_ref.spec.checks import checked
from attention_ref.spec.config import Norm, NormHeads
from attention_ref.spec.numbers import (
    Number,
    constant,
    detached,
    dot,
    erf,
    exp,
    is_nan,
    log,
    maximum,
    pi,
    relu_zero,
    restored,
    sqrt,
    stored,
    tanh,
    total,
)


def softmax(scores: Sequence[Number], sink: Number | None = None) -> list[Number]:
    """Turn the scores of one row into weights.

        w_j = exp(s_j) / (sum_l exp(s_l) + exp(sink))

    Every exponent is shifted by the row's maximum, which changes no weight and lets none overflow.

    Arguments:
        scores: the scores of the visible keys, in order; there may be none.
        sink: a logit that joins the denominator and has no weight of its own (Xiao et al., "Efficient Streaming
            Language Models with Attention Sinks", 2023; learned for each head in gpt-oss).

    Returns:
        One weight for each score; NaN for all of them when a score is NaN or +inf.

    How others differ: a row without visible keys has no weights here. `jax.nn`, Flax and Keras give such a row the
    same weight everywhere, so that it returns the mean of the values, hidden ones included.

    Example:
        >>> [round(weight, 3) for weight in softmax([1.0, 2.0])]
        [0.269, 0.731]
    """
    if not scores:
        return []
    exponentials, denominator, shift = _shifted(scores, sink)
    denominator = restored(denominator, shift)
    return [numerator / denominator for numerator in exponentials]


def log_sum_exp(scores: Sequence[Number], sink: Number | None = None) -> Number | None:
    """Return the logarithm of the softmax's denominator, `log(sum_l exp(s_l) + exp(sink))`; None stands for -inf.

    A row without visible keys gives -inf, with a sink too: it attends to nothing.

    Arguments:
        scores: the scores of the visible keys.
        sink: as in `softmax`.

    Example:
        >>> round(log_sum_exp([1.0, 2.0]), 3)
        2.313
    """
    if not scores:
        return None
    _, denominator, shift = _shifted(scores, sink)
    return shift + log(denominator)


def _shifted(scores: Sequence[Number], sink: Number | None) -> tuple[list[Number], Number, Number]:
    logits = list(scores) if sink is None else [*scores, sink]
    shift = detached(maximum(logits))
    exponentials = [exp(logit - shift) for logit in logits]
    return exponentials[: len(scores)], total(exponentials), shift


def linear(array: Array, kernel: Array, bias: Array | None = None, *, inputs: int = 1) -> Array:
    """Multiply the last axes by a kernel and add a bias: `y = x kernel + bias`.

    Arguments:
        array: `(..., *contracted)`.
        kernel: `(*contracted, *outputs)`; input-first, unlike `torch.nn.Linear`, whose weight is the transpose.
        bias: `outputs`.
        inputs: how many axes are contracted.

    Returns:
        `(..., *outputs)`.
    """
    array, kernel, bias = checked("linear", array=array, kernel=kernel, bias=bias, inputs=inputs)
    contracted, outputs = kernel.shape[:inputs], kernel.shape[inputs:]
    leading = array.shape[: len(array.shape) - inputs]
    size, width = math.prod(contracted), math.prod(outputs)
    columns = [kernel.values[column::width] for column in range(width)]
    values = []
    for start in range(0, len(array.values), size):
        row = array.values[start : start + size]
        numbers = [dot(row, column) for column in columns]
        if bias is not None:
            numbers = [number + b for number, b in zip(numbers, bias.values, strict=True)]
        values += [stored(number) for number in numbers]
    return Array((*leading, *outputs), values, "real")


def layer_norm(array: Array, gain: Array, bias: Array | None = None, *, eps: float, gain_offset: float = 0.0) -> Array:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift it.

        y = (x - mean(x)) / sqrt(variance(x) + eps) * (gain + gain_offset) + bias

    The variance is biased: the mean of squares, not divided by m - 1.

    Arguments:
        array: `(..., m)`.
        gain: `(m,)`.
        bias: `(m,)` or None.
        eps: added to the variance inside the root; at least 0.
        gain_offset: added to the gain.

    Returns:
        `(..., m)`.

    Source: Ba, Kiros and Hinton, "Layer Normalization" (2016).

    How others differ: eps is 1e-5 in PyTorch and ONNX, 1e-3 in Keras, 1e-6 in Flax, 1e-12 in BERT.
    """
    given = {"array": array, "gain": gain, "bias": bias}
    array, gain, bias = checked("layer_norm", **given, eps=eps, gain_offset=gain_offset)

    def centred(row: Sequence[Number]) -> list[Number]:
        mean = total(row) / constant(len(row), row[0])
        return _over_root_mean_square([number - mean for number in row], eps)

    return _scaled_rows(array, centred, gain, bias, gain_offset)


def rms_norm(array: Array, gain: Array, *, eps: float, gain_offset: float = 0.0) -> Array:
    """Divide the last axis by its root mean square, then scale it.

        y = x / sqrt(mean(x^2) + eps) * (gain + gain_offset)

    Arguments:
        array: `(..., m)`.
        gain: `(m,)`.
        eps: added to the mean square inside the root; at least 0.
        gain_offset: added to the gain; 1 in Gemma.

    Returns:
        `(..., m)`.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019).

    How others differ: eps is 1e-6 in Llama and Keras, 1e-5 in ONNX, the dtype's own epsilon in `torch.nn.RMSNorm`.
    """
    array, gain = checked("rms_norm", array=array, gain=gain, eps=eps, gain_offset=gain_offset)
    return _scaled_rows(array, lambda row: _over_root_mean_square(row, eps), gain, None, gain_offset)


def normalize(array: Array, config: Norm, parameters: Mapping[str, Array], name: str) -> Array:
    """Apply the normalisation that a configuration describes, with the gain and bias under `name`."""
    gain = parameters.get(f"{name}.gain")
    if gain is None:
        gain = Array(
            array.shape[-1:], [constant(1.0, array.values[0]) if array.values else 1.0] * array.shape[-1], "real"
        )
    if config.kind == "rms":
        return rms_norm(array, gain, eps=config.eps, gain_offset=config.gain_offset)
    return layer_norm(array, gain, parameters.get(f"{name}.bias"), eps=config.eps, gain_offset=config.gain_offset)


def normalize_heads(array: Array, config: Norm, heads: NormHeads, parameters: Mapping[str, Array], name: str) -> Array:
    """Apply a normalisation to the heads of queries or keys.

        shared      each head over d, with one gain (d)
        separate    each head over d, with a gain of its own (h,d)
        joint       all heads together, over (h,d)

    Arguments:
        array: `(...,h,d)`; of `shared`, any array.
        config: the kind of the normalisation.
        heads: what is normalised.
        parameters: its gain and bias under `name`.

    Returns:
        `(...,h,d)`.

    How others differ: Qwen 3 and Gemma 3 share the gain; Cohere, Chameleon and StableLM have one for each head; OLMo 2
    normalises all heads together.
    """
    if heads == "shared":
        return normalize(array, config, parameters, name)
    scope, (*leading, count, size) = f"{name}.", array.shape
    own = {leaf: parameter for leaf, parameter in parameters.items() if leaf.startswith(scope)}  # (h,d) each
    if heads == "joint":
        own = {leaf: Array((count * size,), parameter.values, "real") for leaf, parameter in own.items()}
        joined = Array((*leading, count * size), array.values, "real")  # (...,h,d) -> (...,h*d)
        return Array(array.shape, normalize(joined, config, own, name).values, "real")
    values: list[Number] = []
    for index in indices(array.shape[:-1]):
        row = Array((size,), array[index], "real")
        of_head = {leaf: Array((size,), parameter[index[-1:]], "real") for leaf, parameter in own.items()}
        values += normalize(row, config, of_head, name).values
    return Array(array.shape, values, "real")


def _over_root_mean_square(row: Sequence[Number], eps: float) -> list[Number]:
    mean_square = total(number * number for number in row) / constant(len(row), row[0])
    root = sqrt(mean_square + constant(eps, row[0]))
    return [number / root for number in row]


def _scaled_rows(
    array: Array,
    normalise_row: Callable[[Sequence[Number]], list[Number]],
    gain: Array,
    bias: Array | None,
    gain_offset: float,
) -> Array:
    size = array.shape[-1]
    factors = gain.values
    if gain_offset:
        factors = [factor + constant(gain_offset, factor) for factor in factors]
    values = []
    for start in range(0, len(array.values), size):
        row = normalise_row(array.values[start : start + size])
        row = [number * factor for number, factor in zip(row, factors, strict=True)]
        if bias is not None:
            row = [number + b for number, b in zip(row, bias.values, strict=True)]
        values += [stored(number) for number in row]
    return Array(array.shape, values, "real")


def relu(number: Number) -> Number:
    """`max(x, 0)`; its slope at 0 is 0."""
    return number if number > 0 or is_nan(number) else relu_zero(number)


def relu_squared(number: Number) -> Number:
    """`max(x, 0)^2` (So et al., "Primer", 2021)."""
    return relu(number) * relu(number)


def gelu(number: Number) -> Number:
    """`x/2 (1 + erf(x / sqrt(2)))`, exact (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016).

    How others differ: `gelu` means the tanh approximation in `keras.ops`, `jax.nn` and `flax`.
    """
    one, two = constant(1.0, number), constant(2.0, number)
    return number / two * (one + erf(number / sqrt(two)))


def gelu_tanh(number: Number) -> Number:
    """`x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`, the approximation of the same paper."""
    one, two = constant(1.0, number), constant(2.0, number)
    inner = sqrt(two / pi(number)) * (number + constant(0.044715, number) * number * number * number)
    return number / two * (one + tanh(inner))


def quick_gelu(number: Number) -> Number:
    """`x / (1 + exp(-1.702 x))`, the coarser approximation of the same paper, as CLIP uses it."""
    one = constant(1.0, number)
    return number / (one + exp(-(constant(1.702, number) * number)))


def silu(number: Number) -> Number:
    """`x / (1 + exp(-x))`, also called swish."""
    return number / (constant(1.0, number) + exp(-number))


ACTIVATIONS: Mapping[str, Callable[[Number], Number]] = {
    "relu": relu,
    "relu_squared": relu_squared,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "silu": silu,
    "tanh": tanh,
}


def activate(array: Array, name: str) -> Array:
    """Apply an activation by its name to every number."""
    (array,) = checked("activate", array=array, name=name)
    return Array(array.shape, [stored(ACTIVATIONS[name](number)) for number in array.values], "real")


def dropout(array: Array, dropout_mask: Array, rate: float) -> Array:
    """Drop numbers and divide what is kept by `1 - rate`.

    Arguments:
        array: `(...)`.
        dropout_mask: boolean of the same shape; True where a number is kept.
        rate: the fraction of weights that was dropped on average, at least 0 and below 1.

    Source: Srivastava et al., "Dropout" (2014), in its inverted form.
    """
    pairs = zip(array.values, dropout_mask.values, strict=True)
    values = [stored(number / constant(1 - rate, number)) if kept else constant(0.0, number) for number, kept in pairs]
    return Array(array.shape, values, "real")


def clipped(array: Array, limit: float, *, one_sided: bool = False) -> Array:
    """Set numbers above `limit` to it and, unless `one_sided`, those below `-limit` to that; NaN stays NaN."""

    def within(number: Number) -> Number:
        if number > limit:
            return constant(limit, number)
        return constant(-limit, number) if number < -limit and not one_sided else number

    return array.map(within)


def added(left: Array, right: Array) -> Array:
    """Add two arrays of the same shape, as a residual connection does."""
    return Array(left.shape, [stored(a + b) for a, b in zip(left.values, right.values, strict=True)], "real")


def multiplied(left: Array, right: Array) -> Array:
    """Multiply two arrays of the same shape, as a gate does."""
    return Array(left.shape, [stored(a * b) for a, b in zip(left.values, right.values, strict=True)], "real")
