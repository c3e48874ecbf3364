"""Attention in memory linear in length: PyTorch's fused kernel, or blocks of queries where that lacks an option.

The results are those of the formula in `attention`, within its rounding errors. The kernel,
`torch.nn.functional.scaled_dot_product_attention`, computes calls without softcap, sinks, dropout and log-sum-exp
that need no gradients; its backward pass loses accuracy where scores are large (it recomputes the weights from a
rounded log-sum-exp), and it has no second derivatives. All other calls go by blocks. Keys that no query of a block
sees are left out, so that a window costs what it shows.

A number that is not finite must reach no result of a query that does not see it, which neither path can promise. So
one scalar is read: of the output, or of the inputs where gradients are needed. Where it cannot be read (in a
compiled function, under vmap, in the capture of a CUDA graph) the formula computes the call. `torch.cond` would put
both paths into a compiled function, but refuses arguments that share memory and some dynamic sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention

from attention_ref.spec.shapes import Sizes
from attention_ref.torch._arrays import Array, Arrays, values, widen, without_padding
from attention_ref.torch._band import Band, band, inside

BLOCK_NUMBERS = 2**20
"""How many scores a block has at most, unless it is of `SMALLEST_BLOCK` queries."""

SMALLEST_BLOCK, LARGEST_BLOCK = 32, 256


class Block(NamedTuple):
    """Queries `start` to `stop` and the keys `first` to `last`, beyond which they see none."""

    start: int
    stop: int
    first: int
    last: int


def supports(arrays: Arrays, options: Mapping[str, Any]) -> bool:
    """Say whether `attention` computes such a call: without weights, of at least one number, outside of compilers."""
    query, key, value = (arrays[name] for name in ("query", "key", "value"))
    if options["return_weights"] or torch.compiler.is_compiling():
        return False
    has_numbers = 0 not in (*query.shape, *key.shape, value.shape[-1])
    return has_numbers and _is_readable(query) and not torch.is_autocast_enabled(query.device.type)


def attention(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> list[Array] | None:
    """Compute a checked call of attention.

    Arguments:
        arrays: as they were given.
        sizes: of the call.
        options: of the call.

    Returns:
        The output `(b,h,q,v)` and, where asked for, the log-sum-exp `(b,h,q)`; None where a NaN or an infinity turns
        up, for then it matters which products with a weight of 0 are left out.
    """
    results = _attend(arrays, sizes, options)
    if results is None and arrays["key_lengths"] is not None:
        results = _attend(arrays | without_padding(arrays), sizes, options)
    return results


def _attend(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> list[Array] | None:
    """Compute the results, or None where something not finite might reach a query that does not see it."""
    has_gradients = _has_gradients(arrays)
    if has_gradients and not _are_bounded(arrays, sizes, options):
        return None
    call = _Call(arrays, sizes, options)
    try:
        results = call.by_blocks() if has_gradients or not call.suits_kernel() else [call.by_kernel()]
    except NotImplementedError:  # forward differentiation, which PyTorch's kernel lacks
        return None
    if not has_gradients and not (_is_sound(results[0]) or _are_bounded(arrays, sizes, options)):
        return None
    query = arrays["query"]
    results[0] = results[0].to(query.dtype)
    if query.ndim != 4:
        results = [result.reshape(*query.shape[:-1], *result.shape[3:]) for result in results]
    return results if options["return_log_sum_exp"] else results[:1]


class _Call:
    """A call with one batch axis: `(b,h,q,d)`, `(b,g,k,d)`, `(b,g,k,v)`, options `(b|1,h|1,q|1,k|1)`."""

    def __init__(self, arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> None:
        self.sizes, self.options = sizes, options
        self.query, self.key, self.value = (_flat(widen(arrays[name])) for name in ("query", "key", "value"))
        self.mask, self.dropout_mask, bias = (
            _broadcast(arrays[name], sizes.batch) for name in ("mask", "dropout_mask", "bias")
        )
        self.bias = None if bias is None else widen(bias)
        self.sinks = None if arrays["sinks"] is None else widen(arrays["sinks"])
        lengths, offset = arrays["key_lengths"], arrays["query_offset"]
        self.lengths = None if lengths is None else lengths.long().flatten()  # (b,), or (1,) of one length
        offset = offset.flatten() if isinstance(offset, Array) and offset.ndim else offset
        self.band = _bounded(band(options["causal"], offset, options["window"]), sizes)
        self.lowest, self.highest = (_span(bound) for bound in self.band)
        self.shortest, self.longest = (None, None) if lengths is None else _span(self.lengths)

    def suits_kernel(self) -> bool:
        """Say whether PyTorch's kernel has the options of the call and does not fall back to a slow one."""
        arrays, options = (self.query, self.key, self.value), self.options
        has_others = self.sinks is not None or self.dropout_mask is not None or options["softcap"] is not None
        is_dense = all(array.stride(-1) == 1 for array in arrays)
        return not has_others and not options["return_log_sum_exp"] and is_dense and _same_last_size(arrays)

    def by_kernel(self) -> Array:
        """Compute the output `(b,h,q,v)` by PyTorch's kernel, in one call where it needs no mask."""
        sizes, whole = self.sizes, Block(0, self.sizes.query_length, 0, self.sizes.key_length)
        if self.mask is None and self.bias is None and not self.hides_padding(whole):
            if not self.hides_early(whole) and not self.hides_late(whole):
                return self._kernel(whole, None)
            if self.highest == (0, 0) and not self.hides_early(whole):
                return self._kernel(whole, None, is_causal=True)
        leading = max((math.prod(a.shape[:2]) for a in (self.mask, self.bias) if a is not None), default=1)
        if self.lengths is not None or isinstance(self.band.highest, Array) or isinstance(self.band.lowest, Array):
            leading = max(leading, self.query.shape[0])
        outputs = [self._kernel(block, self.attention_mask(block)) for block in self.blocks(leading)]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)

    def by_blocks(self) -> list[Array]:
        """Compute the output `(b,h,q,v)` and the log-sum-exp `(b,h,q)` by the formula, block by block."""
        blocks = [self._formula(block) for block in self.blocks(math.prod(self.query.shape[:2]))]
        return [torch.cat(parts, dim=2) if len(parts) > 1 else parts[0] for parts in zip(*blocks, strict=True)]

    def blocks(self, leading: int) -> Iterator[Block]:
        """Cut the queries into blocks, for scores with `leading` rows for each query."""
        query_length, key_length = self.sizes.query_length, self.sizes.key_length
        width = key_length
        if self.lowest is not None and self.highest is not None:
            width = max(1, min(key_length, self.highest[1] - self.lowest[0] + LARGEST_BLOCK))
        rows = max(SMALLEST_BLOCK, min(LARGEST_BLOCK, BLOCK_NUMBERS // (leading * width)))
        for start in range(0, query_length, rows):
            stop, first, last = min(start + rows, query_length), 0, key_length
            if self.lowest is not None:
                first = min(max(first, start + self.lowest[0]), key_length)
            if self.highest is not None:
                last = min(last, stop + self.highest[1])
            if self.longest is not None:
                last = min(last, self.longest)
            yield Block(start, stop, first, max(first, last))

    def hides_early(self, block: Block) -> bool:
        """Say whether a query of the block may not see a key of the block because that comes too early."""
        return self.band.lowest is not None and (
            self.lowest is None or block.first < block.stop - 1 + self.lowest[1]
        )

    def hides_late(self, block: Block) -> bool:
        """Say whether a query of the block may not see a key of the block because that comes too late."""
        return self.band.highest is not None and (
            self.highest is None or block.last - 1 > block.start + self.highest[0]
        )

    def hides_padding(self, block: Block) -> bool:
        """Say whether a key of the block is padding in some batch row."""
        return self.lengths is not None and (self.shortest is None or self.shortest < block.last)

    def visible(self, block: Block) -> Array | None:
        """Say which keys of the block its queries see, but for the bias: `(b|1,h|1,q|1,k|1)`, None for all."""
        start, stop, first, last = block
        rules = [] if self.mask is None else [_cut(self.mask, block)]
        if self.hides_padding(block):
            rules.append(torch.arange(first, last, device=self.query.device) < self.lengths[:, None, None, None])
        lowest = self.band.lowest if self.hides_early(block) else None
        highest = self.band.highest if self.hides_late(block) else None
        if lowest is not None or highest is not None:
            shift = start - first
            moved = Band(*(None if bound is None else bound + shift for bound in (lowest, highest)))
            rule = inside(moved, stop - start, last - first, self.query.device)
            rules.append(rule if rule.ndim == 4 else rule[None, None])
        if not rules:
            return None
        visible = rules[0]
        for rule in rules[1:]:
            visible = visible & rule
        return visible

    def attention_mask(self, block: Block) -> Array | None:
        """Give the visible keys of a block, or the bias with -inf where they are hidden, as the kernel takes them."""
        visible = self.visible(block)
        if self.bias is None:
            return visible
        bias = _cut(self.bias, block)
        return bias if visible is None else torch.where(visible, bias, -math.inf)

    def _kernel(self, block: Block, mask: Array | None, *, is_causal: bool = False) -> Array:
        """Compute the output of a block, `(b,h,q,v)`."""
        query, key, value = self.query, self.key, self.value
        if block != (0, query.shape[2], 0, key.shape[2]):
            start, stop, first, last = block
            query, key, value = query[:, :, start:stop], key[:, :, first:last], value[:, :, first:last]
            if first == last:
                return torch.zeros_like(query)
        scale, is_grouped = self.options["scale"], self.sizes.groups != self.sizes.heads
        scale = None if scale is None else float(scale)
        output = scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=is_causal, scale=scale, enable_gqa=is_grouped
        )
        if mask is None or query.device.type == "cpu":
            return output
        is_hidden = ~mask if mask.dtype == torch.bool else mask == -math.inf  # some kernels of GPUs have NaN there
        return output.masked_fill(is_hidden.all(dim=-1, keepdim=True), 0)

    def _formula(self, block: Block) -> tuple[Array, Array]:
        """Compute the output `(b,h,q,v)` and the log-sum-exp `(b,h,q)` of a block."""
        start, stop, first, last = block
        batch, heads, _, head_size = self.query.shape
        groups, repeats, rows = self.sizes.groups, heads // self.sizes.groups, stop - start
        query = self.query[:, :, start:stop].reshape(batch, groups, repeats * rows, head_size)
        scores = query @ self.key[:, :, first:last].mT  # (b,g,h/g*q,k)
        scores = scores.reshape(batch, heads, rows, last - first)
        scale, softcap = self.options["scale"], self.options["softcap"]
        scores = scores.div_(math.sqrt(head_size)) if scale is None else scores.mul_(float(scale))
        if softcap is not None:
            scores = scores.div_(float(softcap)).tanh_() * float(softcap)
        if self.bias is not None:
            scores = scores.add_(_cut(self.bias, block))
        visible = self.visible(block)
        if visible is not None:
            scores = scores.masked_fill_(~visible, -math.inf)

        shift, is_empty, sinks = self._shift(scores)
        exponentials = scores.sub_(shift).exp_()  # (b,h,q,k)
        denominator = exponentials.sum(dim=-1, keepdim=True)  # (b,h,q,1)
        if sinks is not None:
            denominator = denominator + torch.exp(sinks - shift)
        denominator = torch.where(is_empty, 1, denominator)
        weights = exponentials / denominator
        if self.dropout_mask is not None:
            weights = weights * _cut(self.dropout_mask, block) / (1 - float(self.options["dropout"]))
        weights = weights.reshape(batch, groups, repeats * rows, last - first)
        output = (weights @ self.value[:, :, first:last]).reshape(batch, heads, rows, -1)
        log_sums = torch.where(is_empty, -math.inf, shift + torch.log(denominator))
        return output, log_sums[..., 0]

    def _shift(self, scores: Array) -> tuple[Array, Array, Array | None]:
        """Give the row maxima `(b,h,q,1)`, 0 in a row without keys; which rows those are; the sinks of the others."""
        if scores.shape[-1] == 0:
            maximum = scores.new_full((*scores.shape[:-1], 1), -math.inf)
        else:
            maximum = scores.detach().amax(dim=-1, keepdim=True)
        is_empty = maximum == -math.inf
        sinks = self.sinks
        if sinks is not None:
            sinks = torch.where(is_empty, -math.inf, sinks[:, None, None])
            maximum = torch.maximum(maximum, sinks.detach())
        return torch.where(is_empty, 0, maximum), is_empty, sinks


def _is_readable(query: Array) -> bool:
    """Say whether numbers can be read: not under vmap, on the meta device, or while a CUDA graph is captured."""
    if query.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
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
    """Say whether all is finite, and no row 0: then nothing but finite numbers went into it."""
    smallest, largest = torch.aminmax(torch.linalg.vector_norm(output, dim=-1))
    return 0 < smallest.item() and largest.item() < math.inf


def _are_bounded(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> bool:
    """Say whether all queries, keys and values are finite and their products cannot overflow."""
    query, key, value = (arrays[name].detach() for name in ("query", "key", "value"))
    largest = [max(-low.item(), high.item()) for low, high in (torch.aminmax(query), torch.aminmax(key))]
    scale = 1 if options["scale"] is None else max(1, abs(float(options["scale"])))
    bound = sizes.head_size * largest[0] * largest[1] * scale
    return bound < torch.finfo(widen(query[:0]).dtype).max / 4 and math.isfinite(widen(value.sum(dtype=widen(query[:0]).dtype)).item())


def _flat(array: Array) -> Array:
    """Give an array one batch axis: `(...,h,l,d)` to `(b,h,l,d)`."""
    return array if array.ndim == 4 else array.reshape(-1, *array.shape[-3:])


def _broadcast(array: Array | None, batch: tuple[int, ...]) -> Array | None:
    """Give what broadcasts to the scores four axes: `(b|1,h|1,q|1,k|1)`."""
    if array is None or array.ndim == 4 == len(batch) + 3:
        return array
    array = array[(None,) * (len(batch) + 3 - array.ndim)]
    leading = array.shape[:-3]
    if any(size != 1 for size in leading):
        array = array.expand(*batch, *array.shape[-3:])
        return array.reshape(-1, *array.shape[-3:])
    return array.reshape(1, *array.shape[-3:])


def _cut(array: Array, block: Block) -> Array:
    """Take the part of a block from what broadcasts to the scores."""
    if array.shape[2] != 1:
        array = array[:, :, block.start : block.stop]
    return array if array.shape[3] == 1 else array[..., block.first : block.last]


def _bounded(given: Band, sizes: Sizes) -> Band:
    """Move bounds beyond the first and last diagonal there, where they can be added to."""
    least, most = -sizes.query_length, sizes.key_length
    return Band(
        *(
            bound.clamp(least, most) if isinstance(bound, Array) else bound and min(max(bound, least), most)
            for bound in given
        )
    )


def _span(bound: Any) -> tuple[int, int] | None:
    """Give the least and greatest of a bound's integers; None where the bound is open."""
    if bound is None:
        return None
    if not isinstance(bound, Array):
        return bound, bound
    numbers = bound.tolist()
    return (min(numbers), max(numbers)) if isinstance(numbers, list) else (numbers, numbers)


def _same_last_size(arrays: tuple[Array, ...]) -> bool:
    return len({array.shape[-1] for array in arrays}) == 1
