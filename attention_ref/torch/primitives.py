"""The steps that layers are made of: softmax, linear maps, normalisations, activations, dropout."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from attention_ref.spec.attention_checks import check_softmax
from attention_ref.spec.checks import converted
from attention_ref.spec.config import Norm, NormHeads
from attention_ref.spec.parameters import check_norm
from attention_ref.torch._arrays import Array, as_array, checked, describe, of_an_array, widen


def softmax(scores: Any, *, visible: Any = None, sinks: Any = None) -> Array:
    """Turn scores into weights along the last axis.

        w_j = exp(s_j) / (sum_l exp(s_l) + exp(sink))           over the visible keys l; 0 elsewhere

    Every exponent is shifted by the row's maximum, which changes no weight and lets none overflow.

    Arguments:
        scores: float `(...,k)`.
        visible: boolean, broadcasts to `scores`; True where a key may be attended to. None is everywhere.
        sinks: of the dtype of `scores`, broadcasts to them without their last axis; a logit that joins the denominator
            and has no weight of its own.

    Returns:
        The weights `(...,k)` in the dtype of `scores`; float16 and bfloat16 are computed in float32. A row without
        visible keys has weights 0; one that sees NaN or +inf has NaN for every visible key.

    Raises:
        SpecificationError: for scores or sinks that are not floats, a visibility that is not boolean, and what does
            not broadcast.

    Example:
        >>> scores = torch.tensor([1.0, 2.0, 3.0])
        >>> softmax(scores, visible=torch.tensor([True, True, False]))
        tensor([0.2689, 0.7311, 0.0000])
    """
    scores, visible, sinks = _operands("softmax", scores, visible, sinks)
    exponentials, denominator, _, _ = _shifted(widen(scores), visible, sinks)
    weights = torch.where(visible, exponentials / denominator, 0)
    return weights.to(scores.dtype)


def log_sum_exp(scores: Any, *, visible: Any = None, sinks: Any = None) -> Array:
    """Return the logarithm of the softmax's denominator, `log(sum_l exp(s_l) + exp(sink))` over the visible keys l.

    Arguments:
        scores, visible, sinks: as in `softmax`.

    Returns:
        `(...)`, float32 for float16 and bfloat16, otherwise in the dtype of `scores`. A row without visible keys gives
        -inf, with a sink too.

    Raises:
        SpecificationError: as `softmax`.

    Example:
        >>> log_sum_exp(torch.tensor([[0.0, 0.0], [1.0, 2.0]]))
        tensor([0.6931, 2.3133])
    """
    scores, visible, sinks = _operands("log_sum_exp", scores, visible, sinks)
    _, denominator, shift, is_empty = _shifted(widen(scores), visible, sinks)
    log_sums = torch.where(is_empty, -math.inf, shift + torch.log(denominator))
    return log_sums[..., 0]


def _operands(operation: str, scores: Any, visible: Any, sinks: Any) -> tuple[Array, Array, Array | None]:
    """Check what is given; give the visibility in the shape of the scores, the sinks in at least float32."""
    scores = converted(operation, "scores", scores, as_array)
    make = functools.partial(as_array, device=scores.device)
    visible = converted(operation, "visible", True if visible is None else visible, make)
    sinks = None if sinks is None else converted(operation, "sinks", sinks, make)
    check_softmax(operation, describe(scores), describe(visible), None if sinks is None else describe(sinks))
    visible = torch.broadcast_to(visible, scores.shape)
    return scores, visible, None if sinks is None else widen(sinks)


def _shifted(scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array, Array, Array]:
    """Return the exponentials, their sum with the sink's (1 in an empty row), the shift, and which rows are empty."""
    is_empty = ~torch.any(visible, dim=-1, keepdim=True)  # (...,1)
    logits = torch.where(visible, scores, -math.inf)
    maximum = _largest(logits.detach())  # (...,1)
    if sinks is not None:
        sinks = torch.where(is_empty, -math.inf, sinks[..., None])  # an empty row attends to nothing, not to its sink
        maximum = torch.maximum(maximum, sinks.detach())
    shift = torch.where(is_empty, 0, maximum)
    exponentials = torch.exp(logits - shift)
    denominator = torch.sum(exponentials, dim=-1, keepdim=True)
    if sinks is not None:
        denominator = denominator + torch.exp(sinks - shift)
    return exponentials, torch.where(is_empty, 1, denominator), shift, is_empty


def _largest(logits: Array) -> Array:
    """Return the row maximum, -inf of no logits at all, where `torch.amax` has no answer."""
    if logits.shape[-1] == 0:
        return logits.new_full((*logits.shape[:-1], 1), -math.inf)
    return torch.amax(logits, dim=-1, keepdim=True)


