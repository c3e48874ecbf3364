"""Mistakes in multi-head attention."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import _arrays, multihead
from attention_ref.spec.config import AttentionConfig
from tests.wrong_layers.record import WrongLayer, configured, parametrised, patched, without


def _heads_last(name, array):
    """Read the output kernel as if its axes were (v,h,m)."""
    heads, size, model = array.shape if name == "output.kernel" else (1, 1, 1)
    return array.reshape(size, heads, model).swapaxes(0, 1) if name == "output.kernel" else array


def _key_query_value(config, parameters):
    """Read packed projections in the order key, query, value."""
    exchanged = {"query": "key", "key": "query"}
    taken = {}
    for name, array in parameters.items():
        scope, _, rest = name.partition(".")
        other = parameters.get(f"{exchanged.get(scope, scope)}.{rest}")
        taken[name] = other if other is not None and other.shape == array.shape else array
    return right.MultiHeadAttention(config, taken)


def _without_head_biases(name, array):
    return np.zeros_like(array) if name in {f"{part}.bias" for part in ("query", "key", "value", "output")} else array


def _causal_across(config, parameters):
    alone = right.MultiHeadAttention(config, parameters)
    across = right.MultiHeadAttention(replace(config, causal=True), parameters)

    def layer(query, key=None, value=None, **options):
        return (alone if key is None else across)(query, key, value, **options)

    def call(
        query,
        key=None,
        value=None,
        *,
        mask=None,
        bias=None,
        key_lengths=None,
        positions=None,
        cache=None,
        return_weights=False,
        return_cache=False,
    ):
        return layer(
            query,
            key,
            value,
            mask=mask,
            bias=bias,
            key_lengths=key_lengths,
            positions=positions,
            cache=cache,
            return_weights=return_weights,
            return_cache=return_cache,
        )

    return call


def _value_before_key(config, parameters):
    layer = right.MultiHeadAttention(config, parameters)

    def call(
        query,
        value=None,
        key=None,
        *,
        mask=None,
        bias=None,
        key_lengths=None,
        positions=None,
        cache=None,
        return_weights=False,
        return_cache=False,
    ):
        arrays = (query, value) if key is None else (query, key, value)
        if config.value_memory_size is not None:  # exchanged, they would be refused
            arrays = (query, value, key)
        return layer(
            *arrays,
            mask=mask,
            bias=bias,
            key_lengths=key_lengths,
            positions=positions,
            cache=cache,
            return_weights=return_weights,
            return_cache=return_cache,
        )

    return call


def _tiled_heads(arrays):
    repeats = arrays["query"].shape[-3] // arrays["key"].shape[-3]
    for name in ("key", "value"):
        arrays[name] = np.concatenate([arrays[name]] * repeats, axis=-3)


def _scaled_by_model(config):
    if config.scale is None and config.head_size is not None:
        return replace(config, scale=(config.model / config.heads) ** -0.5)
    return config


def _count_from_0(offsets, length):
    return np.zeros_like(np.asarray(offsets))[..., None] + np.arange(length)


class _ValuesOfKeyInput(right.MultiHeadAttention):
    """Cut the value input out of the key input where it has a size of its own."""

    def _project_kv(self, key, value, **options):
        size = self.config.value_memory_size
        return super()._project_kv(key, value if size is None else key[..., :size], **options)


def _first_gain(config, parameters):
    def shared(name, array):
        is_gain = name.endswith("_norm.gain") and array.ndim > 1 and config.query_key_norm_heads == "separate"
        return np.broadcast_to(array[:1], array.shape) if is_gain else array

    return parametrised(MHA, shared)(config, parameters)


def _with_norm_heads(config, taken, heads):
    return replace(config, query_key_norm_heads=heads) if config.query_key_norm_heads == taken else config


def _attention(**changes):
    return configured(MHA, AttentionConfig, lambda config: replace(config, **changes))


MHA = "MultiHeadAttention"


MISTAKES = (
    WrongLayer(
        "The output kernel by sizes, not heads",
        "multihead.formula",
        MHA,
        parametrised(MHA, _heads_last),
        pervasive=True,
        slug="projection.head-order",
    ),
    WrongLayer(
        "Packed in another order",
        "multihead.formula",
        MHA,
        _key_query_value,
        pervasive=True,
        slug="projection.packed-order",
    ),
    WrongLayer(
        "No biases", "multihead.biases", MHA, parametrised(MHA, _without_head_biases), slug="projection.bias-missing"
    ),
    WrongLayer("Cross-attention is causal", "multihead.cross", MHA, _causal_across, slug="cross-attention.causal"),
    WrongLayer("Value comes before key", "multihead.value", MHA, _value_before_key, slug="value.before-key"),
    WrongLayer(
        "Head i reads group i mod g",
        "multihead.groups",
        MHA,
        patched(MHA, _arrays, "_repeat_heads", _tiled_heads),
        slug="heads.tiled",
    ),
    WrongLayer(
        "The scale of m/h",
        "multihead.sizes",
        MHA,
        configured(MHA, AttentionConfig, _scaled_by_model),
        slug="scale.model-over-heads",
    ),
    WrongLayer(
        "Queries and keys not normalised",
        "multihead.query-key-norm",
        MHA,
        _attention(query_key_norm=None, query_key_norm_heads="shared"),
        slug="query-key-norm.missing",
    ),
    WrongLayer(
        "Values from the key input", "multihead.value-memory", MHA, _ValuesOfKeyInput, slug="value-input.ignored"
    ),
    WrongLayer(
        "No trained key", "multihead.trained-key", MHA, _attention(trained_key_value=False), slug="trained-key.missing"
    ),
    WrongLayer("Nothing is clipped", "multihead.clip", MHA, _attention(clip=None), slug="clip.missing"),
    WrongLayer("One gain for all heads", "multihead.norm-separate", MHA, _first_gain, slug="query-key-norm.first-gain"),
    WrongLayer(
        "Each head alone",
        "multihead.norm-joint",
        MHA,
        configured(MHA, AttentionConfig, lambda c: _with_norm_heads(c, "joint", "separate")),
        slug="query-key-norm.each-head",
    ),
    WrongLayer("No rotation", "multihead.rotary", MHA, _attention(rotary=None), slug="rotary.missing"),
    WrongLayer(
        "Given positions are ignored", "multihead.positions", MHA, without(MHA, "positions"), slug="positions.ignored"
    ),
    WrongLayer(
        "No bias of distance",
        "multihead.distance",
        MHA,
        _attention(alibi=False, alibi_factor=1.0, relative_bias=None),
        slug="distance-bias.missing",
    ),
    WrongLayer(
        "ALiBi without its factor",
        "multihead.alibi-factor",
        MHA,
        _attention(alibi_factor=1.0),
        slug="alibi.factor-missing",
    ),
    WrongLayer(
        "Positions start again",
        "multihead.cache",
        MHA,
        patched(MHA, multihead, "count_from", _count_from_0),
        pervasive=True,
        slug="rotary.offset",
    ),
)
