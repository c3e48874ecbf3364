"""Invalid arguments of a layer are rejected with the message of the specification, in every backend.

Every case changes one good call. The specification and the backend say the same, and name what was received.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from attention_ref import spec, weights
from attention_ref.conformance import room as subject_of
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.spec.arrays import Array
from attention_ref.spec.block import Block, BlockCache
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig
from attention_ref.spec.experts import MixtureOfExperts
from attention_ref.spec.feedforward import FeedForward
from attention_ref.spec.model import Transformer
from attention_ref.spec.multihead import Cache, MultiHeadAttention
from attention_ref.spec.operations import OPERATIONS

B, Q, K, M = 2, 3, 4, 8
ATTENTION = AttentionConfig(model=M, heads=2, kv_heads=1)
BLOCK = BlockConfig(
    attention=replace(ATTENTION, causal=True),
    feedforward=FeedForwardConfig(model=M, hidden=4, activation="gelu"),
    norm=spec.Norm("layer", eps=1e-5),
    order="pre",
)
CROSS = replace(BLOCK, cross_attention=ATTENTION)
SIZES: dict[str, Any] = {"vocab": 5, "model": M, "heads": 2, "layers": 1, "feedforward": 4}
ENCODER, DECODER = spec.ModelConfig.encoder(**SIZES), spec.ModelConfig.decoder(**SIZES)
PAIR = spec.ModelConfig.encoder_decoder(**SIZES)
TYPED = replace(
    ENCODER,
    encoder_stack=replace(ENCODER.encoder_stack, embedding=replace(ENCODER.encoder_stack.embedding, types=2)),
)
IMAGES = replace(
    ENCODER,
    encoder_stack=replace(
        ENCODER.encoder_stack,
        embedding=spec.EmbeddingConfig(patches=spec.Patches(size=4, height=4, width=8, channels=1)),
    ),
)
SOUND = replace(
    ENCODER, encoder_stack=replace(ENCODER.encoder_stack, embedding=spec.EmbeddingConfig(audio=spec.Audio(channels=3)))
)
LEARNED = spec.ModelConfig.decoder(**SIZES, positions=spec.Learned(length=4, offset=2))
VECTORS = replace(
    ENCODER, encoder_stack=replace(ENCODER.encoder_stack, embedding=spec.EmbeddingConfig(positions=spec.Sinusoid()))
)
MIXTURE = spec.MixtureConfig(expert=BLOCK.feedforward, experts=2, chosen=1)
LAYERS = {"MultiHeadAttention": MultiHeadAttention, "FeedForward": FeedForward, "Block": Block} | {
    "MixtureOfExperts": MixtureOfExperts,
    "Transformer": Transformer,
}
CAST = ("another dtype", "complex")
"""Arrays that a Keras layer casts to the dtype of its policy before the call."""


def reals(*shape: int) -> np.ndarray:
    return np.linspace(-1, 1, int(np.prod(shape))).reshape(shape)


def cache(length: int = 2, heads: int = 1, size: int = 4, lengths: Any = (2, 1)) -> Cache:
    return Cache(reals(B, heads, length, size), reals(B, heads, length, size), np.array(lengths))


class Bad(NamedTuple):
    """A call that must be refused, and what the message says was received."""

    operation: str
    config: Any
    given: dict[str, Any]
    received: str


def attending(received: str, **given: Any) -> Bad:
    return Bad("MultiHeadAttention", ATTENTION, {"query": reals(B, Q, M), **given}, received)


def fed(received: str, array: Any) -> Bad:
    return Bad("FeedForward", BLOCK.feedforward, {"array": array}, received)


def routed(received: str, array: Any) -> Bad:
    return Bad("MixtureOfExperts", MIXTURE, {"array": array}, received)


def blocked(config: BlockConfig, received: str, **given: Any) -> Bad:
    return Bad("Block", config, {"array": reals(B, Q, M), **given}, received)


def modelled(config: spec.ModelConfig, received: str, **given: Any) -> Bad:
    return Bad("Transformer", config, {"source": np.ones((B, Q), int), **given}, received)


KEY, MEMORY = reals(B, K, M), reals(B, K, M)
OWN_CACHE = BlockCache(cache(), None)
CROSS_CACHE = BlockCache(cache(), cache())

BAD: dict[str, Bad] = {
    "no query": attending("None", query=None),
    "query of text": attending("str", query="text"),
    "ragged query": attending("list", query=[[[1.0, 2.0], [1.0]]]),
    "integer query": attending("int64", query=np.ones((B, Q, M), int)),
    "boolean query": attending("bool", query=np.ones((B, Q, M), bool)),
    "complex query": attending("complex128", query=np.ones((B, Q, M), complex)),
    "query of another dtype": attending("float32 and float64", query=reals(B, Q, M).astype("float32")),
    "key of another dtype": attending("float64 and float32", key=reals(B, K, M).astype("float32")),
    "integer value": attending("int64", key=KEY, value=np.ones((B, K, M), int)),
    "boolean bias": attending("bool", bias=np.ones((Q, Q), bool)),
    "query of rank 4": attending("(2, 3, 8, 1)", query=reals(B, Q, M, 1)),
    "no array for a feed-forward network": fed("None", None),
    "an array of another size": fed("(2, 3, 6)", reals(B, Q, 6)),
    "a single number": fed("()", reals()),
    "an integer array": fed("int64", np.ones((B, Q, M), int)),
    "no array for a mixture of experts": routed("None", None),
    "tokens of another size": routed("(2, 3, 6)", reals(B, Q, 6)),
    "integer tokens": routed("int64", np.ones((B, Q, M), int)),
    "an array of another dtype": fed("float32 and float64", reals(B, Q, M).astype("float32")),
    "no array for a block": blocked(BLOCK, "None", array=None),
    "an integer array for a block": blocked(BLOCK, "int64", array=np.ones((B, Q, M), int)),
    "an array of rank 2 for a block": blocked(BLOCK, "(3, 8)", array=reals(Q, M)),
    "an integer memory": blocked(CROSS, "int64", memory=np.ones((B, K, M), int)),
    "query of rank 2": attending("(3, 8)", query=reals(Q, M)),
    "query of another size": attending("query (2, 3, 6)", query=reals(B, Q, 6)),
    "key of another batch": attending("key (3, 4, 8)", key=reals(3, K, M)),
    "value of another length": attending("value (2, 3, 8)", key=KEY, value=reals(B, Q, M)),
    "bias of another dtype": attending("float64 and float32", bias=reals(Q, Q).astype("float32")),
    "lengths beyond the new keys": attending("5", key_lengths=np.array([5, 1])),
    "lengths beyond the new keys behind a cache": attending("5", key_lengths=np.array([5, 1]), cache=cache()),
    "negative lengths": attending("-1", key_lengths=np.array([1, -1]), cache=cache()),
    "float lengths": attending("float64", key_lengths=np.array([1.0, 2.0])),
    "one length for all rows": attending("()", key_lengths=np.array(2)),
    "a cache filled beyond its places": attending("3", cache=cache(lengths=(3, 1))),
    "a cache of negative lengths": attending("-2", cache=cache(lengths=(1, -2))),
    "a cache of other heads": attending("cache.key (2, 2, 2, 4)", cache=cache(heads=2)),
    "a cache of another head size": attending("cache.key (2, 1, 2, 3)", cache=cache(size=3)),
    "the cache of a block": attending("BlockCache", cache=OWN_CACHE),
    "a memory beside a key": attending("both", key=KEY, memory=cache()),
    "a memory beside a cache": attending("both", cache=cache(), memory=cache()),
    "a memory beside lengths": attending("both", key_lengths=np.array([1, 1]), memory=cache()),
    "positions of another length": attending("(2,)", positions=np.array([0, 1])),
    "positions past 32 bits": attending(str(2**31), positions=np.array([0, 1, 2**31])),
    "an offset beside a cache": attending("both", key=KEY, query_offset=np.array([1, 1]), cache=cache()),
    "an offset in self-attention": attending("none", query_offset=np.array([1, 1])),
    "an offset past 32 bits": attending(str(2**31), key=KEY, query_offset=np.array([0, 2**31])),
    "a memory without cross-attention": blocked(BLOCK, "a memory", memory=MEMORY),
    "a memory's mask without cross-attention": blocked(BLOCK, "a memory_mask", memory_mask=np.ones((Q, K), bool)),
    "a memory's lengths without cross-attention": blocked(BLOCK, "a memory_lengths", memory_lengths=np.array([1, 1])),
    "no memory": blocked(CROSS, "neither"),
    "a memory of another size": blocked(CROSS, "memory (2, 4, 6)", memory=reals(B, K, 6)),
    "lengths beyond the memory": blocked(CROSS, "5", memory=MEMORY, memory_lengths=np.array([5, 1])),
    "a memory beside a block's cache": blocked(CROSS, "both", memory=MEMORY, cache=CROSS_CACHE),
    "a memory's lengths beside a cache": blocked(CROSS, "both", memory_lengths=np.array([1, 1]), cache=CROSS_CACHE),
    "a cache without cross-attention": blocked(CROSS, "one without cross_attention", cache=OWN_CACHE),
    "a cache with cross-attention": blocked(BLOCK, "one with cross_attention", cache=CROSS_CACHE),
    "the cache of a layer": blocked(BLOCK, "Cache", cache=cache()),
    "a target of a decoder": modelled(DECODER, "a target", target=np.ones((B, Q), int)),
    "lengths of a decoder's target": modelled(DECODER, "a target_lengths", target_lengths=np.array([1, 1])),
    "a target of an encoder": modelled(ENCODER, "a target", target=np.ones((B, Q), int)),
    "an encoder-decoder without a target": modelled(PAIR, "None"),
    "types where there are none": modelled(ENCODER, "types", types=np.zeros((B, Q), int)),
    "types of another length": modelled(TYPED, "(2, 2)", types=np.zeros((B, 2), int)),
    "types beyond their table": modelled(TYPED, "2", types=np.full((B, Q), 2)),
    "tokens of rank 1": modelled(ENCODER, "(3,)", source=np.ones(Q, int)),
    "tokens of rank 3": modelled(ENCODER, "(2, 3, 1)", source=np.ones((B, Q, 1), int)),
    "lengths beyond the tokens": modelled(ENCODER, "4", lengths=np.array([4, 1])),
    "no source": modelled(ENCODER, "None", source=None),
    "tokens of text": modelled(ENCODER, "list", source=[["a", "b"]]),
    "tokens of rank 0": modelled(ENCODER, "()", source=np.ones((), int)),
    "float tokens": modelled(ENCODER, "float64", source=np.ones((B, Q))),
    "boolean tokens": modelled(ENCODER, "bool", source=np.ones((B, Q), bool)),
    "a token past the vocabulary": modelled(ENCODER, "5", source=np.full((B, Q), 5)),
    "a negative token": modelled(ENCODER, "-1", source=np.full((B, Q), -1)),
    "more tokens than learned positions": modelled(LEARNED, "4", source=np.ones((B, 5), int)),
    "a position before the learned ones": modelled(LEARNED, "-3", positions=np.array([0, -3, 1])),
    "integer vectors": modelled(VECTORS, "int64", source=np.ones((B, Q, M), int)),
    "vectors of rank 2": modelled(VECTORS, "(3, 8)", source=reals(Q, M)),
    "an integer image": modelled(IMAGES, "int64", source=np.ones((B, 4, 8, 1), int)),
    "an image on its side": modelled(IMAGES, "source (2, 8, 4, 1)", source=reals(B, 8, 4, 1)),
    "an image with other channels": modelled(IMAGES, "source (2, 4, 8, 3)", source=reals(B, 4, 8, 3)),
    "sound with other channels": modelled(SOUND, "source (2, 6, 2)", source=reals(B, 6, 2)),
}


def converted(item: Any, make: Callable[[np.ndarray], Any]) -> Any:
    if isinstance(item, tuple):
        return type(item)(*(converted(part, make) for part in item))
    return make(item) if isinstance(item, np.ndarray) else item


def of_spec(array: np.ndarray) -> Array:
    kinds = {"f": "real", "b": "bool", "i": "integer"}
    return Array(array.shape, array.ravel().tolist(), kinds[array.dtype.kind])


def arguments(case: Bad, make: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    return {name: converted(item, make) for name, item in case.given.items()}


def layer(room: ModuleType, arrays: Framework, operation: str, config: Any) -> Any:
    build = subject_of(room, room.__name__.rpartition(".")[-1], "").operations[operation]
    return build(config, {name: arrays.make(array, "float64") for name, array in weights.init(config).items()})


@pytest.mark.parametrize("name", BAD)
def test_a_layer_says_what_the_specification_says(name: str, room: ModuleType, room_arrays: Framework) -> None:
    case = BAD[name]
    if any(word in name for word in CAST) and room.__name__.endswith("keras"):
        pytest.skip("a Keras layer casts what it is given to the dtype of its policy")
    if name == "tokens of text" and room.__name__.endswith("keras"):
        pytest.skip("Keras itself refuses text in a call of a layer")

    def make(array: np.ndarray) -> Any:
        kinds = {"b": "bool", "i": "int64"}
        return room_arrays.make(array, kinds.get(array.dtype.kind, array.dtype.name))

    with pytest.raises(spec.SpecificationError) as error:
        layer(room, room_arrays, case.operation, case.config)(**arguments(case, make))
    text = str(error.value)
    assert text.splitlines()[1] == f"  received {case.received}"
    assert text.partition(":")[0] in {*OPERATIONS, "Embedding"}
    if any(word in name for word in CAST):
        return  # the specification has one type of real numbers
    tensors = {name: spec.as_array(array.tolist()) for name, array in weights.init(case.config).items()}
    with pytest.raises(spec.SpecificationError) as expected:
        LAYERS[case.operation](case.config, tensors)(**arguments(case, of_spec))
    assert text == str(expected.value).replace("received real", "received float64")


def test_positions_past_their_table_are_named(room: ModuleType, room_arrays: Framework) -> None:
    tokens = room_arrays.make(np.ones((B, 5), int), "int64")
    with pytest.raises(spec.SpecificationError, match="Embedding: positions must lie between -2 and 3,"):
        layer(room, room_arrays, "Transformer", LEARNED)(tokens)


@pytest.mark.parametrize(
    ("change", "received"),
    [
        ({"query.kernel": np.ones((M, 2, 4), int)}, "int64"),
        ({"output.bias": np.ones(M, bool)}, "bool"),
        ({"query.kernel": np.ones((M, 2, 4), complex)}, "complex128"),
        ({"output.bias": np.ones(M, np.float16)}, "float32 and, for output.bias, float16"),
        ({"output.bias": [0.0] * M}, "list"),
        ({"output.bias": None}, "NoneType"),
    ],
    ids=str,
)
def test_parameters_are_real_arrays_of_one_dtype(room: ModuleType, change: dict[str, Any], received: str) -> None:
    with pytest.raises(spec.SpecificationError) as error:
        room.MultiHeadAttention(ATTENTION, weights.init(ATTENTION) | change)
    assert str(error.value).startswith("MultiHeadAttention: ")
    assert f"received {received}" in str(error.value)


@pytest.mark.parametrize("config", [None, {}, BLOCK, "text"], ids=str)
def test_a_layer_is_made_of_its_own_configuration(room: ModuleType, config: Any) -> None:
    with pytest.raises(spec.SpecificationError) as error:
        room.MultiHeadAttention(config, weights.init(ATTENTION))
    assert "MultiHeadAttention: the configuration must be of the type AttentionConfig" in str(error.value)


def test_a_stack_refuses_the_cache_of_another_depth(room: ModuleType, room_arrays: Framework) -> None:
    deep = replace(DECODER, decoder_stack=replace(DECODER.decoder_stack, blocks=DECODER.decoder_stack.blocks * 2))
    tokens = room_arrays.make(np.ones((B, Q), int), "int64")
    _, kept = layer(room, room_arrays, "Transformer", deep).decode(tokens, return_cache=True)
    with pytest.raises(spec.SpecificationError, match="cache must have one part for each of the 1 blocks"):
        layer(room, room_arrays, "Transformer", DECODER).decode(tokens, cache=kept)


def test_positions_beside_a_cache_count_what_a_cache_does_not_hold(room: ModuleType, room_arrays: Framework) -> None:
    embedding = replace(
        DECODER.decoder_stack.embedding, positions=spec.Learned(length=9, offset=2), positions_skip=1, scale=1.0
    )
    model = layer(
        room,
        room_arrays,
        "Transformer",
        replace(DECODER, decoder_stack=replace(DECODER.decoder_stack, embedding=embedding)),
    )
    tokens = room_arrays.make(np.array([[2, 1, 3], [4, 0, 2]]), "int64")
    whole = room_arrays.read(model(tokens))
    places = room_arrays.make(np.array([[0, -1, 1], [0, 1, 2]]), "int64")
    _, kept = model.decode(tokens[:, :2], positions=places[:, :2], return_cache=True)
    array, _ = model.decode(tokens[:, 2:], cache=kept, positions=places[:, 2:], return_cache=True)
    np.testing.assert_allclose(room_arrays.read(model.read(array)), whole[:, 2:], rtol=1e-12)


def test_a_model_names_the_stack_that_it_lacks(room: ModuleType, room_arrays: Framework) -> None:
    tokens = room_arrays.make(np.ones((B, Q), int), "int64")
    with pytest.raises(spec.SpecificationError, match="a model without encoder_stack has no encoder to call"):
        layer(room, room_arrays, "Transformer", DECODER).encode(tokens)
    with pytest.raises(spec.SpecificationError, match="a model without decoder_stack has no decoder to call"):
        layer(room, room_arrays, "Transformer", ENCODER).decode(tokens)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_integers_of_any_width_are_taken(dtype: str, room: ModuleType, room_arrays: Framework) -> None:
    """Tokens, lengths, positions, types and offsets; a sum of lengths may not fit the dtype that they came in."""

    def integers(values: Any, dtype: str) -> Any:
        return room_arrays.make(np.array(values), dtype)

    def of_model(dtype: str) -> Any:
        options = {"lengths": [3, 2], "positions": [[0, 1, 2], [3, 4, 5]], "types": [[0, 1, 1], [1, 0, 0]]}
        options = {name: integers(values, dtype) for name, values in options.items()}
        model = layer(room, room_arrays, "Transformer", TYPED)
        return room_arrays.read(model(integers([[1, 2, 3], [4, 0, 1]], dtype), **options))

    def of_attention(dtype: str) -> Any:
        config = replace(ATTENTION, rotary=spec.Rotary(), causal=True)
        attend = layer(room, room_arrays, "MultiHeadAttention", config)
        long, length = room_arrays.make(reals(1, 100, M), "float64"), integers([100], dtype)
        _, kept = attend(long, key_lengths=length, return_cache=True)
        _, kept = attend(long, key_lengths=length, cache=kept._replace(lengths=length), return_cache=True)
        offset = integers([100], dtype)
        crossed = attend(long, long, query_offset=offset)
        return room_arrays.read(attend(long, cache=kept)) + room_arrays.read(crossed)

    for computed in (of_model, of_attention):
        np.testing.assert_array_equal(computed(dtype), computed("int64"))
