"""The layers of the Keras room are Keras layers: saved, compiled, trained, symbolic, of any dtype, on every engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
ar = pytest.importorskip("attention_ref.keras")

from attention_ref import weights
from attention_ref.spec.architecture import Audio, EmbeddingConfig, HeadConfig, ModelConfig, Patches, StackConfig
from attention_ref.spec.config import (
    AttentionConfig,
    BlockConfig,
    FeedForwardConfig,
    LatentAttentionConfig,
    Learned,
    MixtureConfig,
    Norm,
    RelativeBias,
    Rotary,
    Sinusoid,
)
from attention_ref.spec.errors import SpecificationError
from attention_ref.spec.parameters import parameters as tree
from tests.families.specification import Specification, to_numpy

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras itself reads arrays so
]
ENGINE = keras.config.backend()
COMPILES = ENGINE in {"tensorflow", "jax"}
MODEL, HEADS, VOCAB = 8, 4, 11

ATTENTION = AttentionConfig(
    model=MODEL,
    heads=HEADS,
    kv_heads=2,
    head_size=6,
    value_size=3,
    causal=True,
    window=(3, 0),
    softcap=3.0,
    sinks=True,
    query_key_norm=Norm("rms", eps=1e-3, gain_offset=1.0),
    rotary=Rotary(base=100.0, dimension=4, interleaved=True),
)
LATENT = LatentAttentionConfig(
    model=MODEL,
    heads=HEADS,
    latent_size=5,
    query_latent_size=3,
    content_size=2,
    rotary_size=4,
    value_size=3,
    norm=Norm("rms", eps=1e-3),
    causal=True,
    dropout=0.25,
)
FEEDFORWARD = FeedForwardConfig(model=MODEL, hidden=6, activation="gelu", gated=True)
MIXTURE = MixtureConfig(
    expert=FEEDFORWARD, experts=3, chosen=2, scores="sigmoid", correction_bias=True, shared=FEEDFORWARD
)
BLOCK = BlockConfig(attention=ATTENTION, feedforward=FEEDFORWARD, norm=Norm("layer", eps=1e-3), order="sandwich")
DECODER = ModelConfig(
    decoder_stack=StackConfig(
        embedding=EmbeddingConfig(vocab=VOCAB, scale=2.5, positions=Sinusoid()),
        blocks=(BLOCK, replace(BLOCK, order="parallel", shared_norm=True, feedforward=MIXTURE)),
        norm=Norm("rms", eps=1e-3),
        relative_bias=RelativeBias(buckets=4, maximum_distance=4, bidirectional=False),
    ),
    head=HeadConfig(kind="language", size=VOCAB, tied=True, bias=True, softcap=2.0),
)
SEQUENCES = ModelConfig.encoder_decoder(
    vocab=VOCAB, model=MODEL, heads=2, layers=1, feedforward=6, order="post", activation="gelu_tanh"
)
PLAIN = AttentionConfig(model=MODEL, heads=HEADS)
READER = BlockConfig(attention=PLAIN, feedforward=FEEDFORWARD, norm=Norm("layer", eps=1e-3), order="pre")
ENCODER = ModelConfig(
    encoder_stack=StackConfig(
        embedding=EmbeddingConfig(
            vocab=VOCAB, types=2, positions=Learned(length=8, offset=2), positions_skip=1, norm=Norm("layer", eps=1e-3)
        ),
        blocks=(replace(READER, attention=replace(PLAIN, alibi=True)),),
    ),
    head=HeadConfig(kind="classifier", size=3, transform="tanh", place="last"),
)
IMAGE = ModelConfig(
    encoder_stack=StackConfig(
        embedding=EmbeddingConfig(patches=Patches(size=2, height=4, width=4), positions=Learned(length=5)),
        blocks=(READER,),
    ),
    head=HeadConfig(kind="pooler", size=MODEL),
)
SOUND = ModelConfig(
    encoder_stack=StackConfig(
        embedding=EmbeddingConfig(audio=Audio(channels=3), positions=Sinusoid()), blocks=(READER,)
    )
)
MODELS = {"decoder": DECODER, "sequences": SEQUENCES, "encoder": ENCODER, "image": IMAGE, "sound": SOUND}
LAYERS = {
    "MultiHeadAttention": ATTENTION,
    "LatentAttention": LATENT,
    "FeedForward": FEEDFORWARD,
    "MixtureOfExperts": MIXTURE,
    "Block": BLOCK,
    "Stack": DECODER.decoder_stack,
    "Transformer": SEQUENCES,
}
TOKENS = np.array([[3, 1, 4, 7, 5, 9], [2, 6, 1, 3, 10, 8]], np.int32)
TARGETS = np.array([[2, 7, 1, 8], [3, 1, 4, 0]], np.int32)
LENGTHS = np.array([6, 4], np.int32)


def random_parameters(config: Any, seed: int = 0) -> dict[str, np.ndarray]:
    """Random values in every tensor: the usual first values hide a bias or a gain that is not applied."""
    random = np.random.default_rng(seed)
    return {name: 0.4 * random.standard_normal(parameter.shape) for name, parameter in tree(config).items()}


def model_of(config: ModelConfig, **options: Any) -> Any:
    return ar.Transformer(config, random_parameters(config), **options)


def inputs_of(name: str) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    if name == "image":
        return (random.standard_normal((2, 4, 4, 3)),), {}
    if name == "sound":
        return (random.standard_normal((2, 11, 3)),), {}
    given = {"lengths": LENGTHS} | ({"types": TOKENS % 2} if name == "encoder" else {})
    return ((TOKENS, TARGETS) if name == "sequences" else (TOKENS,)), given


def array(tensor: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def dtype(tensor: Any) -> str:
    return keras.backend.standardize_dtype(tensor.dtype)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as a whole for JAX, which otherwise compiles every operation for every new shape."""
    if ENGINE != "jax":
        return function
    import jax

    return jax.jit(function)


