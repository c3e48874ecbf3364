"""Wrong multi-head attentions, feed-forward networks and blocks beyond those of the gallery's pages."""

# ruff: noqa: ARG001 - a mistake may be to leave an argument out

from __future__ import annotations

import functools
import re
from dataclasses import replace

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import multihead, primitives
from attention_ref.spec.config import AttentionConfig
from tests.wrong_layers.record import Mistake, configured, parametrised, patched

MHA = "MultiHeadAttention"


class _OutputClipped(right.MultiHeadAttention):
    def _linear(self, array, name, inputs=1):
        result = super()._linear(array, name, inputs)
        largest = self.config.clip
        return result if largest is None or name != "output" else result.clip(-largest, largest)


def _without_trained(*names):
    return parametrised(MHA, lambda name, array: np.zeros_like(array) if name in names else array)


class _TrainedKeyCounted(right.MultiHeadAttention):
    def _after_trained(self, memory):
        joined = super()._after_trained(memory)
        return joined._replace(lengths=np.asarray(memory.lengths))

    def _bias(self, bias, queries, keys, offset):
        return super()._bias(bias, queries, keys, offset)


def _trained_key_counted(config, parameters):
    """Let lengths and causality count the trained key."""

    def attention(query, key, value, *, query_offset, **options):
        offset = query_offset - 1 if config.trained_key_value else query_offset
        return right.attention(query, key, value, query_offset=offset, **options)

    layer = type("Layer", (_TrainedKeyCounted,), {}) if config.trained_key_value else right.MultiHeadAttention
    patch = patched(MHA, multihead, "attention", attention)
    return patch(config, parameters) if layer is right.MultiHeadAttention else _under(layer, patch, config, parameters)


def _under(layer, patch, config, parameters):
    built = patch(config, parameters)
    built.layer = layer(config, parameters)
    return built


class _ValuesRotated(right.MultiHeadAttention):
    def _project_kv(self, key, value, *, key_lengths, positions):
        found = super()._project_kv(key, value, key_lengths=key_lengths, positions=positions)
        fits = self.config.rotary is not None and found.value.shape == found.key.shape
        places = np.arange(key.shape[1]) if positions is None else np.asarray(positions)
        return found._replace(value=right.rotate(found.value, places, self.config.rotary)) if fits else found


class _ValueInputIgnored(right.MultiHeadAttention):
    def _project_kv(self, key, value, **options):
        return super()._project_kv(key, key[..., : self.config.sizes.value_memory], **options)


def _norm_of_queries_alone(array, config, heads, parameters, name):
    return _NORMALIZE(array, config, heads, parameters, name) if name.startswith("query") else array


def _norm_with_gain_of_query(array, config, heads, parameters, name):
    return _NORMALIZE(array, config, heads, parameters, "query_norm")


def _norm_of_all_heads(array, config, heads, parameters, name):
    if heads == "shared":
        own = {leaf: np.tile(parameter, (array.shape[-2], 1)) for leaf, parameter in parameters.items() if name in leaf}
        return _NORMALIZE(array, config, "joint", own, name)
    return _NORMALIZE(array, config, heads, parameters, name)


class _ValuesNormalised(right.MultiHeadAttention):
    def _projected(self, array, name):
        heads, norm = super()._projected(array, name), self.config.query_key_norm
        if norm is None or name != "value":
            return heads
        return primitives.normalize_heads(heads, norm, self.config.query_key_norm_heads, self.parameters, "key_norm")


class _BiasInPlaceOfDistance(right.MultiHeadAttention):
    def _bias(self, bias, *arrays):
        return super()._bias(bias, *arrays) if bias is None else np.asarray(bias)


def _scaled_alibi(config):
    is_plain = config.alibi and config.alibi_factor == 1
    scale = config.scale or config.sizes.head**-0.5
    return replace(config, alibi_factor=scale) if is_plain else config


def _first_alibi_of_falcon(config, parameters):
    return configured(MHA, AttentionConfig, _scaled_alibi)(config, parameters)


def _rms_norm_of_sums(array, gain, *, eps, gain_offset=0.0):
    scaled = array / np.sqrt((array * array).sum(-1, keepdims=True) + eps) * (gain + gain_offset)
    return scaled.astype(array.dtype)


def _bias_before_gain(array, gain, bias=None, *, eps, gain_offset=0.0):
    plain = right.layer_norm(array, np.ones_like(gain), bias, eps=eps)
    return (plain * (gain + gain_offset)).astype(array.dtype)


