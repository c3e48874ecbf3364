"""Measured behaviour of released layers beyond the probes of functions: paths, projections, defaults, implicit masks.

Every test runs the library itself; the versions are those of tests/test_peers.py. When one fails after an update, the
library has changed, and what the documentation says of it has to follow.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

from attention_ref.backends import engine

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras itself
MODEL, HEADS, LENGTH = 8, 2, 4
RANDOM = np.random.default_rng(3).normal(size=(2, LENGTH, MODEL)).astype("float32")


# torch.nn.MultiheadAttention, TransformerEncoderLayer and TransformerEncoder


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture
def mha(torch: Any) -> Any:
    torch.manual_seed(0)
    layer = torch.nn.MultiheadAttention(MODEL, HEADS, batch_first=True)
    torch.nn.init.normal_(layer.out_proj.bias)
    return layer


@pytest.fixture
def array(torch: Any) -> Any:
    return torch.from_numpy(RANDOM)


@pytest.fixture
def padded(torch: Any) -> Any:
    """The second batch row is padding alone."""
    return torch.tensor([[False] * LENGTH, [True] * LENGTH])


def test_torch_mha_gives_an_empty_row_its_bias_or_nan(torch: Any, mha: Any, array: Any, padded: Any) -> None:
    def row(need_weights: bool) -> Any:
        return mha(array, array, array, key_padding_mask=padded, need_weights=need_weights)[0][1]

    torch.testing.assert_close(row(need_weights=False), mha.out_proj.bias.expand(LENGTH, MODEL))
    assert row(need_weights=True).isnan().all()
    mha.eval()
    with torch.no_grad():
        assert row(need_weights=False).isnan().all()
        assert row(need_weights=True).isnan().all()


@pytest.mark.parametrize("need_weights", [False, True])
def test_torch_mha_spoils_its_gradients_by_a_row_that_the_loss_skips(
    mha: Any, array: Any, padded: Any, need_weights: bool
) -> None:
    output = mha(array, array, array, key_padding_mask=padded, need_weights=need_weights)[0]
    output[0].sum().backward()
    assert bool(mha.in_proj_weight.grad.isnan().any()) == need_weights


def test_torch_mha_takes_is_causal_for_a_hint(torch: Any, mha: Any, array: Any) -> None:
    """With a mask that allows everything the hint wins in training without weights, and the mask elsewhere."""
    allowed = torch.zeros(LENGTH, LENGTH, dtype=torch.bool)

    def is_causal(need_weights: bool, mask: Any = allowed) -> bool:
        def output(given: Any) -> Any:
            return mha(given, given, given, attn_mask=mask, is_causal=True, need_weights=need_weights)[0][:, 0]

        changed = torch.cat([array[:, :-1], array[:, -1:] + 1], 1)
        return bool(torch.equal(output(array), output(changed)))

    assert is_causal(need_weights=False)
    assert not is_causal(need_weights=True)
    with pytest.raises(RuntimeError, match="Need attn_mask"):
        is_causal(need_weights=False, mask=None)
    mha.eval()
    with torch.no_grad():
        assert not is_causal(need_weights=False)
        assert not is_causal(need_weights=False, mask=None)


def test_torch_mha_averages_its_weights_by_default(torch: Any, mha: Any, array: Any) -> None:
    averaged = mha(array, array, array)[1]
    each = mha(array, array, array, average_attn_weights=False)[1]
    assert averaged.shape == (2, LENGTH, LENGTH)
    torch.testing.assert_close(averaged, each.mean(1))


def test_torch_encoder_layer_gives_padding_alone_numbers_or_nan(torch: Any, array: Any, padded: Any) -> None:
    layer = torch.nn.TransformerEncoderLayer(MODEL, HEADS, 12, batch_first=True).eval()
    assert layer(array, src_key_padding_mask=padded).isfinite().all()
    with torch.no_grad():
        assert layer(array, src_key_padding_mask=padded)[1].isnan().all()


def test_torch_encoder_drops_padding_on_its_nested_path_alone(torch: Any, array: Any) -> None:
    layer = torch.nn.TransformerEncoderLayer(MODEL, HEADS, 12, batch_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 1).eval()
    padding = torch.tensor([[False] * LENGTH, [False, False, True, True]])
    poisoned = array.clone()
    poisoned[1, 3] = float("nan")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors are a prototype
        nested = encoder(poisoned, src_key_padding_mask=padding)
    assert nested.isfinite().all()
    assert (nested[1, 2:] == 0).all()
    slow = encoder(array, src_key_padding_mask=padding)
    assert (slow[1, 2:] != 0).all()
    assert encoder(poisoned, src_key_padding_mask=padding)[1, 0].isnan().all()


def test_torch_defaults(torch: Any) -> None:
    layer = torch.nn.TransformerEncoderLayer(512, 8)
    assert (layer.norm_first, layer.linear1.out_features, layer.self_attn.batch_first) == (False, 2048, False)
    assert layer.activation is torch.nn.functional.relu
    assert {each.p for each in (layer.dropout, layer.dropout1, layer.dropout2)} == {layer.self_attn.dropout} == {0.1}
    assert torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).norm is None
    assert torch.nn.Transformer(8, 2, 1, 1, 8, batch_first=True).encoder.norm is not None
    attention = layer.self_attn.requires_grad_(requires_grad=False)
    assert (attention.in_proj_bias == 0).all()
    assert attention.in_proj_weight.abs().max() == pytest.approx((6 / (512 + 3 * 512)) ** 0.5, rel=1e-3)
    assert attention.out_proj.weight.abs().max() == pytest.approx(512**-0.5, rel=1e-3)


# Keras' layers


@pytest.fixture
def keras() -> Any:
    return pytest.importorskip("keras")


def numbers(array: Any) -> np.ndarray:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(array))


@pytest.mark.engine
@pytest.mark.parametrize("kind", ["mha", "gqa"])
def test_keras_gives_an_empty_row_the_mean_or_the_bias(keras: Any, kind: str) -> None:
    def layer(dropout: float) -> Any:
        options = {"dropout": dropout, "bias_initializer": "ones", "seed": 1}
        if kind == "gqa":
            return keras.layers.GroupQueryAttention(4, HEADS, HEADS, **options)
        return keras.layers.MultiHeadAttention(HEADS, 4, **options)

    hidden = np.ones((2, LENGTH, LENGTH), bool)
    hidden[0, 1] = False
    plain = layer(0.0)
    fused = numbers(plain(RANDOM, RANDOM, attention_mask=hidden))
    with_scores = numbers(plain(RANDOM, RANDOM, attention_mask=hidden, return_attention_scores=True)[0])
    with_dropout = numbers(layer(0.5)(RANDOM, RANDOM, attention_mask=hidden))
    for found in (with_scores, with_dropout):
        np.testing.assert_array_equal(found[0, 1], np.ones(MODEL))  # of the output projection
    assert np.all(fused[0, 1] != 1)
    np.testing.assert_allclose(fused[1], with_scores[1], rtol=1e-4, atol=1e-5)


@pytest.mark.engine
def test_keras_gives_no_keys_the_bias(keras: Any) -> None:
    layer = keras.layers.MultiHeadAttention(HEADS, 4, bias_initializer="ones")
    layer.build((None, None, MODEL), (None, None, MODEL))
    np.testing.assert_array_equal(numbers(layer(RANDOM, RANDOM[:, :0])), np.ones((2, LENGTH, MODEL)))


@pytest.mark.engine
def test_keras_sizes_of_heads_and_biases_are_free(keras: Any) -> None:
    layer = keras.layers.MultiHeadAttention(HEADS, MODEL)
    layer.build((None, None, MODEL), (None, None, MODEL))
    shapes = [tuple(weight.shape) for weight in layer.weights]
    kernel, bias = (MODEL, HEADS, MODEL), (HEADS, MODEL)
    assert shapes == [kernel, bias] * 3 + [(HEADS, MODEL, MODEL), (MODEL,)]


@pytest.mark.engine
def test_keras_hides_by_the_implicit_mask_of_its_inputs(keras: Any) -> None:
    """The mask of the keys and that of the queries: a padded query sees nothing, and gives its bias beside scores."""
    tokens = np.array([[1, 2, 3, 0]])
    embedded = keras.layers.Embedding(5, MODEL, mask_zero=True)(tokens)
    layer = keras.layers.MultiHeadAttention(HEADS, 4)
    scores = numbers(layer(embedded, embedded, return_attention_scores=True)[1])
    np.testing.assert_array_equal(scores[..., :3, 3], 0)
    np.testing.assert_array_equal(scores[..., 3, :], 0)
    np.testing.assert_allclose(scores[..., :3, :].sum(-1), 1, rtol=1e-5)


@pytest.mark.engine
def test_keras_attention_zeroes_the_rows_of_its_query_mask(keras: Any) -> None:
    seen = np.array([[True, True, False, True]] * 2)
    output = numbers(keras.layers.Attention()([RANDOM, RANDOM], mask=[seen, None]))
    np.testing.assert_array_equal(output[:, 2], 0)
    assert np.all(output[:, 3] != 0)


@pytest.mark.engine
def test_keras_causality_of_an_input_with_two_axes_of_places_raises(keras: Any) -> None:
    array = np.ones((1, 2, 3, MODEL), "float32")
    layer = keras.layers.MultiHeadAttention(HEADS, 4, attention_axes=(1, 2))
    assert layer(array, array).shape == array.shape
    with pytest.raises(Exception, match=r"\S"):  # of another class on every engine
        layer(array, array, use_causal_mask=True)


@pytest.mark.engine
def test_keras_hub_encoder_gives_an_empty_row_by_its_rate_of_dropout() -> None:
    hub = pytest.importorskip("keras_hub").layers
    mask = np.ones((2, LENGTH, LENGTH), bool)
    mask[0, 1] = False
    layers = [hub.TransformerEncoder(12, HEADS, dropout=rate) for rate in (0.0, 0.1)]
    for layer in layers:
        layer.build(RANDOM.shape)
    for source, target in zip(layers[0].trainable_weights, layers[1].trainable_weights, strict=True):
        target.assign(source)
    first, second = (numbers(layer(RANDOM, attention_mask=mask, training=False)) for layer in layers)
    assert np.abs(first[0, 1] - second[0, 1]).max() > 1e-3
    np.testing.assert_allclose(first[1], second[1], rtol=1e-4, atol=1e-5)


# JAX, ONNX and transformers


def test_jax_gives_0_beyond_the_query_lengths_and_the_mean_for_no_keys() -> None:
    jax = pytest.importorskip("jax")
    array = jax.numpy.asarray(RANDOM.reshape(2, LENGTH, HEADS, 4))

    def output(**lengths: Any) -> np.ndarray:
        found = {name: jax.numpy.asarray(each, "int32") for name, each in lengths.items()}
        return np.asarray(jax.nn.dot_product_attention(array, array, array, **found))

    np.testing.assert_array_equal(output(query_seq_lengths=[2, 4])[0, 2:], 0)
    mean = np.broadcast_to(np.mean(array[0], axis=0), (LENGTH, HEADS, 4))
    np.testing.assert_allclose(output(key_value_seq_lengths=[0, 4])[0], mean, rtol=1e-5, atol=1e-6)


def onnx_model(outputs: list[str], **attributes: Any) -> bytes:
    helper = pytest.importorskip("onnx").helper
    names = {"Q": "float32", "K": "float32", "V": "float32", "attn_mask": "bool"}
    kinds = {name: helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) for name, dtype in names.items()}
    given = [
        helper.make_tensor_value_info(name, kind, [None] * (4 if name != "attn_mask" else 2))
        for name, kind in kinds.items()
    ]
    results = [helper.make_tensor_value_info(name, kinds["Q"], [None] * 4) for name in outputs if name]
    node = helper.make_node("Attention", list(names), outputs, **attributes)
    graph = helper.make_graph([node], "attention", given, results)
    opsets = [helper.make_opsetid("", 23)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def onnx_inputs(mask: np.ndarray) -> dict[str, np.ndarray]:
    array = np.ascontiguousarray(RANDOM.reshape(2, LENGTH, HEADS, 4).swapaxes(1, 2))
    return {"Q": array, "K": array, "V": array, "attn_mask": mask}


def by_reference(model: bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return list(pytest.importorskip("onnx.reference").ReferenceEvaluator(model).run(None, inputs))


def by_runtime(model: bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def test_onnx_hides_the_keys_that_a_short_mask_lacks_and_the_runtime_refuses_it() -> None:
    model, mask = onnx_model(["Y"]), np.ones((LENGTH, 2), bool)
    whole = np.concatenate([mask, ~mask], 1)
    (short,) = by_reference(model, onnx_inputs(mask))
    (full,) = by_reference(model, onnx_inputs(whole))
    np.testing.assert_array_equal(short, full)
    for refused in (mask, np.ones((LENGTH, 1), bool)):
        with pytest.raises(Exception, match="attn_mask"):
            by_runtime(model, onnx_inputs(refused))


def test_onnx_runtime_shows_the_lowest_number_where_the_standard_has_minus_infinity() -> None:
    model = onnx_model(["Y", "", "", "scores"], qk_matmul_output_mode=2)
    inputs = onnx_inputs(np.tril(np.ones((LENGTH, LENGTH), bool)))
    _, expected = by_reference(model, inputs)
    _, found = by_runtime(model, inputs)
    hidden = np.isneginf(expected)
    assert hidden.sum() == 2 * HEADS * 6
    assert np.all(found[hidden] < -3e38)
    assert np.all(np.isfinite(found))


def test_transformers_windows_count_the_query_when_causal_and_not_otherwise() -> None:
    pytest.importorskip("torch")
    masks = pytest.importorskip("transformers.masking_utils")
    causal, both = masks.sliding_window_overlay(2), masks.sliding_window_bidirectional_overlay(2)
    distances = range(-4, 5)
    seen_before = [distance for distance in distances if distance >= 0 and causal(0, 0, 10, 10 - distance)]
    seen_around = [distance for distance in distances if both(0, 0, 10, 10 - distance)]
    assert (seen_before, seen_around) == ([0, 1], [-2, -1, 0, 1, 2])


@pytest.mark.parametrize(
    ("config", "name", "eps"),
    [
        ("BertConfig", "layer_norm_eps", 1e-12),
        ("ViTConfig", "layer_norm_eps", 1e-12),
        ("GPT2Config", "layer_norm_epsilon", 1e-5),
        ("T5Config", "layer_norm_epsilon", 1e-6),
        ("LlamaConfig", "rms_norm_eps", 1e-6),
    ],
)
def test_transformers_eps(config: str, name: str, eps: float) -> None:
    pytest.importorskip("torch")
    assert getattr(getattr(pytest.importorskip("transformers"), config)(), name) == eps


ON_NUMPY = """
import numpy as np, keras
def say(key, function):
    try:
        print(key, function())
    except Exception as error:
        print(key, "error")
def call(heads=1, groups=1, keys=3, dtype="float32", size=2, fill=1.0):
    arrays = [np.full((1, n, h, size), fill, dtype) for n, h in ((2, heads), (keys, groups), (keys, groups))]
    return keras.ops.dot_product_attention(*arrays)
say("multi-query", lambda: call(heads=4).shape)
say("grouped", lambda: call(heads=4, groups=2).shape)
say("float64", lambda: call(dtype="float64").dtype)
say("float16", lambda: np.isnan(call(dtype="float16", size=64, fill=80.0)).all())
say("no keys", lambda: call(keys=0).shape)
"""


@pytest.mark.skipif(engine() != "tensorflow", reason="it is the same on every engine: once is enough")
def test_keras_ops_on_numpy(tmp_path: Any) -> None:
    pytest.importorskip("keras")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ON_NUMPY],
        env={**os.environ, "KERAS_BACKEND": "numpy", "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.split(" ", 1) if "keys" not in line else line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert found == {
        "multi-query": "(1, 2, 4, 2)",
        "grouped": "error",
        "float64": "float32",
        "float16": "True",
        "no keys": "error",
    }
