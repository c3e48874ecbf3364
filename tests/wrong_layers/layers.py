"""Mistakes in multi-head attention, feed-forward networks and blocks."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import _arrays, multihead, primitives
from attention_ref.spec.config import AttentionConfig, BlockConfig
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


def _without_biases(name, array):
    return np.zeros_like(array) if name.endswith(".bias") and "norm" not in name else array


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


class _CrossKeysNotRotated(right.MultiHeadAttention):
    is_cross = False

    @functools.wraps(right.MultiHeadAttention.__call__)
    def __call__(self, query, key=None, *arrays, **options):
        self.is_cross = key is not None
        return super().__call__(query, key, *arrays, **options)

    def _heads(self, array, name, places):
        return super()._heads(array, name, np.zeros_like(places) if name == "key" and self.is_cross else places)


class _MaskIgnoredBesideLengths(right.MultiHeadAttention):
    @functools.wraps(right.MultiHeadAttention.__call__)
    def __call__(self, *arrays, mask=None, key_lengths=None, **options):
        return super().__call__(*arrays, mask=mask if key_lengths is None else None, key_lengths=key_lengths, **options)


class _MaskOnTheMemory(right.Block):
    @functools.wraps(right.Block.__call__)
    def __call__(self, *arrays, mask=None, memory_mask=None, **options):
        if len(arrays) > 1 and memory_mask is None:
            memory_mask = mask
        return super().__call__(*arrays, mask=mask, memory_mask=memory_mask, **options)


def _windowed_behind_a_cache(change):
    """Change the window of queries that do not stand at 0."""

    def attention(*arrays, window, query_offset, **options):
        is_behind = window is not None and np.any(query_offset > 0)
        return right.attention(
            *arrays, window=change(*window) if is_behind else window, query_offset=query_offset, **options
        )

    return attention


def _crossing_from_0(self, *arrays, query_offset=None, **options):  # noqa: ARG001 - the mistake
    return _ATTEND(self, *arrays, **options)


def _without(left, right):  # noqa: ARG001 - the mistake
    return None


def _one_wider(left, right):
    return (None if left is None else left + 1, right)


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


def _transposed(name, array):
    return array.reshape(array.shape[::-1]).T if name.endswith("output.kernel") else array


def _gate_for_input(config, parameters):
    exchanged = {"gate": "input", "input": "gate"}
    taken = {}
    for name, array in parameters.items():
        scope, _, rest = name.partition(".")
        taken[name] = parameters.get(f"{exchanged.get(scope, scope)}.{rest}", array)
    return right.FeedForward(config, taken)


def _dropping(config, parameters):
    layer = right.FeedForward(config, parameters)

    def call(array):
        output = layer(array)
        kept = np.random.default_rng(0).random(output.shape) >= config.dropout
        return output * kept / (1 - config.dropout)

    return call


def _ordered(taken, order):
    plain = {"order": order, "residual": "input", "self_attention_norm": True}
    return configured("Block", BlockConfig, lambda c: replace(c, **plain) if c.order == taken else c)


def _one_after_the_other(self, array, self_attention, feedforward, tap):
    normal = self._norm(array, "self_attention_norm", tap)
    array = array + self_attention(normal)
    return array + feedforward(normal if self.config.shared_norm else self._norm(array, "feedforward_norm", tap))


def _output_as_post(config, parameters):
    renamed = {name.replace("_output_norm", "_norm"): array for name, array in parameters.items()}
    is_output = config.order == "output"
    return right.Block(replace(config, order="post") if is_output else config, renamed if is_output else parameters)


def _no_norm_without_gain(config, parameters):
    normalize = primitives.normalize

    def wrong(array, norm, *names):
        return normalize(array, norm, *names) if norm.gain else array

    return patched("Block", primitives, "normalize", wrong)(config, parameters)


def _values_backwards(config, parameters):
    """Read the value input from its other end where it has a size of its own."""

    def change(name, array):
        return array[::-1] if name == "value.kernel" and config.value_memory_size else array

    return parametrised(MHA, change)(config, parameters)


def _first_gain(config, parameters):
    def shared(name, array):
        is_gain = name.endswith("_norm.gain") and array.ndim > 1 and config.query_key_norm_heads == "separate"
        return np.broadcast_to(array[:1], array.shape) if is_gain else array

    return parametrised(MHA, shared)(config, parameters)


def _with_norm_heads(config, taken, heads):
    return replace(config, query_key_norm_heads=heads) if config.query_key_norm_heads == taken else config


def _causal_memory(config):
    cross = config.cross_attention
    return config if cross is None else replace(config, cross_attention=replace(cross, causal=True))


MHA = "MultiHeadAttention"
_ATTEND = right.MultiHeadAttention.__call__
BEHIND_A_CACHE = tuple(
    WrongLayer(
        f"The window {mistake} behind a cache",
        "multihead.visibility",
        operation,
        patched(operation, multihead, "attention", _windowed_behind_a_cache(change)),
    )
    for operation in (MHA, "Block", "Transformer")
    for mistake, change in (("is ignored", _without), ("is one place wider", _one_wider))
)


def _attention(**changes):
    return configured(MHA, AttentionConfig, lambda config: replace(config, **changes))


MISTAKES = (
    WrongLayer(
        "The output kernel by sizes, not heads",
        "multihead.formula",
        MHA,
        parametrised(MHA, _heads_last),
        pervasive=True,
    ),
    WrongLayer("Packed in another order", "multihead.formula", MHA, _key_query_value, pervasive=True),
    WrongLayer("No biases", "multihead.biases", MHA, parametrised(MHA, _without_head_biases)),
    WrongLayer("Cross-attention is causal", "multihead.cross", MHA, _causal_across),
    WrongLayer("Value comes before key", "multihead.value", MHA, _value_before_key),
    WrongLayer(
        "Head i reads group i mod g", "multihead.groups", MHA, patched(MHA, _arrays, "_repeat_heads", _tiled_heads)
    ),
    WrongLayer("The scale of m/h", "multihead.sizes", MHA, configured(MHA, AttentionConfig, _scaled_by_model)),
    WrongLayer(
        "Queries and keys not normalised",
        "multihead.query-key-norm",
        MHA,
        _attention(query_key_norm=None, query_key_norm_heads="shared"),
    ),
    WrongLayer("Values read backwards", "multihead.value-memory", MHA, _values_backwards),
    WrongLayer("No trained key", "multihead.trained-key", MHA, _attention(trained_key_value=False)),
    WrongLayer("Nothing is clipped", "multihead.clip", MHA, _attention(clip=None)),
    WrongLayer("No norm without a gain", "norms.no-gain", "Block", _no_norm_without_gain),
    WrongLayer("One gain for all heads", "multihead.norm-separate", MHA, _first_gain),
    WrongLayer(
        "Each head alone",
        "multihead.norm-joint",
        MHA,
        configured(MHA, AttentionConfig, lambda c: _with_norm_heads(c, "joint", "separate")),
    ),
    WrongLayer("No rotation", "multihead.rotary", MHA, _attention(rotary=None)),
    WrongLayer("Keys of cross-attention are not rotated", "multihead.rotary", MHA, _CrossKeysNotRotated),
    WrongLayer("A mask is ignored beside lengths", "multihead.visibility", MHA, _MaskIgnoredBesideLengths),
    *BEHIND_A_CACHE,
    WrongLayer("Given positions are ignored", "multihead.positions", MHA, without(MHA, "positions")),
    WrongLayer(
        "No bias of distance", "multihead.distance", MHA, _attention(alibi=False, alibi_factor=1.0, relative_bias=None)
    ),
    WrongLayer("ALiBi without its factor", "multihead.alibi-factor", MHA, _attention(alibi_factor=1.0)),
    WrongLayer(
        "Positions start again",
        "multihead.cache",
        MHA,
        patched(MHA, multihead, "count_from", _count_from_0),
        pervasive=True,
    ),
    WrongLayer(
        "The output kernel transposed",
        "feedforward.formula",
        "FeedForward",
        parametrised("FeedForward", _transposed),
        pervasive=True,
    ),
    WrongLayer("Gate and input exchanged", "feedforward.gated", "FeedForward", _gate_for_input),
    WrongLayer("No biases", "feedforward.biases", "FeedForward", parametrised("FeedForward", _without_biases)),
    WrongLayer("Dropout outside training", "block.inference", "FeedForward", _dropping),
    WrongLayer("Pre for post", "block.post", "Block", _ordered("post", "pre")),
    WrongLayer("Post for pre", "block.pre", "Block", _ordered("pre", "post")),
    WrongLayer("No second norm", "block.sandwich", "Block", _ordered("sandwich", "pre")),
    WrongLayer("Post for output", "block.output", "Block", _output_as_post),
    WrongLayer(
        "The residual starts at the input",
        "block.residual-norm",
        "Block",
        configured("Block", BlockConfig, lambda config: replace(config, residual="input")),
    ),
    WrongLayer(
        "A norm in every block",
        "block.no-first-norm",
        "Block",
        configured("Block", BlockConfig, lambda config: replace(config, self_attention_norm=True)),
    ),
    WrongLayer(
        "One branch after the other",
        "block.parallel",
        "Block",
        patched("Block", right.Block, "_parallel", _one_after_the_other),
    ),
    WrongLayer(
        "A norm for each branch",
        "block.shared-norm",
        "Block",
        configured("Block", BlockConfig, lambda config: replace(config, shared_norm=False)),
    ),
    WrongLayer("Cross-attention is causal", "block.cross", "Block", configured("Block", BlockConfig, _causal_memory)),
    WrongLayer("The memory's padding is seen", "block.memory-rules", "Block", without("Block", "memory_lengths")),
    WrongLayer("The memory has the mask of the input", "block.memory-rules", "Block", _MaskOnTheMemory),
    WrongLayer(
        "Cross-attention begins at 0 again",
        "block.memory-positions",
        "Block",
        patched("Block", right.MultiHeadAttention, "__call__", _crossing_from_0),
    ),
    WrongLayer(
        "Cross-attention begins at 0 again",
        "block.memory-positions",
        "Transformer",
        patched("Transformer", right.MultiHeadAttention, "__call__", _crossing_from_0),
    ),
    WrongLayer("The memory's mask is ignored", "block.memory-rules", "Block", without("Block", "memory_mask")),
)