@pytest.mark.parametrize(
    ("name", "policy"), [*((name, "float64") for name in MODELS), ("decoder", "float32"), ("sequences", "float32")]
)
def test_every_intermediate_is_that_of_the_specification(name: str, policy: str) -> None:
    config, (arrays, options) = MODELS[name], inputs_of(name)
    expected: dict[str, np.ndarray] = {}
    order: list[str] = []
    specification = Specification(config, random_parameters(config))
    specification(*arrays, **options, tap=lambda tap, given: expected.update({tap: to_numpy(given)}))
    model = model_of(config, dtype=policy)

    def intermediates(*arrays: Any, **options: Any) -> dict[str, Any]:
        received: dict[str, Any] = {}
        model(*arrays, **options, tap=lambda tap, given: received.update({tap: given}))
        order.extend(received)
        return received

    received = compiled(intermediates)(*arrays, **options)
    assert order == list(expected)
    assert {dtype(given) for tap, given in received.items() if not tap.endswith(".chosen")} == {policy}
    tolerance = 64 * np.finfo(policy).eps  # a few dozen roundings of numbers around 1; sums here have at most 18 terms
    for tap, want in expected.items():
        np.testing.assert_allclose(array(received[tap]), want, rtol=tolerance, atol=tolerance, err_msg=tap)


def test_cached_decoding_in_chunks_is_the_full_forward() -> None:
    model = model_of(DECODER, dtype="float64")
    decode = compiled(lambda tokens, **options: model.decode(tokens, return_cache=True, **options))
    full = array(decode(TOKENS)[0])
    cache, seen = None, [[], []]
    for tokens, lengths in (([TOKENS[0, :3], TOKENS[1, :3]], [3, 1]), ([TOKENS[0, 3:6], TOKENS[1, 1:4]], [1, 3])):
        result, cache = decode(np.stack(tokens), lengths=np.array(lengths), cache=cache)
        for row, length in enumerate(lengths):
            seen[row].extend(array(result)[row, :length])
    np.testing.assert_allclose(np.array(seen), full[:, :4], rtol=1e-12, atol=1e-12)


