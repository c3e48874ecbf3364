"""The PyTorch room's layers equal those of `torch.nn` with the same weights, where their semantics meet."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn

from attention_ref.spec.architecture import EmbeddingConfig, ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Norm
from attention_ref.torch import Block, MultiHeadAttention, Transformer

MODEL, HEADS, HIDDEN, EPS = 12, 3, 20, 1e-2
LENGTHS, TARGET_LENGTHS = torch.tensor([5, 2]), torch.tensor([4, 3])
Tensors = dict[str, Any]


def random_module(module: Any) -> Any:
    """Set every tensor to random values; without dropout, training computes the same without fused paths."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.double().parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module.train()


def random_tensor(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def from_attention(theirs: nn.MultiheadAttention) -> Tensors:
    """Unpack the projections, and turn output-first to input-first."""
    packed = theirs.in_proj_weight
    kernels = (
        packed.chunk(3) if packed is not None else (theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight)
    )
    names = ("query", "key", "value")
    tensors = {
        f"{name}.kernel": kernel.T.unflatten(1, (HEADS, -1)) for name, kernel in zip(names, kernels, strict=True)
    }
    tensors["output.kernel"] = theirs.out_proj.weight.T.unflatten(0, (HEADS, -1))
    if theirs.in_proj_bias is not None:
        biases = zip(names, theirs.in_proj_bias.chunk(3), strict=True)
        tensors |= {f"{name}.bias": bias.unflatten(0, (HEADS, -1)) for name, bias in biases}
        tensors["output.bias"] = theirs.out_proj.bias
    return tensors


def from_linear(theirs: nn.Linear) -> Tensors:
    return {"kernel": theirs.weight.T} | ({} if theirs.bias is None else {"bias": theirs.bias})


def from_norm(theirs: nn.LayerNorm) -> Tensors:
    return {"gain": theirs.weight} | ({} if theirs.bias is None else {"bias": theirs.bias})


def from_layer(theirs: Any) -> Tensors:
    """Translate an encoder or decoder layer."""
    norms = ["self_attention_norm", "feedforward_norm"]
    parts = {"self_attention": from_attention(theirs.self_attn)}
    if isinstance(theirs, nn.TransformerDecoderLayer):
        parts["cross_attention"] = from_attention(theirs.multihead_attn)
        norms.insert(1, "cross_attention_norm")
    parts |= {name: from_norm(getattr(theirs, f"norm{i}")) for i, name in enumerate(norms, 1)}
    parts |= {"feedforward.input": from_linear(theirs.linear1), "feedforward.output": from_linear(theirs.linear2)}
    return joined(parts)


def from_stack(theirs: Any) -> Tensors:
    parts = {f"blocks.{i}": from_layer(layer) for i, layer in enumerate(theirs.layers)}
    return joined(parts if theirs.norm is None else {**parts, "norm": from_norm(theirs.norm)})


def joined(parts: dict[str, Tensors]) -> Tensors:
    return {f"{scope}.{name}": tensor for scope, tensors in parts.items() for name, tensor in tensors.items()}


def hidden(lengths: Any, length: int) -> Any:
    """PyTorch's mask of padding: True is hidden."""
    return torch.arange(length) >= lengths[:, None]


def later(length: int) -> Any:
    """PyTorch's causal mask."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def same(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def attention_config(bias: bool = True, **options: Any) -> AttentionConfig:
    names = ("query_bias", "key_bias", "value_bias", "output_bias")
    return AttentionConfig(model=MODEL, heads=HEADS, **dict.fromkeys(names, bias), **options)


def block_config(order: str, activation: str, *, cross: bool = False) -> BlockConfig:
    return BlockConfig(
        attention=attention_config(causal=cross),
        cross_attention=attention_config() if cross else None,
        feedforward=FeedForwardConfig(model=MODEL, hidden=HIDDEN, activation=activation),
        norm=Norm("layer", eps=EPS),
        order=order,
    )


def options(order: str, activation: str) -> dict[str, Any]:
    return {
        "d_model": MODEL,
        "nhead": HEADS,
        "dim_feedforward": HIDDEN,
        "dropout": 0.0,
        "layer_norm_eps": EPS,
        "activation": activation,
        "norm_first": order == "pre",
        "batch_first": True,
    }


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_attention(packed: bool, bias: bool) -> None:
    """Packed kernels read memory of the model size; with `kdim` and `vdim` the kernels are apart."""
    size = MODEL if packed else 7
    sizes = {} if packed else {"kdim": size, "vdim": size}
    theirs = random_module(nn.MultiheadAttention(MODEL, HEADS, bias=bias, batch_first=True, **sizes))
    ours = MultiHeadAttention(attention_config(bias, memory_size=size), from_attention(theirs))
    query, key, value = random_tensor(2, 4, MODEL), random_tensor(2, 5, size), random_tensor(2, 5, size).flip(0)
    mask = random_tensor(2, HEADS, 4, 5) > -0.5
    mask[..., 0] = True  # a row without any key is NaN there
    expected, weights = theirs(
        query,
        key,
        value,
        attn_mask=~mask.flatten(0, 1),
        key_padding_mask=hidden(LENGTHS, 5),
        average_attn_weights=False,
    )
    actual = ours(query, key, value, mask=mask, key_lengths=LENGTHS, return_weights=True)
    same(actual[0], expected)
    same(actual[1], weights)


def test_attention_with_a_bias_of_scores() -> None:
    """A mask of numbers there is a bias here."""
    theirs = random_module(nn.MultiheadAttention(MODEL, HEADS, batch_first=True))
    ours = MultiHeadAttention(attention_config(), from_attention(theirs))
    array, bias = random_tensor(2, 5, MODEL), random_tensor(5, 5)
    same(ours(array, bias=bias), theirs(array, array, array, attn_mask=bias)[0])


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("order", ["post", "pre"])
def test_encoder_layer(order: str, activation: str) -> None:
    theirs = random_module(nn.TransformerEncoderLayer(**options(order, activation)))
    ours = Block(block_config(order, activation), from_layer(theirs))
    array, mask = random_tensor(2, 5, MODEL), torch.eye(5, dtype=torch.bool) | (random_tensor(5, 5) > 0)
    mask[:, 0] = True
    expected = theirs(array, src_mask=~mask, src_key_padding_mask=hidden(LENGTHS, 5))
    same(ours(array, mask=mask, key_lengths=LENGTHS), expected)
    with torch.no_grad():  # and the fused path of evaluation, which gives zeros at padding
        fused = theirs.eval()(array, src_mask=~mask)
    same(ours(array, mask=mask), fused)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("order", ["post", "pre"])
def test_decoder_layer(order: str, activation: str) -> None:
    theirs = random_module(nn.TransformerDecoderLayer(**options(order, activation)))
    ours = Block(block_config(order, activation, cross=True), from_layer(theirs))
    array, memory = random_tensor(2, 4, MODEL), random_tensor(2, 5, MODEL)
    expected = theirs(
        array,
        memory,
        tgt_mask=later(4),
        tgt_key_padding_mask=hidden(TARGET_LENGTHS, 4),
        memory_key_padding_mask=hidden(LENGTHS, 5),
    )
    same(ours(array, memory, key_lengths=TARGET_LENGTHS, memory_lengths=LENGTHS), expected)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("order", ["post", "pre"])
def test_transformer(order: str) -> None:
    """Both stacks end with a norm, in post-norm order too, where the paper has none."""
    theirs = random_module(nn.Transformer(**options(order, "relu"), num_encoder_layers=2, num_decoder_layers=3))
    parameters = joined({"encoder": from_stack(theirs.encoder), "decoder": from_stack(theirs.decoder)})
    encoder, decoder = block_config(order, "relu"), block_config(order, "relu", cross=True)

    def config(norm: Norm | None) -> ModelConfig:
        return ModelConfig(
            encoder_stack=StackConfig(embedding=EmbeddingConfig(), blocks=(encoder,) * 2, norm=norm),
            decoder_stack=StackConfig(embedding=EmbeddingConfig(), blocks=(decoder,) * 3, norm=norm),
        )

    source, target = random_tensor(2, 5, MODEL), random_tensor(2, 4, MODEL)
    expected = theirs(
        source,
        target,
        tgt_mask=later(4),
        src_key_padding_mask=hidden(LENGTHS, 5),
        memory_key_padding_mask=hidden(LENGTHS, 5),
        tgt_key_padding_mask=hidden(TARGET_LENGTHS, 4),
    )
    lengths = {"lengths": LENGTHS, "target_lengths": TARGET_LENGTHS}
    same(Transformer(config(Norm("layer", eps=EPS)), parameters)(source, target, **lengths), expected)

    last = ("encoder.norm.gain", "encoder.norm.bias", "decoder.norm.gain", "decoder.norm.bias")
    without = Transformer(config(None), {name: t for name, t in parameters.items() if name not in last})
    theirs.encoder.norm = theirs.decoder.norm = None
    expected = theirs(
        source,
        target,
        tgt_mask=later(4),
        src_key_padding_mask=hidden(LENGTHS, 5),
        memory_key_padding_mask=hidden(LENGTHS, 5),
        tgt_key_padding_mask=hidden(TARGET_LENGTHS, 4),
    )
    same(without(source, target, **lengths), expected)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_gradients(activation: str) -> None:
    theirs = random_module(nn.TransformerDecoderLayer(**options("pre", activation)))
    ours = Block(block_config("pre", activation, cross=True), from_layer(theirs))
    array, memory = random_tensor(2, 4, MODEL), random_tensor(2, 5, MODEL)
    cotangent = random_tensor(2, 4, MODEL + 1)[..., :MODEL]
    (theirs(array, memory, tgt_mask=later(4)) * cotangent).sum().backward()
    (ours(array, memory) * cotangent).sum().backward()
    for parameter in theirs.parameters():
        parameter.data = parameter.grad
    for name, expected in from_layer(theirs).items():
        same(ours.get_parameter(name).grad, expected)
