"""Latent attention in named steps, each of which a deviation may replace."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.mixture_formula import MixtureFormula
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.config import LatentAttentionConfig


class LatentFormula(MixtureFormula):
    """Latent attention as specified."""

    def own_attention(self, config: Any, parameters: Parameters, array: Array, **options: Any) -> dict[str, Array]:
        """Apply the self-attention of a block, multi-head or latent."""
        if isinstance(config, LatentAttentionConfig):
            return self.latent_attention(config, parameters, array, **options)
        return super().own_attention(config, parameters, array, **options)

    def latent_attention(
        self,
        config: LatentAttentionConfig,
        parameters: Parameters,
        array: Array,
        *,
        mask: Array | None = None,
        bias: Array | None = None,
        key_lengths: Array | None = None,
        positions: Array | None = None,
    ) -> dict[str, Array]:
        """Compute the output `(b,q,m)` and the weights `(b,h,q,k)`."""
        self.is_cross = False
        places, key_places = self.places(array, array, True, positions, 0)
        source = array
        if config.query_latent_size is not None:
            source = self.latent(array, "query_latent", config, parameters)  # (b,q,latent)
        queries = self.split_heads(self.project(source, parameters, "query"))  # (b,h,q,d)
        latent = self.latent(array, "latent", config, parameters)  # (b,k,latent)
        content = self.split_heads(self.project(latent, parameters, "key"))  # (b,h,k,content)
        rotary_key = self.rotary_key(self.project(array, parameters, "rotary_key")[:, None], key_places, config)
        shared = np.broadcast_to(rotary_key, (*content.shape[:-1], config.rotary_size))  # (b,h,k,rotary)
        results = self.attention(
            self.rotated_part(queries, places, config),
            np.concatenate([content, shared], axis=-1),
            self.split_heads(self.project(latent, parameters, "value")),
            mask=mask,
            bias=bias,
            causal=config.causal,
            query_offset=0,
            key_lengths=key_lengths,
            scale=self.latent_scale(config),
        )
        merged = self.merge_heads(results["output"])  # (b,q,h,v)
        return {**results, "output": self.project(merged, parameters, "output", inputs=2)}

    def latent(self, array: Array, name: str, config: LatentAttentionConfig, parameters: Parameters) -> Array:
        """Project to a latent, and normalise it."""
        return self.latent_norm(self.project(array, parameters, name), name, config, parameters)

    def latent_norm(self, latent: Array, name: str, config: LatentAttentionConfig, parameters: Parameters) -> Array:
        """Normalise a latent."""
        return self.normalize(latent, config.norm, parameters, f"{name}_norm")

    def rotary_key(self, key: Array, places: Array, config: LatentAttentionConfig) -> Array:
        """Rotate the part of the keys that all heads share, `(b,1,k,rotary)`."""
        return self.rotate(key, places, config.rotary)

    def rotated_part(self, queries: Array, places: Array, config: LatentAttentionConfig) -> Array:
        """Rotate the last part of the queries, `(b,h,q,d)`."""
        content, turned = queries[..., : config.content_size], queries[..., config.content_size :]
        return np.concatenate([content, self.rotate(turned, places, config.rotary)], axis=-1)

    def latent_scale(self, config: LatentAttentionConfig) -> float:
        """Return the factor of the scores."""
        scale = config.scale if config.scale is not None else 1 / math.sqrt(self.scaled_size(config))
        return scale * self.mscale_factor(self.mscale_amplitude(config))

    def scaled_size(self, config: LatentAttentionConfig) -> int:
        """Return the size that the default scale is derived from."""
        return config.content_size + config.rotary_size

    def mscale_amplitude(self, config: LatentAttentionConfig) -> float:
        """Return YaRN's factor of queries, or of keys."""
        scaling = config.rotary.scaling
        if scaling is None or not config.mscale or scaling.factor <= 1:
            return 1.0
        return 0.1 * config.mscale * math.log(scaling.factor) + 1

    def mscale_factor(self, amplitude: float) -> float:
        """Return YaRN's factor of the scores."""
        return amplitude * amplitude