def test_steps_of_an_encoder_decoder_are_its_full_forward() -> None:
    model = model_of(SEQUENCES, dtype="float64")
    full = array(compiled(lambda s, t, n: model(s, t, lengths=n))(TOKENS, TARGETS, LENGTHS))
    memory = compiled(lambda s, n: model.encode(s, lengths=n))(TOKENS, LENGTHS)
    first, cache = model.step(TARGETS[:, :3], memory, memory_lengths=LENGTHS, lengths=np.array([3, 2]))
    assert first.dtype == np.float64
    np.testing.assert_allclose(first, full[[0, 1], [2, 1]], rtol=1e-12, atol=1e-12)
    second, _ = model.step(TARGETS[[1, 0], [2, 3]][:, None], cache=model.select(cache, [1, 0]))
    np.testing.assert_allclose(second, full[[1, 0], [2, 3]], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_configuration_makes_the_layer_again(kind: str) -> None:
    layer = getattr(ar, kind)(LAYERS[kind], name="mine", dtype="mixed_bfloat16")
    written = json.loads(json.dumps(layer.get_config()))
    again = getattr(ar, kind).from_config(written)
    assert (again.config, again.name, again.dtype_policy.name) == (layer.config, "mine", "mixed_bfloat16")
    if kind not in ("FeedForward", "MixtureOfExperts"):
        chosen = getattr(ar, kind)(LAYERS[kind], implementation="reference")
        assert getattr(ar, kind).from_config(chosen.get_config()).implementation == "reference"
    assert keras.saving.get_registered_name(type(layer)) == f"attention_ref>{kind}"


@pytest.mark.parametrize("kind", LAYERS)
def test_parameters_are_those_of_the_tree(kind: str) -> None:
    config = LAYERS[kind]
    layer, drawn = getattr(ar, kind)(config), weights.init(config)
    received = layer.parameter_arrays()
    assert list(received) == list(drawn)
    assert all(np.array_equal(received[name], drawn[name]) for name in drawn)
    assert len({variable.path for variable in layer.weights}) == len(drawn)  # a shared or tied tensor is one variable
    others = random_parameters(config)
    layer.load_parameters(others)
    assert all(
        np.array_equal(given, others[name].astype("float32")) for name, given in layer.parameter_arrays().items()
    )


def test_parameters_of_another_configuration_are_rejected() -> None:
    layer, others = ar.FeedForward(FEEDFORWARD), weights.init(FEEDFORWARD, seed=1)
    before = layer.parameter_arrays()
    wrong = {**others, "more": np.zeros(1), "input.bias": np.zeros(7)}
    del wrong["output.bias"]
    with pytest.raises(SpecificationError, match=r"(?s)missing output.bias .*unexpected more .*misshapen input.bias"):
        layer.load_parameters(wrong)
    with pytest.raises(SpecificationError, match=r"missing output\.bias"):
        ar.FeedForward(FEEDFORWARD, wrong)
    assert all(np.array_equal(before[name], now) for name, now in layer.parameter_arrays().items())


@pytest.mark.parametrize("name", ["decoder", "sequences"])
def test_a_saved_model_is_the_same_model(name: str, tmp_path: Path) -> None:
    arrays, options = inputs_of(name)
    model = model_of(MODELS[name])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.config == model.config
    for tensor, given in model.parameter_arrays().items():
        np.testing.assert_array_equal(loaded.parameter_arrays()[tensor], given, err_msg=tensor)
    expected, received = (
        array(compiled(lambda *arrays, each=each, **options: each(*arrays, **options))(*arrays, **options))
        for each in (model, loaded)
    )
    np.testing.assert_array_equal(received, expected)


def test_symbolic_inputs_may_have_any_batch_and_length(tmp_path: Path) -> None:
    source, target = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    lengths = keras.Input((), dtype="int32")
    model = model_of(SEQUENCES)
    functional = keras.Model([source, target, lengths], model(source, target, lengths=lengths))
    assert functional.output_shape == (None, None, VOCAB)
    functional.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for rows, columns in ((2, 4), (1, 2)):
        given = TOKENS[:rows], TARGETS[:rows, :columns], LENGTHS[:rows]
        direct, *others = compiled(lambda s, t, n: (model(s, t, lengths=n), functional((s, t, n)), loaded((s, t, n))))(
            *given
        )
        for other in others:
            np.testing.assert_allclose(array(other), array(direct), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["decoder", "encoder", "sound"])
def test_a_symbolic_call_knows_its_shape(name: str) -> None:
    (shape, kind), last = (
        {"sound": ((None, 3), "float32")}.get(name, ((None,), "int32")),
        {"encoder": 3, "sound": MODEL},
    )
    output = model_of(MODELS[name])(keras.Input(shape, dtype=kind))
    assert output.shape == ((None, 3) if name == "encoder" else (None, None, last.get(name, VOCAB)))


def test_a_decoder_learns() -> None:
    random = np.random.default_rng(0)
    tokens = (random.integers(0, VOCAB, (64, 1)) + np.arange(7)) % VOCAB  # every token follows from the one before it
    config = ModelConfig.decoder(
        vocab=VOCAB, model=MODEL, heads=2, layers=1, feedforward=16, positions=Rotary(), dropout=0.01
    )
    model = ar.Transformer(config)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, jit_compile=COMPILES)
    losses = model.fit(tokens[:, :-1], tokens[:, 1:], batch_size=32, epochs=30, verbose=0).history["loss"]
    assert losses[0] > 1.5  # a guess has log(11) = 2.4
    assert losses[-1] < 0.3


