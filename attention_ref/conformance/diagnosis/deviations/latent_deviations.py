"""Common mistakes in latent attention."""

from __future__ import annotations

import math

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation, variant
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.config import LatentAttentionConfig


class LatentNormMissing(Deviation):
    """The latents are not normalised."""

    slug = "latent.norm-missing"
    clause = "latent.norm"
    correction = "normalise both latents, behind their projection and before that to heads"
    names: tuple[str, ...] = ("latent", "query_latent")

    def latent_norm(self, latent: Array, name: str, config: LatentAttentionConfig, parameters: Parameters) -> Array:
        return latent if name in self.names else super().latent_norm(latent, name, config, parameters)


class LatentQueryNormMissing(LatentNormMissing):
    """The latent of queries is not normalised."""

    slug = "latent.query-norm-missing"
    clause = "latent.query-latent"
    names = ("query_latent",)


class LatentRotaryKeyNormalised(Deviation):
    """The rotary part of keys is normalised with the latent's norm, without a gain."""

    slug = "latent.rotary-key-normalised"
    clause = "latent.norm"
    correction = "rotate the projected rotary part as it is"

    def rotary_key(self, key: Array, places: Array, config: LatentAttentionConfig) -> Array:
        root = np.sqrt((key * key).mean(axis=-1, keepdims=True) + config.norm.eps)
        return super().rotary_key(key / root, places, config)


class LatentRotaryKeyNotRotated(Deviation):
    """The rotary part of keys is not rotated."""

    slug = "latent.rotary-key-not-rotated"
    clause = "latent.rotary-key"
    correction = "rotate the shared part of each key by its position"

    def rotary_key(self, key: Array, places: Array, config: LatentAttentionConfig) -> Array:
        return super().rotary_key(key, np.zeros_like(places), config)


class LatentFirstPartRotated(Deviation):
    """The first numbers of queries are rotated, not the last ones."""

    slug = "latent.first-part-rotated"
    clause = "latent.rotary-part"
    correction = "rotate query[..., content_size:]"

    def rotated_part(self, queries: Array, places: Array, config: LatentAttentionConfig) -> Array:
        turned, rest = queries[..., : config.rotary_size], queries[..., config.rotary_size :]
        return np.concatenate([self.rotate(turned, places, config.rotary), rest], axis=-1)


class LatentScaleOfContent(Deviation):
    """The default scale is derived from the content alone."""

    slug = "latent.scale-size"
    clause = "latent.scale"
    correction = "1/sqrt(content_size + rotary_size)"
    field = "content_size"

    def scaled_size(self, config: LatentAttentionConfig) -> int:
        return int(getattr(config, self.field))


class LatentScaleOfAbsorbed(LatentScaleOfContent):
    """The default scale is derived from the latent and the rotary part, the sizes of the absorbed form."""

    def scaled_size(self, config: LatentAttentionConfig) -> int:
        return config.latent_size + config.rotary_size


class LatentMscaleOnce(Deviation):
    """YaRN's mscale multiplies the scores once, not squared."""

    slug = "latent.mscale-once"
    clause = "latent.mscale"
    correction = "(0.1 mscale log(factor) + 1)^2"

    def mscale_factor(self, amplitude: float) -> float:
        return amplitude


class LatentMscaleMissing(LatentMscaleOnce):
    """YaRN's mscale has no effect on the scores."""

    slug = "latent.mscale-missing"

    def mscale_factor(self, amplitude: float) -> float:
        return 1.0


class LatentMscaleOfSmallFactors(LatentMscaleOnce):
    """YaRN's mscale changes the scores for a factor below 1 too."""

    slug = "latent.mscale-of-small-factors"
    correction = "the factor of the scores is 1 where that of the rotary scaling is at most 1"

    def mscale_amplitude(self, config: LatentAttentionConfig) -> float:
        factor = 1.0 if config.rotary.scaling is None else config.rotary.scaling.factor
        return 0.1 * config.mscale * math.log(factor) + 1

    def mscale_factor(self, amplitude: float) -> float:
        return amplitude * amplitude


LATENT: tuple[type[Deviation], ...] = (
    LatentNormMissing,
    LatentQueryNormMissing,
    LatentRotaryKeyNormalised,
    LatentRotaryKeyNotRotated,
    LatentFirstPartRotated,
    LatentScaleOfContent,
    variant(LatentScaleOfContent, "The default scale is derived from the rotary part alone.", field="rotary_size"),
    LatentScaleOfAbsorbed,
    LatentMscaleOnce,
    LatentMscaleMissing,
    LatentMscaleOfSmallFactors,
)
