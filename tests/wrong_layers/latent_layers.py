"""Mistakes in latent attention."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import latent, primitives
from attention_ref.spec.config import LatentAttentionConfig, Rotary
from tests.wrong_layers.record import WrongLayer, configured, parametrised, patched

LATENT = "LatentAttention"
_APPENDED, _JOINED = latent.appended, latent._joined
_PAIRS = Rotary(interleaved=True)


def _heads_last(name, array):
    """Read the kernel of the keys as if its axes were (latent,content,h)."""
    rows, heads, size = array.shape if name == "key.kernel" else (1, 1, 1)
    return array.reshape(rows, size, heads).swapaxes(1, 2) if name == "key.kernel" else array


def _not_normalised(array, *names):  # noqa: ARG001 - the mistake
    return array


class _QueryLatentNotNormalised(right.LatentAttention):
    def _latent(self, array, name):
        return self._linear(array, name) if name == "query_latent" else super()._latent(array, name)


class _RotaryKeyNotRotated(right.LatentAttention):
    def _compressed(self, array, places, key_lengths):
        return super()._compressed(array, np.zeros_like(places), key_lengths)


class _RotaryKeyNormalised(right.LatentAttention):
    def _linear(self, array, name, inputs=1):
        result = super()._linear(array, name, inputs)
        gain = np.ones(result.shape[-1:], result.dtype)
        return primitives.rms_norm(result, gain, eps=self.config.norm.eps) if name == "rotary_key" else result


def _key_of_each_head(content, rotated):
    if rotated.shape[1] < content.shape[1]:
        rotated = np.concatenate([np.roll(rotated, head, axis=-1) for head in range(content.shape[1])], axis=1)
    return _JOINED(content, rotated)


class _FirstNumbersRotated(right.LatentAttention):
    def _queries(self, array, places, tap):
        size, heads = self.config.rotary_size, self._not_rotated(array, places)
        turned = right.rotate(heads[..., :size], places, self.config.rotary)
        return np.concatenate([turned, heads[..., size:]], axis=-1)

    def _not_rotated(self, array, places):
        return super()._queries(array, np.zeros_like(places), None)


def _scaled_by(size):
    def change(config):
        return config if config.scale is not None or config.mscale else replace(config, scale=size(config) ** -0.5)

    return configured(LATENT, LatentAttentionConfig, change)


def _mscale_once(self):
    config, scaling = self.config, self.config.rotary.scaling
    if scaling is None or not config.mscale or scaling.factor <= 1:
        return config.scale
    return (0.1 * config.mscale * math.log(scaling.factor) + 1) / math.sqrt(config.sizes.head)


def _mscale_below_1(self):
    config, scaling = self.config, self.config.rotary.scaling
    if scaling is None or not config.mscale:
        return config.scale
    return (0.1 * config.mscale * math.log(scaling.factor) + 1) ** 2 / math.sqrt(config.sizes.head)


def _without_biases(name, array):
    return np.zeros_like(array) if name.endswith(".bias") and "norm" not in name else array


def _normalised_again(operation, cache, new, kind):
    size = cache.latent.shape[-1]
    cached = primitives.rms_norm(cache.latent, np.ones(size, cache.latent.dtype), eps=1e-5)
    return _APPENDED(operation, cache._replace(latent=cached), new, kind)


def _rotated_again(operation, cache, new, kind):
    places = np.arange(cache.key.shape[2])
    return _APPENDED(operation, cache._replace(key=right.rotate(cache.key, places, _PAIRS)), new, kind)


def _count_from_0(offset, length):
    return np.zeros_like(np.asarray(offset))[..., None] + np.arange(length)


MISTAKES = (
    WrongLayer(
        "The key kernel by sizes",
        "latent.formula",
        LATENT,
        parametrised(LATENT, _heads_last),
        pervasive=True,
        slug="projection.head-order",
    ),
    WrongLayer(
        "No norm",
        "latent.norm",
        LATENT,
        patched(LATENT, primitives, "normalize", _not_normalised),
        slug="latent.norm-missing",
    ),
    WrongLayer(
        "The rotary key is normalised", "latent.norm", LATENT, _RotaryKeyNormalised, slug="latent.rotary-key-normalised"
    ),
    WrongLayer(
        "Queries' latent not normalised",
        "latent.query-latent",
        LATENT,
        _QueryLatentNotNormalised,
        slug="latent.query-norm-missing",
    ),
    WrongLayer(
        "The shared key is not rotated",
        "latent.rotary-key",
        LATENT,
        _RotaryKeyNotRotated,
        slug="latent.rotary-key-not-rotated",
    ),
    WrongLayer(
        "A rotary key for each head", "latent.rotary-key", LATENT, patched(LATENT, latent, "_joined", _key_of_each_head)
    ),
    WrongLayer(
        "The first numbers are rotated",
        "latent.rotary-part",
        LATENT,
        _FirstNumbersRotated,
        slug="latent.first-part-rotated",
    ),
    WrongLayer(
        "Halves are paired",
        "latent.rotary-part",
        LATENT,
        configured(LATENT, LatentAttentionConfig, lambda c: replace(c, rotary=replace(c.rotary, interleaved=False))),
        slug="rotary.pairing",
    ),
    WrongLayer(
        "The scale of the content",
        "latent.scale",
        LATENT,
        _scaled_by(lambda config: config.content_size),
        slug="latent.scale-size",
    ),
    WrongLayer(
        "The scale of the rotary part",
        "latent.scale",
        LATENT,
        _scaled_by(lambda config: config.rotary_size),
        slug="latent.scale-size",
    ),
    WrongLayer(
        "The scale of the absorbed form",
        "latent.scale",
        LATENT,
        _scaled_by(lambda config: config.latent_size + config.rotary_size),
        slug="latent.scale-size",
    ),
    WrongLayer(
        "No mscale",
        "latent.mscale",
        LATENT,
        configured(LATENT, LatentAttentionConfig, lambda config: replace(config, mscale=0.0)),
        slug="latent.mscale-missing",
    ),
    WrongLayer(
        "mscale once",
        "latent.mscale",
        LATENT,
        patched(LATENT, right.LatentAttention, "_scale", _mscale_once),
        slug="latent.mscale-once",
    ),
    WrongLayer(
        "mscale of a factor below 1",
        "latent.mscale",
        LATENT,
        patched(LATENT, right.LatentAttention, "_scale", _mscale_below_1),
        slug="latent.mscale-of-small-factors",
    ),
    WrongLayer(
        "No biases", "latent.biases", LATENT, parametrised(LATENT, _without_biases), slug="projection.bias-missing"
    ),
    WrongLayer(
        "Latents normalised again", "latent.cache", LATENT, patched(LATENT, latent, "appended", _normalised_again)
    ),
    WrongLayer("Keys rotated again", "latent.cache", LATENT, patched(LATENT, latent, "appended", _rotated_again)),
    WrongLayer(
        "Positions start again",
        "latent.cache",
        LATENT,
        patched(LATENT, latent, "count_from", _count_from_0),
        slug="rotary.offset",
    ),
)
