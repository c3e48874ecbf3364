"""What steps of decoding accept: projected memories, caches, and the head that scores the next token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attention_ref.spec.config import AttentionConfig
from attention_ref.spec.errors import reject
from attention_ref.spec.latent_checks import LATENT_CACHE_PARTS
from attention_ref.spec.layer_call import Given, Inspect, LayerCall
from attention_ref.spec.layer_checks import CACHE_PARTS
from attention_ref.spec.shapes import is_integer


def check_projection(config: AttentionConfig, given: Given, inspect: Inspect) -> None:
    """Check a call of `MultiHeadAttention.project_kv`.

    Arguments:
        config: the layer's.
        given: `key`, and `value`, `key_lengths` and `positions`, each None where it is not given; `key.kernel`, the
            parameter whose dtype the others share.
        inspect: as in `check_multihead`.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    call = LayerCall("MultiHeadAttention.project_kv", given, inspect)
    call.check_real("key", "value", "key.kernel")
    batch, length = call.check_sequence("key", config.sizes.memory)
    if call.has("value"):
        call.check_shape("value", (batch, length, config.sizes.memory), "value must have the shape (b,k,memory)")
    call.check_lengths("key_lengths", batch, length)
    call.check_positions("positions", batch, length)


def check_caches(cache: Any, new: Any, inspect: Inspect) -> None:
    """Check a call of `append_to_cache`: two caches of one layer and batch.

    Raises:
        SpecificationError: for anything else.
    """
    for name, given in (("cache", cache), ("new", new)):
        if not all(hasattr(given, part) for part in CACHE_PARTS):
            reject("append_to_cache", f"{name} must be the Cache that a layer returned", type(given).__name__)
    parts = {
        f"{name}.{part}": getattr(given, part)
        for name, given in (("cache", cache), ("new", new))
        for part in CACHE_PARTS
    }
    call = LayerCall("append_to_cache", parts, inspect)
    for part in call.missing(parts):
        call.reject(f"{part} must be given", None)
    call.check_real("cache.key", "cache.value", "new.key", "new.value")
    batch, groups, _, head = call.check_rank("cache.key", 4)
    value = call.check_rank("cache.value", 4)[3]
    for name in ("cache", "new"):
        places = call.check_rank(f"{name}.key", 4)[2]
        rule = "cache and new must be those of a layer of the same configuration and batch"
        call.check_shape(f"{name}.key", (batch, groups, places, head), rule)
        call.check_shape(f"{name}.value", (batch, groups, places, value), rule)
        call.check_lengths(f"{name}.lengths", batch, places)


def check_static(cache: Any, length: Any, inspect: Inspect) -> None:
    """Check a call of `static_cache`: the cache of a layer, and at least as many positions as it has.

    Raises:
        SpecificationError: for anything else.
    """
    names = LATENT_CACHE_PARTS if hasattr(cache, "latent") else CACHE_PARTS
    if not all(getattr(cache, name, None) is not None for name in names):
        rule = "cache must be the Cache or LatentCache that a layer returned"
        reject("static_cache", rule, type(cache).__name__)
    call = LayerCall("static_cache", {f"cache.{name}": getattr(cache, name) for name in names}, inspect)
    arrays = [f"cache.{name}" for name in names if name != "lengths"]
    call.check_real(*arrays)
    batch, heads, places, _ = call.check_rank(arrays[0], 4)
    for name in arrays:
        rule = "the arrays of cache must have the same batch, heads and positions"
        call.check_shape(name, (batch, heads, places, call.check_rank(name, 4)[3]), rule)
    call.check_lengths("cache.lengths", batch, places)
    if not is_integer(length) or (places is not None and length < places):
        call.reject(f"length must be an integer of at least the positions of cache, here {places}", repr(length))


def check_room(operation: str, lengths: Sequence[int] | None, length: int | None) -> None:
    """Check that a static cache of `length` positions has room for new ones.

    Arguments:
        operation: the name to report.
        lengths: how many positions of each batch row would be filled, where they can be read.
        length: how many positions there are.

    Raises:
        SpecificationError: for more positions than there are.
    """
    longest = max(lengths or (), default=0)
    if length is not None and longest > length:
        reject(operation, f"a static cache of {length} positions cannot be filled beyond them", f"{longest} positions")


def check_selection(cache: Any, rows: Any, inspect: Inspect) -> None:
    """Check a call of `Transformer.select`: the cache of a stack, and integers `(r,)` that are rows of it.

    Raises:
        SpecificationError: for anything else.
    """
    lengths = check_stack_cache("Transformer.select", cache)
    call = LayerCall("Transformer.select", {"rows": rows, "lengths": lengths[0]}, inspect)
    if not call.has("rows"):
        call.reject("rows must be given", None)
    (batch,) = call.check_rank("lengths", 1)
    call.check_integers("rows", (*call.check_rank("rows", 1),), least=0, most=None if batch is None else batch - 1)


def check_stack_cache(operation: str, cache: Any) -> list[Any]:
    """Check that a cache is that of a stack; return the lengths of its parts.

    Raises:
        SpecificationError: for anything else.
    """
    parts = [part for block in cache for part in block] if _is_stack_cache(cache) else []
    lengths = [part.lengths for part in parts if hasattr(part, "lengths")]
    if not lengths:
        reject(operation, "cache must be that of a stack", type(cache).__name__)
    return lengths


def _is_stack_cache(cache: Any) -> bool:
    return isinstance(cache, (tuple, list)) and all(isinstance(block, tuple) for block in cache)


def check_head(given: Given, inspect: Inspect) -> None:
    """Check a call of `Head`: `array`, real numbers `(b,l,m)`, and `lengths`, where given.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    call = LayerCall("Head", given, inspect)
    call.check_real("array")
    batch, length, _ = call.check_rank("array", 3)
    call.check_lengths("lengths", batch, length)
