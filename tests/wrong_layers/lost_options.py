"""Options that layers lose: behind a cache, beside other options, for one query, inside blocks and models."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import embedding, multihead, primitives
from tests.wrong_layers.record import WrongLayer, patched


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


def _causal_for_many_queries(query, *arrays, causal=False, **options):
    return right.attention(query, *arrays, causal=causal and query.shape[-2] > 1, **options)


class _MaskWithoutLengths(right.Block):
    @functools.wraps(right.Block.__call__)
    def __call__(self, *arrays, mask=None, key_lengths=None, **options):
        return super().__call__(*arrays, mask=mask if key_lengths is None else None, key_lengths=key_lengths, **options)


def _mask_of_first_head(*arrays, mask=None, **options):
    first = mask if mask is None or np.ndim(mask) < 3 else np.asarray(mask)[..., :1, :, :]
    return right.attention(*arrays, mask=first, **options)


class _BiasOfFirstHead(right.Block):
    @functools.wraps(right.Block.__call__)
    def __call__(self, *arrays, bias=None, **options):
        first = bias if bias is None or bias.ndim < 3 else bias[..., :1, :, :]
        return super().__call__(*arrays, bias=first, **options)


def _lost(name):
    """Return attention without one of its options."""

    def attention(*arrays, **options):
        return right.attention(*arrays, **{**options, name: None})

    return attention


def _heads_without_offset(array, config, heads, parameters, name):
    return _NORMALIZE(array, replace(config, gain_offset=0.0), heads, parameters, name)


def _memory_from_0(self, key, value=None, *, key_lengths=None, positions=None):
    places = np.zeros(key.shape[1], np.int64) if positions is None else positions
    return _PROJECT(self, key, value, key_lengths=key_lengths, positions=places)


def _one_norm_for_both(self, array, self_attention, feedforward, tap):
    normal = self._norm(array, "self_attention_norm", tap)
    return array + self_attention(normal) + feedforward(normal)


def _skipped_from_0(self, source, positions, offsets, length):
    is_skipping = self.config.positions_skip is not None
    return _PLACES(self, source, positions, np.zeros_like(np.asarray(offsets)) if is_skipping else offsets, length)


MHA, BLOCK, MODEL = "MultiHeadAttention", "Block", "Transformer"
_ATTEND = right.MultiHeadAttention.__call__
_PROJECT = right.MultiHeadAttention.project_kv
_NORMALIZE = primitives.normalize_heads
_PLACES = embedding.Embedding._places
BEHIND_A_CACHE = tuple(
    WrongLayer(
        f"The window {mistake} behind a cache",
        "multihead.visibility",
        operation,
        patched(operation, multihead, "attention", _windowed_behind_a_cache(change)),
        slug=slug,
    )
    for operation in (MHA, "Block", "Transformer")
    for mistake, change, slug in (
        ("is ignored", _without, "window.ignored-behind-cache"),
        ("is one place wider", _one_wider, "window.wider-behind-cache"),
    )
)

MISTAKES = (
    WrongLayer(
        "Keys of cross-attention are not rotated",
        "multihead.rotary",
        MHA,
        _CrossKeysNotRotated,
        slug="rotary.cross-keys-not-rotated",
    ),
    WrongLayer(
        "A mask is ignored beside lengths",
        "multihead.visibility",
        MHA,
        _MaskIgnoredBesideLengths,
        slug="mask.ignored-beside-lengths",
    ),
    *BEHIND_A_CACHE,
    WrongLayer(
        "Cross-attention begins at 0 again",
        "block.memory-positions",
        "Block",
        patched("Block", right.MultiHeadAttention, "__call__", _crossing_from_0),
        slug="cross-attention.offset-ignored",
    ),
    WrongLayer(
        "Cross-attention begins at 0 again",
        "block.memory-positions",
        "Transformer",
        patched("Transformer", right.MultiHeadAttention, "__call__", _crossing_from_0),
        slug="cross-attention.offset-ignored",
    ),
    WrongLayer(
        "Causal is ignored for one query",
        "attention.causal",
        MHA,
        patched(MHA, multihead, "attention", _causal_for_many_queries),
        slug="causal.ignored-for-one-query",
    ),
    WrongLayer(
        "Causal is ignored for one query",
        "attention.causal",
        BLOCK,
        patched(BLOCK, multihead, "attention", _causal_for_many_queries),
        slug="causal.ignored-for-one-query",
    ),
    WrongLayer(
        "Causal is ignored for one query",
        "attention.causal",
        MODEL,
        patched(MODEL, multihead, "attention", _causal_for_many_queries),
        slug="causal.ignored-for-one-query",
    ),
    WrongLayer(
        "A mask is ignored beside lengths",
        "multihead.visibility",
        BLOCK,
        _MaskWithoutLengths,
        slug="mask.ignored-beside-lengths",
    ),
    WrongLayer(
        "All heads have the mask of the first",
        "attention.mask",
        BLOCK,
        patched(BLOCK, multihead, "attention", _mask_of_first_head),
        slug="mask.of-first-head",
    ),
    WrongLayer(
        "All heads have the mask of the first",
        "attention.mask",
        MODEL,
        patched(MODEL, multihead, "attention", _mask_of_first_head),
        slug="mask.of-first-head",
    ),
    WrongLayer(
        "All heads have the bias of the first",
        "attention.bias",
        BLOCK,
        _BiasOfFirstHead,
        slug="bias.of-first-head",
    ),
    WrongLayer(
        "The softcap is lost",
        "attention.softcap",
        BLOCK,
        patched(BLOCK, multihead, "attention", _lost("softcap")),
        slug="softcap.ignored",
    ),
    WrongLayer(
        "The softcap is lost",
        "attention.softcap",
        MODEL,
        patched(MODEL, multihead, "attention", _lost("softcap")),
        slug="softcap.ignored",
    ),
    WrongLayer(
        "The sinks are lost",
        "attention.sinks",
        BLOCK,
        patched(BLOCK, multihead, "attention", _lost("sinks")),
        slug="sinks.ignored",
    ),
    WrongLayer(
        "The sinks are lost",
        "attention.sinks",
        MODEL,
        patched(MODEL, multihead, "attention", _lost("sinks")),
        slug="sinks.ignored",
    ),
    WrongLayer(
        "The scale is lost",
        "attention.scale",
        BLOCK,
        patched(BLOCK, multihead, "attention", _lost("scale")),
        slug="scale.ignored",
    ),
    WrongLayer(
        "The scale is lost",
        "attention.scale",
        MODEL,
        patched(MODEL, multihead, "attention", _lost("scale")),
        slug="scale.ignored",
    ),
    WrongLayer(
        "Gains of heads without their offset",
        "norms.gain-offset",
        MHA,
        patched(MHA, primitives, "normalize_heads", _heads_without_offset),
        slug="query-key-norm.gain-offset-ignored",
    ),
    WrongLayer(
        "Gains of heads without their offset",
        "norms.gain-offset",
        BLOCK,
        patched(BLOCK, primitives, "normalize_heads", _heads_without_offset),
        slug="query-key-norm.gain-offset-ignored",
    ),
    WrongLayer(
        "Keys of the memory are not rotated",
        "multihead.rotary",
        BLOCK,
        patched(BLOCK, right.MultiHeadAttention, "project_kv", _memory_from_0),
        slug="rotary.cross-keys-not-rotated",
    ),
    WrongLayer(
        "One norm for both branches",
        "block.parallel",
        BLOCK,
        patched(BLOCK, right.Block, "_parallel", _one_norm_for_both),
        slug="norm.shared",
    ),
    WrongLayer(
        "One norm for both branches",
        "block.parallel",
        MODEL,
        patched(MODEL, right.Block, "_parallel", _one_norm_for_both),
        slug="norm.shared",
    ),
    WrongLayer(
        "Positions that skip tokens begin again",
        "positions.skip",
        MODEL,
        patched(MODEL, embedding.Embedding, "_places", _skipped_from_0),
        slug="position.restarted",
    ),
)