def linear(array: Array, kernel: Array, bias: Array | None = None, *, inputs: int = 1) -> Array:
    """Multiply the last axes by a kernel and add a bias: `y = x kernel + bias`.

    Arguments:
        array: `(..., *contracted)`.
        kernel: `(*contracted, *outputs)`.
        bias: `outputs`.
        inputs: how many axes are contracted.

    Returns:
        `(..., *outputs)` in the dtype of `array`. Autocast lowers the precision of the product, and of nothing else.

    Example:
        >>> kernel = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        >>> linear(torch.tensor([1.0, 2.0]), kernel)
        tensor([1., 2., 3.])
    """
    array, kernel, bias = checked("linear", array=array, kernel=kernel, bias=bias, inputs=inputs)
    leading, outputs = array.shape[: array.ndim - inputs], kernel.shape[inputs:]
    contracted = math.prod(kernel.shape[:inputs])
    rows = widen(array).reshape(*leading, contracted)  # (..., contracted)
    matrix = widen(kernel).reshape(contracted, math.prod(outputs))  # (contracted, outputs)
    product = (rows @ matrix).reshape(*leading, *outputs)
    return (product if bias is None else product + bias).to(array.dtype)


def layer_norm(array: Array, gain: Array, bias: Array | None = None, *, eps: float, gain_offset: float = 0.0) -> Array:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift it.

        y = (x - mean(x)) / sqrt(variance(x) + eps) * (gain + gain_offset) + bias

    Arguments:
        array: `(..., m)`.
        gain: `(m,)`.
        bias: `(m,)` or None.
        eps: added to the biased variance inside the root; at least 0.
        gain_offset: added to the gain.

    Returns:
        `(..., m)`.

    Example:
        >>> gain = torch.tensor([1.0, 1.0, 1.0])
        >>> layer_norm(torch.tensor([1.0, 2.0, 3.0]), gain, eps=1e-5)
        tensor([-1.2247,  0.0000,  1.2247])
    """
    given = {"array": array, "gain": gain, "bias": bias}
    array, gain, bias = checked("layer_norm", **given, eps=eps, gain_offset=gain_offset)
    x, scale = widen(array), widen(gain) + gain_offset
    shift = None if bias is None else widen(bias)
    return torch.nn.functional.layer_norm(x, gain.shape, scale, shift, eps).to(array.dtype)


def rms_norm(array: Array, gain: Array, *, eps: float, gain_offset: float = 0.0) -> Array:
    """Divide the last axis by its root mean square, then scale it.

        y = x / sqrt(mean(x^2) + eps) * (gain + gain_offset)

    Arguments:
        array: `(..., m)`.
        gain: `(m,)`.
        eps: added to the mean square inside the root; at least 0.
        gain_offset: added to the gain.

    Returns:
        `(..., m)`.

    Example:
        >>> rms_norm(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 1.0]), eps=1e-6)
        tensor([0.8485, 1.1314])
    """
    array, gain = checked("rms_norm", array=array, gain=gain, eps=eps, gain_offset=gain_offset)
    x = widen(array)
    mean_square = (x * x).mean(dim=-1, keepdim=True)
    return (x / torch.sqrt(mean_square + eps) * (widen(gain) + gain_offset)).to(array.dtype)


def normalize(array: Array, config: Norm, parameters: Mapping[str, Array | None], name: str) -> Array:
    """Apply the normalisation that a configuration describes, with the gain and bias under `name`.

    Example:
        >>> config, parameters = spec.Norm("rms", eps=1e-6), {"norm.gain": torch.tensor([1.0, 1.0])}
        >>> normalize(torch.tensor([3.0, 4.0]), config, parameters, "norm")
        tensor([0.8485, 1.1314])
    """
    check_norm(config, parameters, name)
    gain = parameters.get(f"{name}.gain")
    if gain is None:
        gain = torch.ones(array.shape[-1:], dtype=array.dtype, device=array.device)
    if config.kind == "rms":
        return rms_norm(array, gain, eps=config.eps, gain_offset=config.gain_offset)
    return layer_norm(array, gain, parameters.get(f"{name}.bias"), eps=config.eps, gain_offset=config.gain_offset)


def normalize_heads(
    array: Array, config: Norm, heads: NormHeads, parameters: Mapping[str, Array | None], name: str
) -> Array:
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

    Example:
        >>> config, parameters = spec.Norm("rms", eps=1e-6), {"norm.gain": torch.tensor([1.0, 1.0])}
        >>> normalize_heads(torch.tensor([[3.0, 4.0]]), config, "shared", parameters, "norm")
        tensor([[0.8485, 1.1314]])
    """
    if heads == "shared":
        return normalize(array, config, parameters, name)
    scope, (count, size) = f"{name}.", array.shape[-2:]
    own = {leaf: each for leaf, each in parameters.items() if leaf.startswith(scope) and each is not None}  # (h,d) each
    if heads == "joint":
        own = {leaf: parameter.reshape(-1) for leaf, parameter in own.items()}
        joined = array.reshape(*array.shape[:-2], count * size)  # (...,h,d) -> (...,h*d)
        return normalize(joined, config, own, name).reshape(array.shape)
    each = [
        normalize(array[..., i, :], config, {leaf: parameter[i] for leaf, parameter in own.items()}, name)
        for i in range(count)
    ]
    return torch.stack(each, dim=-2)