def test_a_compiled_model_is_the_same_model() -> None:
    model = model_of(DECODER)
    expected = array(model(TOKENS))
    model.compile(jit_compile=COMPILES)
    np.testing.assert_allclose(model.predict(TOKENS, verbose=0), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float64"])
def test_dtype_policies(policy: str) -> None:
    model = model_of(DECODER, dtype=policy)
    kept, computed = model.dtype_policy.variable_dtype, model.dtype_policy.compute_dtype
    assert {dtype(variable) for variable in model.weights} == {kept}
    expected = Specification(DECODER, random_parameters(DECODER))(TOKENS)
    result = compiled(model.__call__)(TOKENS)
    assert dtype(result) == computed
    unit = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float64": 2.0**-53}[computed]
    np.testing.assert_allclose(array(result).astype("float64"), expected, rtol=0, atol=16 * unit)
    cache = model.decoder.blocks[0].self_attention.project_kv(np.ones((1, 2, MODEL)))
    assert dtype(cache.key) == computed


def dropping(site: str, rate: float = 0.5) -> ModelConfig:
    """A model that drops at one site only."""
    stack = DECODER.decoder_stack
    changed = {
        "attention": {"attention": replace(ATTENTION, dropout=rate)},
        "feedforward": {"feedforward": replace(FEEDFORWARD, dropout=rate)},
        "block": {"dropout": rate},
    }
    if site == "embedding":
        return replace(DECODER, decoder_stack=replace(stack, embedding=replace(stack.embedding, dropout=rate)))
    return replace(DECODER, decoder_stack=replace(stack, blocks=(replace(BLOCK, **changed[site]),)))


@pytest.mark.parametrize("site", ["attention", "feedforward", "block", "embedding"])
def test_dropout_happens_in_training_only(site: str) -> None:
    model, without = model_of(dropping(site)), model_of(dropping(site, 0.0))
    expected = array(without(TOKENS))
    np.testing.assert_array_equal(array(model(TOKENS)), expected)
    np.testing.assert_array_equal(array(without(TOKENS, training=True)), expected)
    first, second = array(model(TOKENS, training=True)), array(model(TOKENS, training=True))
    assert not np.array_equal(first, expected)
    assert not np.array_equal(first, second)


def test_dropout_keeps_the_mean() -> None:
    config = AttentionConfig(model=1, heads=1, dropout=0.25)
    ones = {name: np.full(p.shape, float(p.kind == "kernel")) for name, p in tree(config).items()}
    layer = ar.MultiHeadAttention(config, ones)
    received = array(layer(np.ones((2000, 2, 1), "float32"), training=True))  # kept weights / 2 / 0.75, summed up
    shares = {value: np.mean(np.isclose(received, value)) for value in (0, 2 / 3, 4 / 3)}
    assert shares == pytest.approx({0: 1 / 16, 2 / 3: 6 / 16, 4 / 3: 9 / 16}, abs=0.04)  # four standard deviations
    hidden = ar.FeedForward(FeedForwardConfig(model=1, hidden=1, dropout=0.25))
    hidden.load_parameters(
        {name: np.full(p.shape, float(p.kind == "kernel")) for name, p in tree(hidden.config).items()}
    )
    received = array(hidden(np.ones((4000, 1), "float32"), training=True))
    assert np.isin(np.round(received * 3), [0, 4]).all()
    assert np.mean(received == 0) == pytest.approx(0.25, abs=0.03)


def test_dropout_is_reproducible() -> None:
    results = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        results.append(array(model_of(dropping("block"))(TOKENS, training=True)))
    np.testing.assert_array_equal(*results)


def test_masks_of_keras_are_not_taken_for_ours() -> None:
    masked = keras.layers.Masking()(keras.Input((3, MODEL)))
    with pytest.raises(SpecificationError, match="masks that Keras attaches to tensors are not supported"):
        ar.Block(BLOCK)(masked)
    assert ar.FeedForward(FEEDFORWARD)(masked)._keras_mask is masked._keras_mask


def test_tokens_are_checked_where_they_can_be_read() -> None:
    with pytest.raises(SpecificationError, match="must lie between 0 and 10"):
        model_of(DECODER)(np.array([[0, 11]], np.int32))


def without_float64() -> Any:
    """Outside JAX's 64-bit mode, where there is one."""
    if ENGINE != "jax":
        return nullcontext()
    import jax

    return jax.enable_x64(False)


def test_angles_are_accurate_at_distant_positions() -> None:
    positions = np.array([0, 1, 255, 256, 65535, 65536, 131071, 2**20, 2**20 + 12345, 2**24 + 1, -131071], np.int32)
    frequencies = 10000.0 ** (-np.arange(64) / 64)
    angles = positions[:, None] * frequencies  # off by less than 2^24 * 2^-53
    with without_float64():
        like = keras.ops.zeros((), "float32")
        code = array(ar.sinusoidal_positions(positions, 128, Sinusoid(variant="concatenated"), like=like))
        vectors = keras.ops.convert_to_tensor(np.tile([1.0, 0.0], (1, 1, 11, 64)).astype("float32"))
        turned = array(ar.rotate(vectors, positions, Rotary(interleaved=True)))[0, 0]
    assert code.dtype == np.float32
    np.testing.assert_allclose(code, np.concatenate([np.sin(angles), np.cos(angles)], axis=-1), rtol=0, atol=3.1e-8)
    np.testing.assert_allclose(turned[:, 0::2], np.cos(angles), rtol=0, atol=3.1e-8)
    np.testing.assert_allclose(turned[:, 1::2], np.sin(angles), rtol=0, atol=3.1e-8)


@pytest.mark.skipif(ENGINE != "jax", reason="only JAX may lack float64")
def test_a_float64_policy_needs_float64() -> None:
    with without_float64(), pytest.raises(SpecificationError, match="JAX_ENABLE_X64"):
        ar.FeedForward(FEEDFORWARD, dtype="float64")


@pytest.mark.skipif(ENGINE != "torch", reason="only there a Keras layer is a PyTorch module")
def test_a_pytorch_optimiser_finds_the_parameters() -> None:
    model = model_of(SEQUENCES)
    shapes = sorted(tuple(parameter.shape) for parameter in model.parameters() if parameter.requires_grad)
    assert shapes == sorted(parameter.shape for parameter in tree(SEQUENCES).values())


def test_the_position_buckets_are_exact_integers() -> None:
    config = RelativeBias(buckets=32, maximum_distance=128)
    distances = np.arange(-2000, 2000)
    received = array(ar.relative_bucket(distances, config))
    exact = np.array([_bucket(int(distance)) for distance in distances])
    np.testing.assert_array_equal(received, exact)


def _bucket(distance: int) -> int:
    """T5's bucket in integers: 8 + floor(8 log16(d/8)) counts the k with d^8 >= 8^8 16^k."""
    start, size = 16 * (distance > 0), abs(distance)
    if size < 8:
        return start + size
    return start + min(8 + sum(size**8 >= 8**8 * 16**k for k in range(1, 9)), 15)
