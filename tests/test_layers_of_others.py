"""The specification's layers equal those of PyTorch and Keras with the same weights, where their semantics meet."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm, Rotary, RotaryScaling
from tests.families.family import biases, third_rows, translate, within
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
PACKED = {
    f"{name}.{leaf}": (third_rows(i), f"in_proj_{theirs}")
    for i, name in enumerate(("query", "key", "value"))
    for leaf, theirs in (("kernel", "weight"), ("bias", "bias"))
} | {"output": "out_proj"}
APART = PACKED | {f"{name}.kernel": f"{name[0]}_proj_weight" for name in ("query", "key", "value")}
FEEDFORWARD = {"feedforward.input": "linear1", "feedforward.output": "linear2"}
ENCODER_LAYER = {
    **within("self_attention", "self_attn", PACKED),
    "self_attention_norm": "norm1",
    "feedforward_norm": "norm2",
    **FEEDFORWARD,
}
DECODER_LAYER = {
    **within("self_attention", "self_attn", PACKED),
    **within("cross_attention", "multihead_attn", PACKED),
    "self_attention_norm": "norm1",
    "cross_attention_norm": "norm2",
    "feedforward_norm": "norm3",
    **FEEDFORWARD,
}
TRANSFORMER = {
    **within("encoder.blocks.*", "encoder.layers.*", ENCODER_LAYER),
    **within("decoder.blocks.*", "decoder.layers.*", DECODER_LAYER),
    "encoder.norm": "encoder.norm",
    "decoder.norm": "decoder.norm",
}


@pytest.fixture(params=[Specification], ids=["spec"])
def build(request: pytest.FixtureRequest) -> Build:
    """What makes a layer or model of a configuration and parameters."""
    return request.param


def random_module(module: Any) -> Any:
    """Give every tensor of a PyTorch module random values; without dropout, training takes no other path."""
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
    ours = build(config, translate(config, state(theirs), ENCODER_LAYER)[0])
    array = random_array(2, 5, MODEL)
    expected = theirs(torch.from_numpy(array), src_key_padding_mask=hidden(LENGTHS, 5))
    assert_same(ours(array, key_lengths=LENGTHS), expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("order", ["post", "pre"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_decoder_layer(activation: str, order: str, bias: bool, build: Build) -> None:
    theirs = random_module(nn.TransformerDecoderLayer(**torch_options(order, activation, bias)))
    config = block_config(order, activation, bias, cross=True)
    ours = build(config, translate(config, state(theirs), DECODER_LAYER)[0])
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
    tensors = state(theirs)
    parameters, read = translate(config, tensors, TRANSFORMER)
    assert read == set(tensors)
    source, target = random_array(2, 5, MODEL), random_array(2, 4, MODEL)
    expected = theirs(
        torch.from_numpy(source),
        torch.from_numpy(target),
        tgt_mask=torch.ones(4, 4, dtype=torch.bool).triu(1),
        src_key_padding_mask=hidden(LENGTHS, 5),
        memory_key_padding_mask=hidden(LENGTHS, 5),
        tgt_key_padding_mask=hidden(TARGET_LENGTHS, 4),
    )
    ours = build(config, parameters)
    assert_same(ours(source, target, lengths=LENGTHS, target_lengths=TARGET_LENGTHS), expected)


@pytest.mark.parametrize("memory", [None, 5])
@pytest.mark.parametrize("bias", [True, False])
def test_torch_attention(bias: bool, memory: int | None, build: Build) -> None:
    theirs = random_module(nn.MultiheadAttention(MODEL, HEADS, bias=bias, kdim=memory, vdim=memory, batch_first=True))
    config = AttentionConfig(model=MODEL, heads=HEADS, memory_size=memory, **biases(bias))
    ours = build(config, translate(config, state(theirs), APART if memory else PACKED)[0])
    query, key = random_array(2, 4, MODEL), random_array(2, 5, memory or MODEL)
    value = key[::-1].copy()
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
    assert_same(weights, expected_weights)


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


def half_of_rows(index: int) -> Any:
    """One of two kernels, one below the other."""
    return lambda array, shape: np.split(array, 2, axis=0)[index].T.reshape(shape)


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
    rows = {
        f"{name}.{leaf}": (half_of_rows(i), f"attn_layers.layers.1.1.ff.0.proj.{theirs}")
        for i, name in enumerate(("input", "gate"))
        for leaf, theirs in (("kernel", "weight"), ("bias", "bias"))
    }
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
    ours = build(config, translate(config, state(theirs), table)[0])(tokens)
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
    ours = build(config, translate(config, state(theirs), table)[0])
    # its softmax is float32
    np.testing.assert_allclose(ours(tokens, lengths=LENGTHS)[real.numpy()], expected.detach(), atol=1e-6)


def random_layer(layer: Any, *arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Build a Keras layer, give every weight random values, and give them by `part.leaf`."""
    layer(*arrays)
    weights = [random_array(*weight.shape, 1)[..., 0] for weight in layer.weights]
    layer.set_weights(weights)
    paths = ["/".join(weight.path.split("/")[-2:]) for weight in layer.weights]
    names = [path.replace("/", ".").replace("attention_output", "output") for path in paths]
    return dict(zip(names, weights, strict=True))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_keras_attention(causal: bool, bias: bool, build: Build) -> None:
    keras = pytest.importorskip("keras")
    query, memory = random_array(2, 4, MODEL), random_array(2, 5, 6)
    layer = keras.layers.MultiHeadAttention(3, 4, value_dim=5, use_bias=bias, output_shape=7, dtype="float64")
    parameters = random_layer(layer, query, memory)
    config = AttentionConfig(
        model=MODEL, heads=3, head_size=4, value_size=5, memory_size=6, output_size=7, causal=causal, **biases(bias)
    )
    mask = random_array(2, 4, 5) > -0.5
    mask[..., 0] = True
    expected = layer(query, memory, attention_mask=mask, use_causal_mask=causal)
    assert_same(build(config, parameters)(query, memory, mask=mask[:, None]), expected)


@pytest.mark.parametrize("bias", [True, False])
def test_keras_grouped_attention(bias: bool, build: Build) -> None:
    keras = pytest.importorskip("keras")
    query, memory = random_array(2, 4, MODEL), random_array(2, 5, MODEL)
    # a head size of 4 makes the scale exact, which Keras rounds to float32 in every dtype
    layer = keras.layers.GroupQueryAttention(4, 4, 2, use_bias=bias, dtype="float64")
    parameters = random_layer(layer, query, memory)
    config = AttentionConfig(model=MODEL, heads=4, kv_heads=2, head_size=4, **biases(bias))
    assert_same(build(config, parameters)(query, memory), layer(query, memory))