@of_an_array
def relu(x: Array) -> Array:
    """`max(x, 0)`.

    Example:
        >>> relu(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([0., 0., 2.])
    """
    return torch.relu(x)


@of_an_array
def relu_squared(x: Array) -> Array:
    """`max(x, 0)^2`.

    Example:
        >>> relu_squared(torch.tensor([-1.0, 0.0, 3.0]))
        tensor([0., 0., 9.])
    """
    return torch.square(torch.relu(x))


@of_an_array
def gelu(x: Array) -> Array:
    """`x/2 (1 + erf(x / sqrt(2)))`, exact.

    Example:
        >>> gelu(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([-0.1587,  0.0000,  0.8413])
    """
    return functional.gelu(x)


@of_an_array
def gelu_tanh(x: Array) -> Array:
    """`x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.

    Example:
        >>> gelu_tanh(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([-0.1588,  0.0000,  0.8412])
    """
    return functional.gelu(x, approximate="tanh")


@of_an_array
def quick_gelu(x: Array) -> Array:
    """`x / (1 + exp(-1.702 x))`.

    Example:
        >>> quick_gelu(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([-0.1542,  0.0000,  0.8458])
    """
    return x * torch.sigmoid(1.702 * x)  # the quotient would have NaN for the gradient where exp is infinite


@of_an_array
def silu(x: Array) -> Array:
    """`x / (1 + exp(-x))`.

    Example:
        >>> silu(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([-0.2689,  0.0000,  0.7311])
    """
    return functional.silu(x)


ACTIVATIONS = {
    "relu": relu,
    "relu_squared": relu_squared,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "silu": silu,
    "tanh": torch.tanh,
}


def activate(array: Array, name: str) -> Array:
    """Apply an activation by its name to every number.

    Example:
        >>> activate(torch.tensor([-1.0, 0.0, 1.0]), "silu")
        tensor([-0.2689,  0.0000,  0.7311])
    """
    (array,) = checked("activate", array=array, name=name)
    return ACTIVATIONS[name](widen(array)).to(array.dtype)


def clipped(array: Array, limit: float, *, one_sided: bool = False) -> Array:
    """Set numbers above `limit` to it and, unless `one_sided`, those below `-limit` to that; NaN stays NaN.

    Example:
        >>> clipped(torch.tensor([-9.0, 0.5, 9.0]), 2.0)
        tensor([-2.0000,  0.5000,  2.0000])
    """
    (array,) = checked("clipped", array=array, limit=limit, one_sided=one_sided)
    return torch.clamp(array, None if one_sided else -limit, limit)


def draw_dropout_mask(shape: Sequence[int], rate: float, device: torch.device) -> Array | None:
    """Draw a dropout mask, True with probability `1 - rate`, by PyTorch's generator; None if nothing is dropped."""
    return torch.rand(shape, device=device) >= rate if rate else None


def dropout(array: Array, dropout_mask: Array | None, rate: float) -> Array:
    """Drop numbers and divide what is kept by `1 - rate`.

    Arguments:
        array: `(...)`.
        dropout_mask: boolean, broadcasts to `array`; True where a number is kept. None keeps all, undivided.
        rate: the fraction of weights that was dropped on average, at least 0 and below 1.

    Returns:
        `(...)`.

    Example:
        >>> dropout(torch.tensor([1.0, 2.0]), torch.tensor([True, False]), 0.5)
        tensor([2., 0.])
    """
    array, dropout_mask = checked("dropout", array=array, dropout_mask=dropout_mask, rate=rate)
    return array if dropout_mask is None else torch.where(dropout_mask, array / (1 - rate), 0)
