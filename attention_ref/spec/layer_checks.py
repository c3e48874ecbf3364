"""The checks of the arguments of layers and models, for the specification and every backend.

A backend passes what it was given and `inspect`, which describes an array of its kind and reads its integers. A size or
a value that is not known before the call runs is None, and is not checked.
"""

from __future__ import annotations

from typing import Any

from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, MixtureConfig
from attention_ref.spec.errors import reject, shape_text
from attention_ref.spec.layer_call import Given, Inspect, LayerCall, agree
from attention_ref.spec.shapes import LARGEST_POSITION, Shape, check_flags, check_tap


def check_multihead(config: AttentionConfig, given: Given, inspect: Inspect) -> None:
    """Check a call of `MultiHeadAttention`.

    Arguments:
        config: the layer's.
        given: `query`, and `key`, `value`, `bias`, `key_lengths`, `positions`, `query_offset`, `cache` and `memory`,
            each None where it is not given; `query.kernel`, the parameter whose dtype the others share.
        inspect: describes an array, and reads it where it holds integers.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    call = LayerCall("MultiHeadAttention", given, inspect)
    call.check_real("query", "key", "value", "bias", "query.kernel")
    call.check_alone("memory", "key", "value", "key_lengths", "cache", because="a memory is attended to as it is")
    call.check_alone("cache", "query_offset", because="queries stand at the end of the cache")
    if call.has("query_offset") and not (call.has("key") or call.has("memory")):
        call.reject("query_offset needs a key or a memory: a query of self-attention stands where its key does", "none")
    batch, length = call.check_sequence("query", config.model)
    source = "key" if call.has("key") else "query"
    if not call.has("memory"):
        length = call.check_sequence(source, config.sizes.memory, batch)[1]
    if call.has("value"):
        expected = (batch, length, config.sizes.value_memory)
        call.check_shape("value", expected, "value must have the shape (b,k,memory)")
    elif not call.has("memory") and config.sizes.value_memory != config.sizes.memory:
        call.reject("a layer whose values have a memory size of their own needs a value", None)
    for name in ("cache", "memory"):
        if call.has(name):
            _check_cache(call, name, config, batch)
    call.check_lengths("key_lengths", batch, length)
    call.check_positions("positions", batch, call.shape("query")[1])
    call.check_integers("query_offset", (), (batch,), least=-LARGEST_POSITION, most=LARGEST_POSITION)


CACHE_PARTS = ("key", "value", "lengths")
"""The parts of a `Cache`."""


def _check_cache(call: LayerCall, name: str, config: AttentionConfig, batch: int | None) -> None:
    """Check keys, values and lengths that an earlier call returned."""
    cache, sizes = call.given[name], config.sizes
    if not all(hasattr(cache, part) for part in CACHE_PARTS):
        call.reject(f"{name} must be the Cache that a layer returned", type(cache).__name__)
    parts = LayerCall(call.operation, {f"{name}.{part}": getattr(cache, part) for part in CACHE_PARTS}, call.inspect)
    for part in parts.missing(f"{name}.{part}" for part in CACHE_PARTS):
        call.reject(f"{name} must be the Cache that a layer returned", f"{part} None")
    parts.check_real(f"{name}.key", f"{name}.value")
    rule = f"{name} must be that of a layer of the same configuration and batch"
    places = parts.check_rank(f"{name}.key", 4)[2]
    parts.check_shape(f"{name}.key", (batch, sizes.groups, places, sizes.head), rule)
    parts.check_shape(f"{name}.value", (batch, sizes.groups, places, sizes.value), rule)
    parts.check_lengths(f"{name}.lengths", batch, places)


def check_feedforward(config: FeedForwardConfig, given: Given, inspect: Inspect) -> None:
    """Check a call of `FeedForward`.

    Arguments:
        config: the layer's.
        given: `array`, and `input.kernel`, the parameter whose dtype it has.
        inspect: as in `check_multihead`.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    _check_places("FeedForward", config.model, "input.kernel", given, inspect)


