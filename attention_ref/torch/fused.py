"""Attention with memory linear in the lengths: by PyTorch's fused kernel, or by blocks of queries.

The kernel is `torch.nn.functional.scaled_dot_product_attention`. It computes calls without softcap, sinks, dropout,
log-sum-exp and gradients of a bias; it has no second derivatives. All other calls are computed by blocks, which are
computed again for their gradients if their weights would take much memory. Keys that no query of a block sees are
skipped, so that the cost of a window depends on its width.

A NaN or an infinity must not affect queries that do not see it, which neither path guarantees. So one number is read,
from the output, or from the inputs if gradients are needed; on a GPU this synchronises. If nothing can be read (under
vmap, while a CUDA graph is captured), the call takes the reference path. `_compiled.py` is for compiled functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from attention_ref.spec.shapes import Sizes
from attention_ref.torch import _compiled
from attention_ref.torch._arrays import Array, Arrays, cut_to_longest, is_autocast, values, widen, without_padding
from attention_ref.torch._blocks import Block, Visibility, cut, with_one_batch_axis

_WIDE = (torch.float32, torch.float64)

_KEPT = 2**24
"""The largest number of scores whose weights are kept for the gradients; those of more are computed again."""

_OTHERS = ("mask", "bias", "key_lengths", "sinks", "dropout_mask")
"""The arrays that a call without a mask lacks."""

_READ_AT_ONCE = 64
"""The largest number of rows whose norms are read one by one, which takes less time than their smallest and largest."""


def supports(arrays: Arrays, options: Mapping[str, Any]) -> bool:
    """Return whether a call can be computed here: if it does not request weights, and its numbers can be read."""
    query, key, value = (arrays[name] for name in ("query", "key", "value"))
    if options["return_weights"]:
        return False
    if torch.compiler.is_compiling():
        return not (torch.compiler.is_exporting() or is_autocast(query.device.type) or _has_gradients(arrays))
    has_numbers = query.numel() and key.numel() and value.numel()
    return bool(has_numbers) and _is_readable(query) and not is_autocast(query.device.type)


def attention(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> list[Array] | None:
    """Compute a checked call of attention.

    Arguments:
        arrays: the arguments, as `check_call` returns them.
        sizes: of the call.
        options: of the call.

    Returns:
        The output `(b,h,q,v)` and, if requested, the log-sum-exp `(b,h,q)`; None if a NaN or an infinity occurs,
        because the formula must then leave out products with a weight of 0.
    """
    if torch.compiler.is_compiling():
        return _compiled.attention(arrays, options)
    if arrays["key_lengths"] is None:
        return _attend(arrays, sizes, options)
    arrays, sizes = cut_to_longest(arrays, sizes)
    results = _attend(arrays, sizes, options)
    if results is None and arrays["key_lengths"] is not None:
        results = _attend(arrays | without_padding(arrays), sizes, options)
    return results


def _attend(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> list[Array] | None:
    """Compute the results; None if a NaN or an infinity occurs."""
    has_gradients = _has_gradients(arrays)
    if has_gradients and not _are_bounded(arrays, options):
        return None
    try:
        results = _without_mask(arrays, sizes, options)
        if results is None:
            call = _Call(arrays, sizes, options, has_gradients=has_gradients)
            results = [call.by_kernel()] if call.suits_kernel() else call.by_blocks()
    except NotImplementedError:  # forward-mode differentiation, which the kernel lacks
        return None
    if not has_gradients and not (_is_sound(results[0]) or _are_bounded(arrays, options)):
        return None
    query = arrays["query"]
    if results[0].dtype != query.dtype:
        results[0] = results[0].to(query.dtype)
    if query.ndim != 4:
        results = [result.reshape(*query.shape[:-1], *result.shape[3:]) for result in results]
    return results if options["return_log_sum_exp"] else results[:1]


def _without_mask(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> list[Array] | None:
    """Compute the output `(b,h,q,v)` by the kernel; None for a call that needs more than it, or a mask.

    It does what `_Call` would do, in less time than a step of decoding takes.
    """
    query, key, value = arrays["query"], arrays["key"], arrays["value"]
    if any(arrays[name] is not None for name in _OTHERS) or options["softcap"] is not None:
        return None
    if query.ndim != 4 or key.shape != value.shape or query.dtype not in _WIDE or options["return_log_sum_exp"]:
        return None
    offset, scale, is_causal = arrays["query_offset"], options["scale"], options["causal"]
    if options["window"] is not None or not (query.stride()[3] == key.stride()[3] == value.stride()[3] == 1):
        return None
    if is_causal and (type(offset) is not int or (offset and offset < sizes.key_length - 1)):
        return None
    is_causal = is_causal and offset < sizes.key_length - 1
    if is_causal and scale is not None and scale <= 0:
        return None
    scale = None if scale is None else float(scale)
    options = {"is_causal": is_causal, "scale": scale, "enable_gqa": sizes.heads != sizes.groups}
    return [scaled_dot_product_attention(query, key, value, **options)]


class _Call:
    """A call with one batch axis: query `(b,h,q,d)`, key `(b,g,k,d)`, value `(b,g,k,v)`, in at least float32."""

    def __init__(self, arrays: Arrays, sizes: Sizes, options: Mapping[str, Any], *, has_gradients: bool) -> None:
        self.has_gradients = has_gradients
        self.options, self.visibility = options, Visibility(arrays, sizes, options)
        self.query, self.key, self.value = (_flat(widen(arrays[name])) for name in ("query", "key", "value"))
        bias, sinks = arrays["bias"], arrays["sinks"]
        self.bias = None if bias is None else with_one_batch_axis(widen(bias), sizes.batch)
        self.sinks = None if sinks is None else widen(sinks)[:, None, None]  # (h,1,1)
        self.dropout_mask = with_one_batch_axis(arrays["dropout_mask"], sizes.batch)

    def suits_kernel(self) -> bool:
        """Return whether the kernel supports the call, without falling back to a slow one."""
        if self.sinks is not None or self.dropout_mask is not None or self.options["softcap"] is not None:
            return False
        if self.bias is not None and self.bias.requires_grad:
            return False
        arrays = (self.query, self.key, self.value)
        is_dense = all(array.stride(-1) == 1 for array in arrays)
        return is_dense and self.key.shape == self.value.shape and not self.options["return_log_sum_exp"]

    def by_kernel(self) -> Array:
        """Compute the output `(b,h,q,v)` by the kernel, in one call if it needs no mask."""
        rules, whole, scale = self.visibility, self.visibility.whole(), self.options["scale"]
        if rules.mask is None and self.bias is None and not rules.hides_padding(whole) and not rules.hides_early(whole):
            if not rules.hides_late(whole):
                return self._kernel(whole, None)
            if rules.highest == (0, 0) and (scale is None or scale > 0):  # it scales hidden keys' -inf
                return self._kernel(whole, None, is_causal=True)
        leading = rules.leading() if self.bias is None else max(rules.leading(), math.prod(self.bias.shape[:2]))
        outputs = [self._kernel(block, self._kernel_mask(block)) for block in rules.blocks(leading)]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)

    def by_blocks(self) -> list[Array]:
        """Compute the output `(b,h,q,v)` and the log-sum-exp `(b,h,q)` by the formula, block by block."""
        blocks = list(self.visibility.blocks(math.prod(self.query.shape[:2])))
        is_large = self.query.shape[:3].numel() * self.key.shape[2] > _KEPT
        attend = self._recomputed if is_large and self.has_gradients else self._formula
        blocks = [attend(block) for block in blocks]
        return [torch.cat(parts, dim=2) if len(parts) > 1 else parts[0] for parts in zip(*blocks, strict=True)]

    def _recomputed(self, block: Block) -> tuple[Array, Array]:
        """Compute a block by the formula, and again for its gradients, in place of keeping its weights."""
        try:
            return checkpoint(self._formula, block, use_reentrant=False, preserve_rng_state=False)
        except RuntimeError:  # transforms of torch.func have no hooks for saved tensors
            return self._formula(block)

    def _kernel_mask(self, block: Block) -> Array | None:
        """Return the visible keys of a block, or the bias with -inf where they are hidden, for the kernel."""
        visible = self.visibility.visible(block)
        if self.bias is None:
            return visible
        bias = cut(self.bias, block)
        return bias if visible is None else torch.where(visible, bias, -math.inf)

    def _kernel(self, block: Block, mask: Array | None, *, is_causal: bool = False) -> Array:
        """Compute the output of a block, `(b,h,q,v)`, by the kernel."""
        query, key, value = self.query, self.key, self.value
        if block != (0, query.shape[2], 0, key.shape[2]):
            start, stop, first, last = block
            query, key, value = query[:, :, start:stop], key[:, :, first:last], value[:, :, first:last]
            if first == last:
                return self._formula(block)[0]
        scale, is_grouped = self.options["scale"], query.shape[1] != key.shape[1]
        scale = None if scale is None else float(scale)
        output = scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=is_causal, scale=scale, enable_gqa=is_grouped
        )
        if mask is None or query.device.type == "cpu":
            return output
        is_hidden = ~mask if mask.dtype == torch.bool else mask == -math.inf  # some GPU kernels return NaN for them
        return output.masked_fill(is_hidden.all(dim=-1, keepdim=True), 0)

    def _formula(self, block: Block) -> tuple[Array, Array]:
        """Compute the output `(b,h,q,v)` and the log-sum-exp `(b,h,q)` of a block."""
        start, stop, first, last = block
        scores = self._products(self.query[:, :, start:stop], self.key[:, :, first:last].mT)  # (b,h,q,k)
        scale, softcap = self.options["scale"], self.options["softcap"]
        scores = scores.div_(math.sqrt(self.key.shape[-1])) if scale is None else scores.mul_(float(scale))
        if softcap is not None:
            scores = scores.div_(float(softcap)).tanh_() * float(softcap)
        if self.bias is not None:
            scores = scores.add_(cut(self.bias, block))
        visible = self.visibility.visible(block)
        if visible is not None:
            scores = scores.masked_fill_(~visible, -math.inf)

        shift, is_empty, sinks = self._shift(scores)
        exponentials = scores.sub_(shift).exp_()
        denominator = exponentials.sum(dim=-1, keepdim=True)  # (b,h,q,1)
        if sinks is not None:
            denominator = denominator + torch.exp(sinks - shift)
        denominator = torch.where(is_empty, 1, denominator)
        weights = exponentials / denominator
        if self.dropout_mask is not None:
            weights = weights * cut(self.dropout_mask, block) / (1 - float(self.options["dropout"]))
        output = self._products(weights, self.value[:, :, first:last])  # (b,h,q,v)
        log_sums = torch.where(is_empty, -math.inf, shift + torch.log(denominator))
        return output, log_sums[..., 0]

    def _products(self, left: Array, right: Array) -> Array:
        """Multiply `(b,h,q,x)` by `(b,g,x,y)`, where query head `i` reads key/value head `i // (h/g)`."""
        batch, heads, rows, inner = left.shape
        groups, columns = right.shape[1], right.shape[-1]
        left = left.reshape(batch, groups, heads // groups * rows, inner)  # (b,g,h/g*q,x)
        return (left @ right).reshape(batch, heads, rows, columns)

    def _shift(self, scores: Array) -> tuple[Array, Array, Array | None]:
        """Return the row maxima `(b,h,q,1)`, 0 for an empty row; which rows are empty; and the sinks, -inf for these
        rows.
        """
        if scores.shape[-1] == 0:
            maximum = scores.new_full((*scores.shape[:-1], 1), -math.inf)
        else:
            maximum = scores.detach().amax(dim=-1, keepdim=True)
        is_empty, sinks = maximum == -math.inf, self.sinks
        if sinks is not None:
            sinks = torch.where(is_empty, -math.inf, sinks)  # an empty row has no sink
            maximum = torch.maximum(maximum, sinks.detach())
        return torch.where(is_empty, 0, maximum), is_empty, sinks


def _is_readable(query: Array) -> bool:
    """Return whether numbers can be read: not under vmap, on the meta device, or while a CUDA graph is captured."""
    if query.is_cuda and torch.cuda.is_current_stream_capturing():
        return False
    if type(query) not in (torch.Tensor, torch.nn.Parameter):
        return values(query[(0,) * query.ndim]) is not None
    try:
        return query.data_ptr() != 0
    except RuntimeError:
        return False


def _has_gradients(arrays: Arrays) -> bool:
    return torch.is_grad_enabled() and any(isinstance(a, Array) and a.requires_grad for a in arrays.values())


def _is_sound(output: Array) -> bool:
    """Return whether the output is finite and has no row of 0: then no score was NaN or +inf, and no row had only
    -inf.
    """
    norms = torch.linalg.vector_norm(output, dim=-1)  # (b,h,q)
    if norms.numel() <= _READ_AT_ONCE:
        numbers = norms.flatten().tolist()
        return math.isfinite(sum(numbers)) and min(numbers) > 0
    smallest, largest = torch.aminmax(norms)
    return smallest.item() > 0 and largest.item() < math.inf


def _are_bounded(arrays: Arrays, options: Mapping[str, Any]) -> bool:
    """Return whether queries, keys and values are finite, and no product of queries and keys can overflow."""
    query, key, value = (arrays[name].detach() for name in ("query", "key", "value"))
    dtype = widen(query[:0]).dtype
    largest = [max(-low.item(), high.item()) for low, high in (torch.aminmax(query), torch.aminmax(key))]
    factor = query.shape[-1] * (1 if options["scale"] is None else max(1, abs(float(options["scale"]))))
    is_finite = math.isfinite(value.sum(dtype=dtype).item())
    return is_finite and factor * largest[0] * largest[1] < torch.finfo(dtype).max / 4


def _flat(array: Array) -> Array:
    """Flatten the batch axes: `(...,h,l,d)` to `(b,h,l,d)`."""
    return array if array.ndim == 4 else array.reshape(-1, *array.shape[-3:])
