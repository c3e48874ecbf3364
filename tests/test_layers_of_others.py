"""The specification's layers equal those of PyTorch and Keras with the same weights, where their semantics meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from attention_ref import weights
from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm, Rotary, RotaryScaling
from attention_ref.spec.errors import SpecificationError
from attention_ref.spec.parameters import parameters
from attention_ref.weights.layouts.layout import arrange
from attention_ref.weights.layouts.parts import biases
from attention_ref.weights.layouts.rules import SideBySide
from tests.families.specification import Specification

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional

Build = Callable[[Any, dict[str, np.ndarray]], Any]
MODEL, HEADS, HIDDEN, EPS = 8, 2, 6, 1e-2
LENGTHS, TARGET_LENGTHS = np.array([5, 3]), np.array([4, 2])

ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": functional.silu,
}


@pytest.fixture(params=[Specification], ids=["spec"])
def build(request: pytest.FixtureRequest) -> Build:
    """The function that builds a layer or model from a configuration and parameters."""
    return request.param


def random_module(module: Any) -> Any:
    """Set every tensor of a PyTorch module to random values; without dropout, training takes the same path."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.double().parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module.train()


def state(module: Any) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def random_array(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def hidden(lengths: np.ndarray, length: int) -> Any:
    """PyTorch's mask of padding: True is hidden."""
    return torch.from_numpy(np.arange(length) >= lengths[:, None])


def read(layer: str, arrays: dict[str, np.ndarray], config: Any, **options: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Read a layer, see that it has this configuration, and write it again, bit by bit."""
    made, params = weights.read_layer(layer, arrays, **options)
    assert made == config
    written, again = weights.write_layer(layer, made, params)
    assert all(options.get(name, value) == value for name, value in again.items())
    assert set(written) == {name if name in written else name.split("/", 1)[1] for name in arrays}
    for name, array in arrays.items():
        same = written[name if name in written else name.split("/", 1)[1]]
        assert (same.shape, same.tobytes()) == (array.shape, array.tobytes())
    return made, params


def read_options(order: str, activation: str) -> dict[str, Any]:
    """The options that the tensors do not show."""
    return {"nhead": HEADS, "activation": activation, "layer_norm_eps": EPS, "norm_first": order == "pre"}


def assert_same(actual: np.ndarray, expected: Any) -> None:
    expected = np.asarray(expected.detach() if hasattr(expected, "detach") else expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13 * np.max(np.abs(expected)))


def block_config(order: str, activation: str, bias: bool, *, cross: bool) -> BlockConfig:
    attention = AttentionConfig(model=MODEL, heads=HEADS, causal=cross, **biases(bias))
    memory = AttentionConfig(model=MODEL, heads=HEADS, **biases(bias))
    feedforward = FeedForwardConfig(
        model=MODEL, hidden=HIDDEN, activation=activation, input_bias=bias, output_bias=bias
    )
    norm = Norm("layer", eps=EPS, bias=bias)
    cross_attention = memory if cross else None
    return BlockConfig(
        attention=attention, cross_attention=cross_attention, feedforward=feedforward, norm=norm, order=order
    )


def torch_options(order: str, activation: str, bias: bool) -> dict[str, Any]:
    return {
        "d_model": MODEL,
        "nhead": HEADS,
        "dim_feedforward": HIDDEN,
        "dropout": 0.0,
        "layer_norm_eps": EPS,
        "activation": ACTIVATIONS[activation],
        "norm_first": order == "pre",
        "batch_first": True,
        "bias": bias,
    }


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("order", ["post", "pre"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_encoder_layer(activation: str, order: str, bias: bool, build: Build) -> None:
    theirs = random_module(nn.TransformerEncoderLayer(**torch_options(order, activation, bias)))
    config = block_config(order, activation, bias, cross=False)
    ours = build(*read("torch.nn.TransformerEncoderLayer", state(theirs), config, **read_options(order, activation)))
    array = random_array(2, 5, MODEL)
    expected = theirs(torch.from_numpy(array), src_key_padding_mask=hidden(LENGTHS, 5))
    assert_same(ours(array, key_lengths=LENGTHS), expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("order", ["post", "pre"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_decoder_layer(activation: str, order: str, bias: bool, build: Build) -> None:
    theirs = random_module(nn.TransformerDecoderLayer(**torch_options(order, activation, bias)))
    config = block_config(order, activation, bias, cross=True)
    ours = build(*read("torch.nn.TransformerDecoderLayer", state(theirs), config, **read_options(order, activation)))
    array, memory = random_array(2, 4, MODEL), random_array(2, 5, MODEL)
    expected = theirs(
        torch.from_numpy(array),
        torch.from_numpy(memory),
        tgt_mask=torch.ones(4, 4, dtype=torch.bool).triu(1),
        tgt_key_padding_mask=hidden(TARGET_LENGTHS, 4),
        memory_key_padding_mask=hidden(LENGTHS, 5),
    )
    assert_same(ours(array, memory, key_lengths=TARGET_LENGTHS, memory_lengths=LENGTHS), expected)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("order", ["post", "pre"])
def test_transformer(order: str, build: Build) -> None:
    """Both stacks end with a norm, in post-norm order too, where the paper has none: a configuration says so."""
    options = {**torch_options(order, "gelu", True), "num_encoder_layers": 2, "num_decoder_layers": 3}
    theirs = random_module(nn.Transformer(**options))
    encoding, decoding = (block_config(order, "gelu", True, cross=cross) for cross in (False, True))
    norm = Norm("layer", eps=EPS)
    config = ModelConfig(
        encoder_stack=StackConfig(embedding=EmbeddingConfig(), blocks=(encoding,) * 2, norm=norm),
        decoder_stack=StackConfig(embedding=EmbeddingConfig(), blocks=(decoding,) * 3, norm=norm),
    )
    source, target = random_array(2, 5, MODEL), random_array(2, 4, MODEL)
    expected = theirs(
        torch.from_numpy(source),
        torch.from_numpy(target),
        tgt_mask=torch.ones(4, 4, dtype=torch.bool).triu(1),
        src_key_padding_mask=hidden(LENGTHS, 5),
        memory_key_padding_mask=hidden(LENGTHS, 5),
        tgt_key_padding_mask=hidden(TARGET_LENGTHS, 4),
    )
    ours = build(*read("torch.nn.Transformer", state(theirs), config, **read_options(order, "gelu")))
    assert_same(ours(source, target, lengths=LENGTHS, target_lengths=TARGET_LENGTHS), expected)


@pytest.mark.parametrize("sizes", [(None, None), (5, 5), (5, 3), (MODEL, 3)], ids=str)
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_torch_attention(bias: bool, trained: bool, sizes: tuple[int | None, int | None], build: Build) -> None:
    """Keys and values of other sizes; a trained key and value, which PyTorch puts behind the others."""
    options = {"bias": bias, "kdim": sizes[0], "vdim": sizes[1], "add_bias_kv": trained}
    theirs = random_module(nn.MultiheadAttention(MODEL, HEADS, batch_first=True, **options))
    own = None if sizes[0] == sizes[1] else sizes[1]
    memory = {"memory_size": sizes[0], "value_memory_size": own, "trained_key_value": trained}
    config = AttentionConfig(model=MODEL, heads=HEADS, **memory, **biases(bias))
    ours = build(*read("torch.nn.MultiheadAttention", state(theirs), config, num_heads=HEADS))
    query, key, value = random_array(2, 4, MODEL), *(random_array(2, 5, size or MODEL) for size in sizes)
    mask = random_array(4, 5) > -0.5
    mask[:, 0] = True
    expected, expected_weights = theirs(
        *map(torch.from_numpy, (query, key, value)),
        attn_mask=torch.from_numpy(~mask),
        key_padding_mask=hidden(LENGTHS, 5),
        average_attn_weights=False,
    )
    output, weights = ours(query, key, value, mask=mask, key_lengths=LENGTHS, return_weights=True)
    assert_same(output, expected)
    assert_same(np.roll(weights, -1, axis=-1) if trained else weights, expected_weights)
    first, bias = mask[:, 1:2], random_array(HEADS, 4, 1)
    expanded = ours(
        query, key, value, mask=np.broadcast_to(first, mask.shape), bias=np.broadcast_to(bias, (HEADS, 4, 5))
    )
    assert_same(ours(query, key, value, mask=first, bias=bias), torch.from_numpy(expanded))


X_TRANSFORMERS = {
    "embedding.token": "token_emb.emb.weight",
    "blocks.*.self_attention_norm.gain": "attn_layers.layers.*.0.0.{gain}",
    "blocks.*.self_attention.query": "attn_layers.layers.*.1.to_q",
    "blocks.*.self_attention.key": "attn_layers.layers.*.1.to_k",
    "blocks.*.self_attention.value": "attn_layers.layers.*.1.to_v",
    "blocks.*.self_attention.output": "attn_layers.layers.*.1.to_out",
    "blocks.*.feedforward_norm.gain": "attn_layers.layers.1.0.0.{gain}",
    "blocks.*.feedforward.output": "attn_layers.layers.1.1.ff.2",
    "norm.gain": "attn_layers.final_norm.{gain}",
}
"""Of one block: its layers are attention and feed-forward in turn."""


def translate(config: Any, arrays: dict[str, np.ndarray], table: dict[str, Any]) -> dict[str, np.ndarray]:
    """Our parameters, of the tensors of a library without a layout."""
    found = {}
    for source in arrange(table, parameters(config)):
        made = source.rule.read(arrays[source.name], source.parameters)
        found |= dict(zip(source.ours, made, strict=True))
    return found


def x_transformers_model(stack: str, gain: str, feedforward: dict[str, Any], layers: Any) -> tuple[Any, dict[str, Any]]:
    """A model of one block with random values, and the table of its tensors."""
    library = pytest.importorskip("x_transformers")
    options = {"num_tokens": 11, "max_seq_len": 9, "use_abs_pos_emb": False}
    theirs = library.TransformerWrapper(**options, attn_layers=layers(library))
    table = {f"{stack}.{ours}": name.format(gain=gain) for ours, name in X_TRANSFORMERS.items()}
    inputs = {f"{stack}.blocks.*.feedforward.{name}": source for name, source in feedforward.items()}
    return random_module(theirs), {**table, **inputs, "head": "to_logits"}


def x_transformers_config(causal: bool, attention: dict[str, Any], gated: bool, norm: Norm) -> ModelConfig:
    block = BlockConfig(
        attention=AttentionConfig(model=MODEL, head_size=4, causal=causal, **attention, **biases(False)),
        feedforward=FeedForwardConfig(
            model=MODEL, hidden=4 * MODEL, activation="silu" if gated else "gelu", gated=gated
        ),
        norm=norm,
        order="pre",
    )
    stack = StackConfig(embedding=EmbeddingConfig(vocab=11), blocks=(block,), norm=norm)
    head = HeadConfig(kind="language", size=11)
    return ModelConfig(decoder_stack=stack, head=head) if causal else ModelConfig(encoder_stack=stack, head=head)


def test_x_transformers_rotary(build: Build) -> None:
    """Interleaved, on half of each head; grouped heads; gated feed-forward; RMSNorm. Its NTK scaling is ours."""
    rows = {"input+gate": SideBySide("attn_layers.layers.1.1.ff.0.proj", transposed=True)}
    options = {"rotary_pos_emb": True, "rotary_emb_dim": 4, "rotary_base_rescale_factor": 3.0}
    options |= {"ff_glu": True, "ff_swish": True, "attn_kv_heads": 1, "use_rmsnorm": True, "attn_dim_head": 4}
    theirs, table = x_transformers_model(
        "decoder", "g", rows, lambda library: library.Decoder(dim=MODEL, depth=1, heads=2, **options)
    )
    rotary = Rotary(dimension=4, interleaved=True, scaling=RotaryScaling(kind="ntk", factor=3.0))
    norm = Norm("rms", eps=0.0, gain_offset=1.0)
    config = x_transformers_config(True, {"heads": 2, "kv_heads": 1, "rotary": rotary}, True, norm)
    tokens = np.random.default_rng(2).integers(0, 11, (2, 6))
    expected = theirs(torch.from_numpy(tokens))
    ours = build(config, translate(config, state(theirs), table))(tokens)
    np.testing.assert_allclose(ours, expected.detach(), atol=1e-6)  # its softmax and frequencies are float32


def test_x_transformers_alibi(build: Build) -> None:
    """In both directions, for three heads; LayerNorm without bias."""
    options = {"alibi_pos_bias": True, "attn_dim_head": 4}
    inputs = {"input": "attn_layers.layers.1.1.ff.0.0"}
    theirs, table = x_transformers_model(
        "encoder", "gamma", inputs, lambda library: library.Encoder(dim=MODEL, depth=1, heads=3, **options)
    )
    norm = Norm("layer", eps=1e-5, bias=False, gain_offset=1.0)
    config = x_transformers_config(False, {"heads": 3, "alibi": True}, False, norm)
    tokens = np.random.default_rng(2).integers(0, 11, (2, 6))
    real = ~hidden(LENGTHS, 6)
    expected = theirs(torch.from_numpy(tokens), mask=real)[real]
    ours = build(config, translate(config, state(theirs), table))
    # its softmax is float32
    np.testing.assert_allclose(ours(tokens, lengths=LENGTHS)[real.numpy()], expected.detach(), atol=1e-6)


def random_layer(layer: Any, *arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Build a Keras layer, give every weight random values, and give them by path."""
    layer(*arrays)
    values = [random_array(*weight.shape, 1)[..., 0].astype(weight.dtype) for weight in layer.weights]
    layer.set_weights(values)
    return dict(zip([weight.path for weight in layer.weights], values, strict=True))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_keras_attention(causal: bool, bias: bool, build: Build) -> None:
    keras = pytest.importorskip("keras")
    query, memory = random_array(2, 4, MODEL), random_array(2, 5, 6)
    layer = keras.layers.MultiHeadAttention(3, 4, value_dim=5, use_bias=bias, output_shape=7, dtype="float64")
    arrays = random_layer(layer, query, memory)
    config = AttentionConfig(
        model=MODEL, heads=3, head_size=4, value_size=5, memory_size=6, output_size=7, causal=causal, **biases(bias)
    )
    mask = random_array(2, 4, 5) > -0.5
    mask[..., 0] = True
    expected = layer(query, memory, attention_mask=mask, use_causal_mask=causal)
    options = {**layer.get_config(), "causal": causal}
    ours = build(*read("keras.layers.MultiHeadAttention", arrays, config, **options))
    assert_same(ours(query, memory, mask=mask[:, None]), expected)


@pytest.mark.parametrize("bias", [True, False])
def test_keras_grouped_attention(bias: bool, build: Build) -> None:
    keras = pytest.importorskip("keras")
    query, memory = random_array(2, 4, MODEL), random_array(2, 5, MODEL)
    # a head size of 4 makes the scale exact, which Keras rounds to float32 in every dtype
    layer = keras.layers.GroupQueryAttention(4, 4, 2, use_bias=bias, dtype="float64")
    arrays = random_layer(layer, query, memory)
    config = AttentionConfig(model=MODEL, heads=4, kv_heads=2, head_size=4, **biases(bias))
    ours = build(*read("keras.layers.GroupQueryAttention", arrays, config, **layer.get_config()))
    assert_same(ours(query, memory), layer(query, memory))


@pytest.mark.parametrize("order", ["post", "pre"])
@pytest.mark.parametrize("crosses", [False, True])
def test_keras_hub_block(crosses: bool, order: str, build: Build) -> None:
    library = pytest.importorskip("keras_hub")
    kind = library.layers.TransformerDecoder if crosses else library.layers.TransformerEncoder
    layer = kind(HIDDEN, HEADS, layer_norm_epsilon=EPS, normalize_first=order == "pre", activation="silu")
    array, memory = random_array(2, 4, MODEL), random_array(2, 5, MODEL)
    given = (array, memory) if crosses else (array,)
    arrays = random_layer(layer, *given)
    config = replace(block_config(order, "silu", True, cross=crosses), dropout=0.0)
    names = ("attention", "cross_attention") if crosses else ("attention",)
    sized = {name: replace(getattr(config, name), head_size=MODEL // HEADS) for name in names}
    name = f"keras_hub.layers.{kind.__name__}"
    ours = build(*read(name, arrays, replace(config, **sized), **layer.get_config()))
    actual = ours(*(each.astype(np.float32).astype(np.float64) for each in given))
    np.testing.assert_allclose(actual, np.asarray(layer(*given)), atol=1e-4)  # it computes in float32


def test_what_a_layer_has_and_we_do_not_compute_is_refused() -> None:
    """All in one error, by name."""
    theirs = random_module(nn.MultiheadAttention(MODEL, HEADS))
    with pytest.raises(SpecificationError) as error:
        weights.read_layer("torch.nn.MultiheadAttention", state(theirs), num_heads=2, add_zero_attn=True, haeds=3)
    for text in ("add_zero_attn is True", "haeds is not known"):
        assert text in str(error.value)
    layer = nn.TransformerEncoderLayer(MODEL, HEADS, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1, nn.LayerNorm(MODEL, eps=0.1))
    with pytest.raises(SpecificationError, match="norm_eps, the eps of the norm at the end, is missing"):
        weights.read_layer("torch.nn.TransformerEncoder", state(encoder), nhead=2)
    config, _ = weights.read_layer("torch.nn.TransformerEncoder", state(encoder), nhead=2, norm_eps=0.1)
    assert (config.norm, config.blocks[0].norm.eps) == (Norm("layer", eps=0.1), 1e-5)