def check_mixture(config: MixtureConfig, given: Given, inspect: Inspect) -> None:
    """Check a call of `MixtureOfExperts`.

    Arguments:
        config: the layer's.
        given: `array`, and `router.kernel`, the parameter whose dtype it has.
        inspect: as in `check_multihead`.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    _check_places("MixtureOfExperts", config.model, "router.kernel", given, inspect)


def _check_places(operation: str, model: int, kernel: str, given: Given, inspect: Inspect) -> None:
    """Check the call of a layer that computes each place by itself."""
    call = LayerCall(operation, given, inspect)
    call.check_real("array", kernel)
    shape = call.shape("array")
    if not agree(shape[-1:], (model,)):
        call.reject(f"array must have the shape (..., m), here m = {model}", shape_text(shape))


def check_block(config: BlockConfig, given: Given, inspect: Inspect) -> None:
    """Check what a call of `Block` does not hand to its attention layers.

    Arguments:
        config: the block's.
        given: `array`, and `memory`, `memory_mask`, `memory_lengths` and `cache`, each None where it is not given.
        inspect: as in `check_multihead`.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    call = LayerCall("Block", given, inspect)
    call.check_real("array", "memory")
    batch, _ = call.check_sequence("array", config.model)
    cache, crosses = given.get("cache"), config.cross_attention is not None
    if not crosses:
        for name in ("memory", "memory_mask", "memory_lengths"):
            if call.has(name):
                call.reject(f"a block without cross_attention takes no {name}", f"a {name}")
    if cache is not None:
        if not all(hasattr(cache, part) for part in ("self_attention", "cross_attention")):
            call.reject("cache must be the BlockCache that a block returned", type(cache).__name__)
        if cache.self_attention is None:
            call.reject("cache must be the BlockCache that a block returned", "one without self_attention")
        if (cache.cross_attention is None) == crosses:
            received = f"one {'without' if crosses else 'with'} cross_attention"
            call.reject("cache must be that of a block of the same configuration", received)
        call.check_alone("cache", "memory", "memory_lengths", because="a cache holds the memory and its lengths")
    elif config.cross_attention is not None:
        if not call.has("memory"):
            call.reject("a block with cross_attention needs a memory, or a cache that holds it", "neither")
        _, length = call.check_sequence("memory", config.cross_attention.sizes.memory, batch)
        call.check_lengths("memory_lengths", batch, length)


def check_stack(config: StackConfig, cache: Any, return_cache: Any, tap: Any) -> None:
    """Check that a cache of a stack has a part for every block, and what is requested.

    Raises:
        SpecificationError: for a cache of another stack, a flag that is not boolean, and a tap that cannot be called.
    """
    check_flags("Stack", return_cache=return_cache)
    check_tap("Stack", tap)
    if cache is not None and (not isinstance(cache, (tuple, list)) or len(cache) != len(config.blocks)):
        received = f"{len(cache)}" if isinstance(cache, (tuple, list)) else type(cache).__name__
        reject("Stack", f"cache must have one part for each of the {len(config.blocks)} blocks", received)
    for part in cache or ():
        if getattr(part, "self_attention", None) is None:
            reject("Stack", "every part of cache must be the BlockCache that a block returned", type(part).__name__)


def check_embedding(config: EmbeddingConfig, given: Given, inspect: Inspect) -> None:
    """Check the input of an embedding.

    Arguments:
        config: the embedding's.
        given: `source` and, each None where it is not given, `types`.
        inspect: as in `check_multihead`.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    call, patches = LayerCall("Embedding", given, inspect), config.patches
    if config.vocab is None:
        call.check_real("source")
    elif not call.is_integer("source"):
        call.reject("source must be tokens, integers (b,l)", call.dtype("source") if call.has("source") else None)
    batch = call.shape("source")[0] if call.shape("source") else None
    if patches is not None:
        expected: Shape = (batch, patches.height, patches.width, patches.channels)
        call.check_shape("source", expected, "an image must have the shape (b,height,width,channels)")
    elif config.audio is not None:
        call.check_rank("source", 3)
        expected = (batch, call.shape("source")[1], config.audio.channels)
        call.check_shape("source", expected, "sound must have the shape (b,frames,channels)")
    else:
        call.check_rank("source", 2 if config.vocab is not None else 3)
    if call.has("types") and not config.types:
        call.reject("an embedding without types takes none", "types")


def check_places(operation: str, sizes: Shape, given: Given, inspect: Inspect) -> None:
    """Check the arguments with one entry for each position or row: `positions`, `types` and `lengths`.

    Arguments:
        operation: the name to report.
        sizes: b and l, how many places there are in each batch row.
        given: each None where it is not given.
        inspect: as in `check_multihead`.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    call, (batch, length) = LayerCall(operation, given, inspect), sizes
    call.check_positions("positions", batch, length)
    call.check_integers("types", (batch, length))
    call.check_lengths("lengths", batch, length)


def check_model(config: ModelConfig, target: Any, target_lengths: Any, tap: Any) -> None:
    """Check that a target is given to an encoder-decoder, and to no other model, and that a tap can be called.

    Raises:
        SpecificationError: otherwise.
    """
    check_tap("Transformer", tap)
    if config.kind == "encoder-decoder":
        if target is None:
            reject("Transformer", "an encoder-decoder needs a target", None)
        return
    for name, array in (("target", target), ("target_lengths", target_lengths)):
        if array is not None:
            article = "a" if config.kind == "decoder" else "an"
            reject("Transformer", f"{article} {config.kind} alone reads the source and takes no {name}", f"a {name}")


def check_has_stack(config: ModelConfig, name: str) -> None:
    """Check that a model has an `encoder`, or a `decoder`, to be called alone.

    Raises:
        SpecificationError: where it has none.
    """
    if getattr(config, f"{name}_stack") is None:
        reject("Transformer", f"a model without {name}_stack has no {name} to call", config.kind)
