"""Layers in named steps, each of which a deviation may replace: the specification once more in NumPy float64.

The steps of attention are in `formula.py`, those of embeddings, stacks and heads in `model_formula.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.formula import Array, Formula
from attention_ref.spec.config import (
    AttentionConfig,
    BlockConfig,
    FeedForwardConfig,
    Norm,
    Order,
    RelativeBias,
    Rotary,
    Sinusoid,
)
from attention_ref.spec.numbers import single
from attention_ref.spec.parameters import under
from attention_ref.spec.positions import (
    alibi_slopes,
    relative_bucket,
    rotary_amplitude,
    rotary_frequencies,
    sinusoid_frequencies,
)

Parameters = Mapping[str, Array]


class LayerFormula(Formula):
    """The layers as specified. Arrays are `(b,l,m)`, parameters have the names and shapes of the specification."""

    contracted = 1
    """How many axes the projection contracts that is being computed."""
    is_cross = False
    """Whether the attention that is being computed reads its keys from another array than its queries."""

    # Linear maps, normalisations, activations

    def linear(self, array: Array, kernel: Array, bias: Array | None = None, *, inputs: int = 1) -> Array:
        """Contract the last axes with the kernel, input-first, and add the bias."""
        size, outputs = math.prod(kernel.shape[:inputs]), kernel.shape[inputs:]
        leading = array.shape[: array.ndim - inputs]
        product = array.reshape(*leading, size) @ kernel.reshape(size, math.prod(outputs))
        product = product.reshape(*leading, *outputs)
        return product if bias is None else product + bias

    def project(self, array: Array, parameters: Parameters, name: str, inputs: int = 1) -> Array:
        """Apply the projection with this name."""
        self.contracted = inputs
        return self.linear(array, self.kernel(parameters, name), self.bias(parameters, name), inputs=inputs)

    def kernel(self, parameters: Parameters, name: str) -> Array:
        """Return the kernel of a projection."""
        return parameters[f"{name}.kernel"]

    def bias(self, parameters: Parameters, name: str) -> Array | None:
        """Return the bias of a projection, if it has one."""
        return parameters.get(f"{name}.bias")

    def normalize(self, array: Array, norm: Norm, parameters: Parameters, name: str) -> Array:
        """Apply the normalisation with this name."""
        gain = parameters[f"{name}.gain"] if norm.gain else np.ones(array.shape[-1:])
        options = {"eps": norm.eps, "gain_offset": norm.gain_offset}
        if norm.kind == "rms":
            return self.rms_norm(array, gain, **options)
        return self.layer_norm(array, gain, parameters.get(f"{name}.bias"), **options)

    def layer_norm(
        self, array: Array, gain: Array, bias: Array | None = None, *, eps: float, gain_offset: float = 0.0
    ) -> Array:
        """Subtract the mean, divide by the standard deviation, scale and shift."""
        array = array - array.mean(axis=-1, keepdims=True)
        root = self.root(self.variance(array), self.eps(eps))
        return self.scaled_and_shifted(array / root, gain, bias, gain_offset)

    def rms_norm(self, array: Array, gain: Array, *, eps: float, gain_offset: float = 0.0) -> Array:
        """Divide by the root mean square, and scale."""
        root = self.root((array * array).mean(axis=-1, keepdims=True), self.eps(eps))
        return self.scaled_and_shifted(array / root, gain, None, gain_offset)

    def variance(self, centred: Array) -> Array:
        """Return the mean of the squares of numbers whose mean is 0."""
        return (centred * centred).mean(axis=-1, keepdims=True)

    def eps(self, eps: float) -> float:
        """Return what is added inside the root."""
        return eps

    def root(self, mean_square: Array, eps: float) -> Array:
        """Return the divisor of a normalisation."""
        return np.sqrt(mean_square + eps)

    def scaled_and_shifted(self, array: Array, gain: Array, bias: Array | None, gain_offset: float) -> Array:
        """Multiply by the gain and add the bias."""
        array = array * (gain + gain_offset)
        return array if bias is None else array + bias

    def activate(self, array: Array, name: str) -> Array:
        """Apply the activation with this name."""
        return ACTIVATIONS[name](array)

    # Positions

    def sinusoidal_positions(self, positions: Array, size: int, config: Sinusoid) -> Array:
        """Return sines and cosines of positions, `(...,m)`."""
        frequencies = self.sinusoid_frequencies(size, config)
        angles = (np.asarray(positions) + config.offset)[..., None] * np.array(frequencies)  # (...,m/2)
        return self.sines_and_cosines(np.sin(angles), np.cos(angles), config.variant)

    def sinusoid_frequencies(self, size: int, config: Sinusoid) -> list[float]:
        """Return the frequencies of the code."""
        return sinusoid_frequencies(size, config)

    def sines_and_cosines(self, sines: Array, cosines: Array, variant: str) -> Array:
        """Arrange sines and cosines along the last axis."""
        if variant == "interleaved":
            return np.stack([sines, cosines], axis=-1).reshape(*sines.shape[:-1], -1 if sines.size else 0)
        return np.concatenate([sines, cosines], axis=-1)

    def rotate(self, array: Array, positions: Array, config: Rotary) -> Array:
        """Rotate pairs of a head's numbers, `(b,h,l,d)`, by position times frequency."""
        config = self.rotary(config)
        dimension = config.dimension or array.shape[-1]
        places = np.asarray(positions)
        frequencies = np.array(rotary_frequencies(dimension, config, length=int(places.max(initial=-1)) + 1))
        places = places[:, None] if places.ndim == 2 else places  # (l) or (b,1,l)
        angles = places[..., None] * frequencies  # (...,l,dimension/2)
        if config.angles == "float32":
            angles = np.vectorize(lambda p, f: single(single(p) * single(f)), otypes=[float])(
                places[..., None], frequencies
            )
        cosines, sines = np.cos(angles) * rotary_amplitude(config), np.sin(angles) * rotary_amplitude(config)
        turned, rest = array[..., :dimension], array[..., dimension:]
        half = dimension // 2
        first, second = (
            (slice(0, None, 2), slice(1, None, 2)) if config.interleaved else (slice(half), slice(half, None))
        )
        rotated = np.empty_like(turned)
        rotated[..., first] = turned[..., first] * cosines - turned[..., second] * sines
        rotated[..., second] = turned[..., second] * cosines + turned[..., first] * sines
        return np.concatenate([rotated, rest], axis=-1)

    def rotary(self, config: Rotary) -> Rotary:
        """Return how heads are rotated."""
        return config

    def alibi_bias(self, heads: int, query_length: int, key_length: int, *, query_offset: Any = 0) -> Array:
        """Return `-slope_h |i + query_offset - j|`, `(h,q,k)` or `(b,h,q,k)`."""
        distance = self.bias_distance(query_length, key_length, query_offset)[..., None, :, :]
        return -np.array(self.alibi_slopes(heads))[:, None, None] * self.alibi_distance(distance)

    def alibi_slopes(self, heads: int) -> list[float]:
        """Return the slope of each head."""
        return alibi_slopes(heads)

    def alibi_distance(self, distance: Array) -> Array:
        """Return the distance that the slope multiplies, from `j - (i + query_offset)`."""
        return np.abs(distance)

    def bias_distance(self, query_length: int, key_length: int, query_offset: Any) -> Array:
        """Return `j - (i + query_offset)`, `(q,k)` or `(b,q,k)`."""
        offsets = np.asarray(query_offset)[..., None, None]
        return np.arange(key_length) - (np.arange(query_length)[:, None] + offsets)

    def relative_bias(
        self, table: Array, query_length: int, key_length: int, config: RelativeBias, *, query_offset: Any = 0
    ) -> Array:
        """Look up the bucket of each distance in the table, `(h,q,k)` or `(b,h,q,k)`."""
        distance = self.bias_distance(query_length, key_length, query_offset)
        buckets = np.vectorize(lambda d: self.relative_bucket(int(d), config), otypes=[np.int64])(distance)
        return np.moveaxis(table[buckets], -1, -3)

    def relative_bucket(self, distance: int, config: RelativeBias) -> int:
        """Return the bucket of a key at this distance."""
        return relative_bucket(distance, config)

    # Multi-head attention

    def multihead(
        self,
        config: AttentionConfig,
        parameters: Parameters,
        query: Array,
        key: Array | None = None,
        value: Array | None = None,
        *,
        mask: Array | None = None,
        bias: Array | None = None,
        key_lengths: Array | None = None,
        positions: Array | None = None,
        query_offset: Any = None,
    ) -> dict[str, Array]:
        """Compute the output `(b,q,output)` and the weights `(b,h,q,k)`."""
        source = query if key is None else key
        self.is_cross = key is not None
        offset = 0 if query_offset is None else query_offset
        places, key_places = self.places(query, source, key is None, positions, offset)
        queries = self.heads(query, "query", config, parameters, places)  # (b,h,q,d)
        keys = self.heads(source, "key", config, parameters, key_places)  # (b,g,k,d)
        values = self.projected_heads(source if value is None else value, "value", config, parameters)  # (b,g,k,v)
        lengths = queries.shape[2], keys.shape[2]
        bias = self.bias_of_scores(bias, config, parameters, *lengths, offset)
        if config.trained_key_value:
            keys, values = (
                self.before(parameters[f"trained_{name}"], array) for name, array in (("key", keys), ("value", values))
            )
            mask, bias = (_padded(array, first) for array, first in ((mask, True), (bias, 0.0)))
            offset, key_lengths = offset + 1, None if key_lengths is None else key_lengths + 1
        results = self.attention(
            queries,
            keys,
            values,
            mask=mask,
            bias=bias,
            causal=config.causal,
            query_offset=offset,
            window=config.window,
            key_lengths=key_lengths,
            scale=self.scale(config),
            softcap=config.softcap,
            sinks=parameters.get("sinks"),
        )
        merged = self.merge_heads(results["output"])  # (b,q,h,v)
        return {**results, "output": self.project(merged, parameters, "output", inputs=2)}

    def places(
        self, query: Array, source: Array, is_self: bool, positions: Array | None, offset: Any
    ) -> tuple[Array, Array]:
        """Return the positions by which queries and keys are rotated."""
        counted = np.arange(query.shape[1]) + np.asarray(offset)[..., None]  # (q) or (b,q)
        places = counted if positions is None else positions
        return places, places if is_self else np.arange(source.shape[1])

    def heads(self, array: Array, name: str, config: AttentionConfig, parameters: Parameters, places: Array) -> Array:
        """Project to heads, `(b,l,m)` to `(b,h,l,d)`, then normalise and rotate them."""
        heads = self.projected_heads(array, name, config, parameters)
        return self.rotated(self.head_norm(heads, name, config, parameters), name, config, places)

    def projected_heads(self, array: Array, name: str, config: AttentionConfig, parameters: Parameters) -> Array:
        """Project to heads, `(b,l,m)` to `(b,h,l,d)`, and clip them, if configured."""
        heads = self.split_heads(self.project(array, parameters, name))
        return heads if config.clip is None else np.clip(heads, -config.clip, config.clip)

    def before(self, trained: Array, array: Array) -> Array:
        """Put a trained key or value before the others, `(g,d)` and `(b,g,k,d)` to `(b,g,k+1,d)`."""
        first = np.broadcast_to(trained[:, None], (*array.shape[:2], 1, array.shape[3]))
        return np.concatenate([first, array], axis=2)

    def head_norm(self, heads: Array, name: str, config: AttentionConfig, parameters: Parameters) -> Array:
        """Normalise each head, or all heads together, if configured."""
        norm, name, shares = config.query_key_norm, f"{name}_norm", config.query_key_norm_heads
        if norm is None:
            return heads
        if shares == "shared":
            return self.normalize(heads, norm, parameters, name)
        own = {leaf: each for leaf, each in parameters.items() if leaf.startswith(f"{name}.")}  # (h,d) each
        if shares == "separate":
            return self.normalize(heads, norm, {leaf: each[:, None] for leaf, each in own.items()}, name)
        rows = heads.swapaxes(1, 2)  # (b,l,h,d)
        joined = rows.reshape(*rows.shape[:2], rows.shape[2] * rows.shape[3])
        normal = self.normalize(joined, norm, {leaf: each.reshape(-1) for leaf, each in own.items()}, name)
        return normal.reshape(rows.shape).swapaxes(1, 2)

    def rotated(self, heads: Array, name: str, config: AttentionConfig, places: Array) -> Array:  # noqa: ARG002
        """Rotate each head, if configured."""
        return heads if config.rotary is None else self.rotate(heads, places, config.rotary)

    def split_heads(self, array: Array) -> Array:
        """Exchange length and heads, `(b,l,h,d)` to `(b,h,l,d)`."""
        return array.swapaxes(1, 2)

    def merge_heads(self, array: Array) -> Array:
        """Exchange heads and length, `(b,h,l,v)` to `(b,l,h,v)`."""
        return array.swapaxes(1, 2)

    def scale(self, config: AttentionConfig) -> float | None:
        """Return the configured scale."""
        return config.scale

    def bias_of_scores(
        self,
        bias: Array | None,
        config: AttentionConfig,
        parameters: Parameters,
        query_length: int,
        key_length: int,
        offset: Any,
    ) -> Array | None:
        """Sum the bias of the call and those of the configuration."""
        terms = [bias] if bias is not None else []
        if config.alibi:
            alibi = self.alibi_bias(config.heads, query_length, key_length, query_offset=offset)
            terms.append(config.alibi_factor * alibi)
        if config.relative_bias is not None:
            table, lengths = parameters["relative_bias"], (query_length, key_length)
            terms.append(self.relative_bias(table, *lengths, config.relative_bias, query_offset=offset))
        return sum(terms[1:], terms[0]) if terms else None

    # Feed-forward network and block

    def own_attention(self, config: Any, parameters: Parameters, array: Array, **options: Any) -> dict[str, Array]:
        """Apply the self-attention of a block."""
        return self.multihead(config, parameters, array, **options)

    def network(self, config: Any, parameters: Parameters, array: Array) -> Array:
        """Apply the feed-forward network of a block."""
        return self.feedforward(config, parameters, array)

    def feedforward(self, config: FeedForwardConfig, parameters: Parameters, array: Array) -> Array:
        """Apply the network."""
        hidden = self.project(array, parameters, "input")
        if config.gated:
            gate = np.minimum(self.project(array, parameters, "gate"), np.inf if config.clip is None else config.clip)
            hidden = hidden if config.clip is None else np.clip(hidden, -config.clip, config.clip)
            hidden = self.gated(gate, hidden + config.input_offset, config)
        else:
            hidden = self.activate(hidden, config.activation)
        return self.project(hidden, parameters, "output")

    def gated(self, gate: Array, hidden: Array, config: FeedForwardConfig) -> Array:
        """Multiply by the activated gate."""
        return self.activate(gate, config.activation) * hidden

    def block(
        self,
        config: BlockConfig,
        parameters: Parameters,
        array: Array,
        memory: Array | None = None,
        *,
        mask: Array | None = None,
        bias: Array | None = None,
        key_lengths: Array | None = None,
        positions: Array | None = None,
        memory_mask: Array | None = None,
        memory_lengths: Array | None = None,
    ) -> Array:
        """Apply the block."""

        def self_attention(x: Array) -> Array:
            options = {"mask": mask, "bias": bias, "key_lengths": key_lengths, "positions": positions}
            own = under(parameters, "self_attention")
            return self.own_attention(config.attention, own, x, **options)["output"]

        def cross_attention(x: Array) -> Array:
            options = self.memory_rules(memory_mask, memory_lengths, mask)
            found = self.cross(config, under(parameters, "cross_attention"), x, memory, **options)
            return found["output"]

        def feedforward(x: Array) -> Array:
            return self.network(config.feedforward, under(parameters, "feedforward"), x)

        if config.order == "parallel":
            return self.parallel(config, parameters, array, self_attention, feedforward)
        array = self.sublayer(config, parameters, array, self_attention, "self_attention")
        if config.cross_attention is not None:
            array = self.sublayer(config, parameters, array, cross_attention, "cross_attention")
        return self.sublayer(config, parameters, array, feedforward, "feedforward")

    def memory_rules(self, mask: Array | None, lengths: Array | None, own_mask: Array | None) -> dict[str, Any]:  # noqa: ARG002
        """Return the options of cross-attention."""
        return {"mask": mask, "key_lengths": lengths}

    def cross(
        self, config: BlockConfig, parameters: Parameters, array: Array, memory: Array | None, **options: Any
    ) -> dict[str, Array]:
        """Attend to the memory."""
        attention: Any = config.cross_attention
        cached, self.cached = self.cached, None  # all of the memory is there from the first chunk on
        found = self.multihead(attention, parameters, array, memory, **options)
        self.cached = cached
        return found

    def order(self, config: BlockConfig) -> Order:
        """Return where the normalisations are."""
        return config.order

    def sublayer(
        self,
        config: BlockConfig,
        parameters: Parameters,
        array: Array,
        function: Callable[[Array], Array],
        name: str,
    ) -> Array:
        """Apply a sublayer with its normalisations and its residual connection."""
        order = self.order(config)
        has_norm = order not in ("post", "output") and (config.self_attention_norm or name != "self_attention")
        normal = self.block_norm(array, config, parameters, f"{name}_norm") if has_norm else array
        branch = function(normal)
        if order in ("output", "sandwich"):
            branch = self.block_norm(branch, config, parameters, f"{name}_output_norm")
        result = self.residual(normal if config.residual == "norm" else array, branch, normal, name)
        return self.block_norm(result, config, parameters, f"{name}_norm") if order == "post" else result

    def residual(self, array: Array, branch: Array, normal: Array, name: str) -> Array:  # noqa: ARG002
        """Add the input of a sublayer to its output."""
        return array + branch

    def block_norm(self, array: Array, config: BlockConfig, parameters: Parameters, name: str) -> Array:
        """Apply a normalisation of a block."""
        return self.normalize(array, config.norm, parameters, name)

    def parallel(
        self,
        config: BlockConfig,
        parameters: Parameters,
        array: Array,
        self_attention: Callable[[Array], Array],
        feedforward: Callable[[Array], Array],
    ) -> Array:
        """Add self-attention and feed-forward network, both applied to the same input."""
        normal = self.block_norm(array, config, parameters, "self_attention_norm")
        other = normal if config.shared_norm else self.block_norm(array, config, parameters, "feedforward_norm")
        branch = self.residual(array, self_attention(normal), normal, "self_attention")
        return self.residual(branch, feedforward(other), other, "feedforward")


def _padded(array: Array | None, first: Any) -> Array | None:
    """Put one number before each row of a mask or bias, `(...,1)` or `(...,k)` to `(...,k+1)`."""
    return None if array is None else np.pad(array, [(0, 0)] * (array.ndim - 1) + [(1, 0)], constant_values=first)


def gelu(array: Array) -> Array:
    """`x/2 (1 + erf(x / sqrt(2)))`."""
    return array / 2 * (1 + np.vectorize(math.erf, otypes=[float])(array / np.sqrt(2)))


def gelu_tanh(array: Array) -> Array:
    """`x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`."""
    return array / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (array + 0.044715 * array**3)))


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.where(x > 0, x, x * 0),
    "relu_squared": lambda x: np.where(x > 0, x, x * 0) ** 2,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}