def _both_activated(config, parameters):
    if not config.gated:
        return right.FeedForward(config, parameters)

    def linear(name, array):
        return primitives.linear(array, parameters[f"{name}.kernel"], parameters.get(f"{name}.bias"))

    def call(array):
        branches = (primitives.activate(linear(name, array), config.activation) for name in ("gate", "input"))
        return linear("output", next(branches) * next(branches))

    return call


def _ordered(asked, computed, **names):
    """Return a block of another order, which reads its norms under other names."""

    def change(name):
        found = re.fullmatch(r"(self_attention|cross_attention|feedforward)_(\w+)(\.\w+)", name)
        return f"{found[1]}_{names[found[2]]}{found[3]}" if found and found[2] in names else name

    def build(config, parameters):
        if config.order != asked:
            return right.Block(config, parameters)
        renamed = {change(name): array for name, array in parameters.items()}
        config = replace(config, order=computed, residual="input", self_attention_norm=True)
        return right.Block(config, renamed)

    return build


def _without_input_norms(config, parameters):
    if config.order != "sandwich":
        return right.Block(config, parameters)
    ends = ("self_attention_norm.", "cross_attention_norm.", "feedforward_norm.")
    kept = {name: array for name, array in parameters.items() if not name.startswith(ends)}
    return right.Block(replace(config, order="output"), kept)


def _in_order(*names):
    """Return a block whose sublayers run in another order."""

    class WrongBlock(right.Block):
        @functools.wraps(right.Block.__call__)
        def __call__(self, *arrays, **options):
            self.waiting = []
            return super().__call__(*arrays, **options)

        def _sublayer(self, array, sublayer, name, tap):
            self.waiting.append((sublayer, name))
            if name != "feedforward":
                return array
            for step, its_name in sorted(self.waiting, key=lambda each: names.index(each[1])):
                array = super()._sublayer(array, step, its_name, tap)
            return array

    return WrongBlock


class _MemoryNormalised(right.Block):
    @functools.wraps(right.Block.__call__)
    def __call__(self, array, memory=None, **options):
        if memory is not None and self.config.order != "post" and memory.shape[-1] == array.shape[-1]:
            memory = primitives.normalize(memory, self.config.norm, self.parameters, "cross_attention_norm")
        return super().__call__(array, memory, **options)


_NORMALIZE = primitives.normalize_heads


def _normalizing(wrong):
    return patched(MHA, primitives, "normalize_heads", wrong)


LAYERS: tuple[Mistake, ...] = (
    Mistake("value-input.ignored", MHA, _ValueInputIgnored),
    Mistake("clip.output", MHA, _OutputClipped),
    Mistake("trained-key.zero", MHA, _without_trained("trained_key", "trained_value")),
    Mistake("trained-key.without-value", MHA, _without_trained("trained_value")),
    Mistake("trained-key.counted", MHA, _trained_key_counted),
    Mistake("rotary.values-rotated", MHA, _ValuesRotated),
    Mistake("query-key-norm.one-missing", MHA, _normalizing(_norm_of_queries_alone)),
    Mistake("query-key-norm.of-values", MHA, _ValuesNormalised),
    Mistake("query-key-norm.gain-of-query", MHA, _normalizing(_norm_with_gain_of_query)),
    Mistake("query-key-norm.all-heads", MHA, _normalizing(_norm_of_all_heads)),
    Mistake("distance-bias.replaced", MHA, _BiasInPlaceOfDistance),
    Mistake("alibi.scaled", MHA, _first_alibi_of_falcon),
    Mistake("norm.sum-for-mean", "rms_norm", _rms_norm_of_sums),
    Mistake("norm.bias-before-gain", "layer_norm", _bias_before_gain),
    Mistake("gate.both-activated", "FeedForward", _both_activated),
    Mistake("norm.pre-for-output", "Block", _ordered("output", "pre", output_norm="norm")),
    Mistake("norm.output-for-post", "Block", _ordered("post", "output", norm="output_norm")),
    Mistake("norm.output-for-pre", "Block", _ordered("pre", "output", norm="output_norm")),
    Mistake("norm.input-missing", "Block", _without_input_norms),
    Mistake("block.feedforward-first", "Block", _in_order("feedforward", "self_attention", "cross_attention")),
    Mistake("block.cross-attention-last", "Block", _in_order("self_attention", "feedforward", "cross_attention")),
    Mistake("memory.normalised", "Block", _MemoryNormalised),
)
