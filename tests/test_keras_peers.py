"""The Keras room's layers equal those of Keras and keras-hub with the same weights, where their semantics meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
ar = pytest.importorskip("attention_ref.keras")

from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras itself reads arrays so
]
MODEL, HEADS, GROUPS, HEAD, VALUE, HIDDEN, EPS = 12, 4, 2, 5, 3, 7, 1e-2
TOLERANCE = 64 * np.finfo("float32").eps  # both round numbers around 1 a few dozen times, each in its own order
NAMES = {  # how a path of theirs ends, and the scope that stands for it here
    "self_attention": "self_attention",
    "self_attention_layer": "self_attention",
    "cross_attention": "cross_attention",
    "self_attention_layer_norm": "self_attention_norm",
    "cross_attention_layer_norm": "cross_attention_norm",
    "feedforward_layer_norm": "feedforward_norm",
    "feedforward_intermediate_dense": "feedforward.input",
    "feedforward_output_dense": "feedforward.output",
    "attention_output": "output",
    "gamma": "gain",
    "beta": "bias",
}


def random_array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def randomised(layer: Any) -> dict[str, np.ndarray]:
    """Set every weight of a built Keras layer to random values, and return them by our names."""
    parameters = {}
    for seed, variable in enumerate(layer.weights):
        variable.assign(0.4 * random_array(*variable.shape, seed=seed + 1))
        scopes = variable.path.split("/")
        known = {*NAMES, "query", "key", "value", "kernel", "bias"}
        name = ".".join(NAMES.get(scope, scope) for scope in scopes if scope in known)
        parameters[name] = keras.ops.convert_to_numpy(variable)
    return parameters


def assert_equal(ours: Any, theirs: Any) -> None:
    ours, theirs = (keras.ops.convert_to_numpy(tensor) for tensor in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention(causal: bool) -> None:
    theirs = keras.layers.MultiHeadAttention(HEADS, HEAD, value_dim=VALUE, output_shape=6)
    theirs.build((None, None, MODEL), (None, None, 8), (None, None, 8))
    config = AttentionConfig(
        model=MODEL, heads=HEADS, head_size=HEAD, value_size=VALUE, memory_size=8, output_size=6, causal=causal
    )
    ours = ar.MultiHeadAttention(config, randomised(theirs))
    query, key, value = random_array(2, 4, MODEL), random_array(2, 6, 8, seed=1), random_array(2, 6, 8, seed=2)
    mask = np.random.default_rng(3).random((2, 4, 6)) < 0.7
    mask[..., 0] = True
    expected, scores = theirs(
        query, value, key, attention_mask=mask, use_causal_mask=causal, return_attention_scores=True
    )
    received, weights = ours(query, key, value, mask=mask[:, None], return_weights=True)
    assert_equal(received, expected)
    assert_equal(weights, scores)


def test_a_query_that_sees_nothing_has_two_answers_there_and_one_here() -> None:
    theirs = keras.layers.MultiHeadAttention(HEADS, HEAD)
    theirs.build((None, None, MODEL), (None, None, MODEL))
    ours = ar.MultiHeadAttention(AttentionConfig(model=MODEL, heads=HEADS, head_size=HEAD), randomised(theirs))
    query, mask = random_array(2, 4, MODEL), np.ones((2, 4, 4), bool)
    mask[0, 1] = False
    with_scores, scores = theirs(query, query, attention_mask=mask, return_attention_scores=True)
    received, weights = ours(query, mask=mask[:, None], return_weights=True)
    assert_equal(received, with_scores)
    assert_equal(weights, scores)
    assert_equal(received[0, 1], ours.parameter_arrays()["output.bias"])
    fused = theirs(query, query, attention_mask=mask)  # averages the values of what it may not see
    values = ours.project_kv(query).value
    average = keras.ops.broadcast_to(keras.ops.mean(values, axis=2, keepdims=True), (2, HEADS, 4, HEAD))
    expected = keras.ops.einsum("bhqv,hvm->bqm", average, ours.tensors["output.kernel"]) + ours.tensors["output.bias"]
    assert_equal(fused[0, 1], expected[0, 1])
    assert_equal(fused[1], received[1])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 2])
def test_grouped_query_attention(causal: bool, window: int | None) -> None:
    theirs = keras.layers.GroupQueryAttention(HEAD, HEADS, GROUPS, sliding_window=window)
    theirs.build((None, None, MODEL), (None, None, MODEL))
    reach = None if window is None else window - 1  # theirs counts the position itself, and both directions
    config = AttentionConfig(
        model=MODEL,
        heads=HEADS,
        kv_heads=GROUPS,
        head_size=HEAD,
        causal=causal,
        window=None if reach is None else (reach, reach),
    )
    ours = ar.MultiHeadAttention(config, randomised(theirs))
    query = random_array(2, 5, MODEL)
    mask = np.tril(np.ones((5, 5), bool), 1)[None]
    expected = theirs(query, query, attention_mask=mask, use_causal_mask=causal)
    assert_equal(ours(query, mask=mask[:, None]), expected)


def block(order: str, activation: str, *, causal: bool, cross: bool) -> BlockConfig:
    attention = AttentionConfig(model=MODEL, heads=HEADS, causal=causal)
    return BlockConfig(
        attention=attention,
        cross_attention=AttentionConfig(model=MODEL, heads=HEADS) if cross else None,
        feedforward=FeedForwardConfig(model=MODEL, hidden=HIDDEN, activation=activation),
        norm=Norm("layer", eps=EPS),
        order=order,
    )


@pytest.mark.parametrize("order", ["post", "pre"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_layer(order: str, activation: str) -> None:
    hub = pytest.importorskip("keras_hub")
    theirs = hub.layers.TransformerEncoder(
        HIDDEN, HEADS, activation=activation, layer_norm_epsilon=EPS, normalize_first=order == "pre"
    )
    theirs.build((None, None, MODEL))
    ours = ar.Block(block(order, activation, causal=False, cross=False), randomised(theirs))
    vectors, lengths = random_array(2, 5, MODEL), np.array([5, 3])
    expected = theirs(vectors, padding_mask=np.arange(5) < lengths[:, None])
    assert_equal(ours(vectors, key_lengths=lengths), expected)


@pytest.mark.parametrize("order", ["post", "pre"])
@pytest.mark.parametrize("cross", [False, True])
def test_decoder_layer(order: str, cross: bool) -> None:
    hub = pytest.importorskip("keras_hub")
    theirs = hub.layers.TransformerDecoder(HIDDEN, HEADS, layer_norm_epsilon=EPS, normalize_first=order == "pre")
    theirs.build((None, None, MODEL), (None, None, MODEL) if cross else None)
    ours = ar.Block(block(order, "relu", causal=True, cross=cross), randomised(theirs))
    vectors, memory = random_array(2, 5, MODEL), random_array(2, 6, MODEL, seed=1)
    if not cross:
        assert_equal(ours(vectors), theirs(vectors))
        return
    lengths = np.array([6, 2])
    expected = theirs(vectors, memory, encoder_padding_mask=np.arange(6) < lengths[:, None])
    assert_equal(ours(vectors, memory, memory_lengths=lengths), expected)
