"""The checks of the arguments of latent attention, for the specification and every backend."""

from __future__ import annotations

from attention_ref.spec.config import LatentAttentionConfig
from attention_ref.spec.layer_call import Given, Inspect, LayerCall

LATENT_CACHE_PARTS = ("latent", "key", "lengths")
"""The parts of a `LatentCache`."""


def check_latent(config: LatentAttentionConfig, given: Given, inspect: Inspect) -> None:
    """Check a call of `LatentAttention`.

    Arguments:
        config: the layer's.
        given: `array`, and `bias`, `key_lengths`, `positions` and `cache`, each None where it is not given;
            `query.kernel`, the parameter whose dtype the others share.
        inspect: describes an array, and reads it where it holds integers.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    call = LayerCall("LatentAttention", given, inspect)
    call.check_real("array", "bias", "query.kernel")
    batch, length = call.check_sequence("array", config.model)
    if call.has("cache"):
        _check_cache(call, config, batch)
    call.check_lengths("key_lengths", batch, length)
    call.check_positions("positions", batch, length)


def _check_cache(call: LayerCall, config: LatentAttentionConfig, batch: int | None) -> None:
    """Check latents, rotated keys and lengths that an earlier call returned."""
    cache = call.given["cache"]
    if not all(hasattr(cache, part) for part in LATENT_CACHE_PARTS):
        call.reject("cache must be the LatentCache that a layer returned", type(cache).__name__)
    given = {f"cache.{part}": getattr(cache, part) for part in LATENT_CACHE_PARTS}
    parts = LayerCall(call.operation, given, call.inspect)
    for part in parts.missing(given):
        call.reject("cache must be the LatentCache that a layer returned", f"{part} None")
    parts.check_real("cache.latent", "cache.key")
    rule = "cache must be that of a layer of the same configuration and batch"
    places = parts.check_rank("cache.latent", 4)[2]
    parts.check_shape("cache.latent", (batch, 1, places, config.latent_size), rule)
    parts.check_shape("cache.key", (batch, 1, places, config.rotary_size), rule)
    parts.check_lengths("cache.lengths", batch, places)
