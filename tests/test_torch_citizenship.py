"""The PyTorch room's modules do what PyTorch's users expect of a module."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.utils.checkpoint import checkpoint

from attention_ref import weights
from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.arrays import Array
from attention_ref.spec.config import (
    AttentionConfig,
    BlockConfig,
    FeedForwardConfig,
    Learned,
    MixtureConfig,
    Norm,
    RelativeBias,
    Rotary,
)
from attention_ref.spec.errors import SpecificationError
from attention_ref.spec.model import Transformer as Specification
from attention_ref.spec.parameters import parameters
from attention_ref.spec.trace import Traced, gradients
from attention_ref.torch import (
    Block,
    Cache,
    Embedding,
    MixtureOfExperts,
    MultiHeadAttention,
    Stack,
    Transformer,
    attention,
)

SOURCE, LENGTHS = torch.tensor([[1, 3, 4, 2, 5], [2, 6, 5, 0, 0]]), torch.tensor([5, 3])
TARGET, TARGET_LENGTHS = torch.tensor([[1, 6, 3], [2, 4, 0]]), torch.tensor([3, 2])
PAIR = {"lengths": LENGTHS, "target_lengths": TARGET_LENGTHS}


def pair_config(*, dropout: float = 0.0) -> ModelConfig:
    """A small encoder-decoder with a shared and tied embedding, and most options somewhere."""
    layer, rms = Norm("layer", eps=1e-3), Norm("rms", eps=1e-3)
    own = AttentionConfig(model=8, heads=4, kv_heads=2, query_key_norm=rms, sinks=True, dropout=dropout)
    causal = AttentionConfig(
        model=8, heads=2, rotary=Rotary(), window=(3, None), causal=True, softcap=4.0, dropout=dropout
    )
    cross = AttentionConfig(model=8, heads=2, dropout=dropout)
    wide = FeedForwardConfig(model=8, hidden=6, activation="gelu", dropout=dropout)
    gated = FeedForwardConfig(model=8, hidden=6, activation="silu", gated=True, dropout=dropout)
    encoder = BlockConfig(attention=own, feedforward=wide, norm=layer, order="post", dropout=dropout)
    decoder = BlockConfig(
        attention=causal, cross_attention=cross, feedforward=gated, norm=rms, order="sandwich", dropout=dropout
    )
    reads = EmbeddingConfig(vocab=7, positions=Learned(length=12), norm=layer, dropout=dropout)
    writes = EmbeddingConfig(vocab=7, scale=8**0.5, dropout=dropout)
    relative = RelativeBias(buckets=4, maximum_distance=4, bidirectional=False)
    return ModelConfig(
        encoder_stack=StackConfig(embedding=reads, blocks=(encoder,)),
        decoder_stack=StackConfig(embedding=writes, blocks=(decoder,), relative_bias=relative, norm=rms),
        head=HeadConfig(kind="language", size=7, tied=True, scale=0.5, bias=True),
        shared_embedding=True,
    )


def random_parameters(config: Any) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(2)
    drawn = weights.init(config, dtype=np.float64)
    return {name: array + 0.3 * generator.normal(size=array.shape) for name, array in drawn.items()}


def pair_model(**options: Any) -> Transformer:
    config = pair_config(**options)
    return Transformer(config, random_parameters(config)).eval()


def decoder_model() -> Transformer:
    config = ModelConfig.decoder(vocab=7, model=8, heads=2, kv_heads=1, layers=2, feedforward=6, positions=Rotary())
    return Transformer(config, random_parameters(config)).eval()


def same(actual: Any, expected: Any, tolerance: float = 1e-13) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def test_tree_is_the_state() -> None:
    config = pair_config()
    given = random_parameters(config)
    state = Transformer(config, given).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        name: parameter.shape for name, parameter in parameters(config).items()
    }
    for name, array in given.items():
        np.testing.assert_array_equal(state[name].numpy(), array, strict=True)


@pytest.mark.parametrize(
    "build", [partial(Transformer, pair_config()), partial(Block, pair_config().decoder_stack.blocks[0])]
)
def test_parameters_are_copied_and_checked(build: Any) -> None:
    state = build().state_dict()
    expected = weights.init(build.args[0])
    assert all(np.array_equal(tensor, expected[name]) for name, tensor in state.items()), "fresh ones are those of init"
    module = build(state)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert all(np.array_equal(tensor, expected[name]) for name, tensor in state.items()), "the given ones stay"
    name = next(iter(state))
    with pytest.raises(SpecificationError, match=f"missing {name}.*\n?.*unexpected other"):
        build({"other" if key == name else key: tensor for key, tensor in state.items()})


def test_dtype_of_the_parameters_is_kept() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    config = pair_config()
    given = weights.init(config, dtype=ml_dtypes.bfloat16)
    state = Transformer(config, given).state_dict()
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    assert all(np.array_equal(state[name].float(), array.astype(np.float32)) for name, array in given.items())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 6e-2), (torch.float16, 6e-3)])
def test_to_dtype(dtype: Any, tolerance: float) -> None:
    model = pair_model()
    model.to(dtype)
    exact = copy.deepcopy(model).double()  # the same, rounded parameters
    output = model(SOURCE, TARGET, **PAIR)
    assert output.dtype == dtype
    same(output.double(), exact(SOURCE, TARGET, **PAIR), tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_to_cuda(dtype: Any, tolerance: float) -> None:
    model = pair_model().to(dtype)
    expected = model(SOURCE, TARGET, **PAIR)
    model.to("cuda")
    lengths = {name: tensor.cuda() for name, tensor in PAIR.items()}
    actual = model(SOURCE.cuda(), TARGET.cuda(), **lengths)
    assert actual.is_cuda
    same(actual.cpu(), expected, tolerance)
    arrays = {name: tensor.numpy() for name, tensor in PAIR.items()}
    same(model(SOURCE.numpy(), TARGET.numpy(), **arrays).cpu(), expected, tolerance)  # what is no tensor is moved
    with torch.autocast("cuda", torch.float16):
        rounded = model(SOURCE.cuda(), TARGET.cuda(), **lengths)
    assert rounded.dtype == dtype
    same(rounded.cpu(), expected, 0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype: Any) -> None:
    """The products with parameters are rounded; attention between them, the norms and all that is stored are not."""
    model = pair_model().float()
    expected = model(SOURCE, TARGET, **PAIR)
    taps: dict[str, Any] = {}
    with torch.autocast("cpu", dtype):
        output = model(SOURCE, TARGET, **PAIR, tap=taps.__setitem__)
    assert {tensor.dtype for tensor in taps.values()} == {torch.float32}
    error = (output - expected).abs().max().item()
    assert 1e-5 < error < 0.1, "products are rounded to the lower precision"
    name = "decoder.blocks.0.cross_attention"
    weights = taps[f"{name}.weights"]
    same(taps[f"{name}.heads"], weights @ taps[f"{name}.value"], 1e-6)
    output.sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_autocast_of_low_precision_input() -> None:
    config = replace(pair_config().encoder_stack.blocks[0].attention, relative_bias=RelativeBias())
    layer = MultiHeadAttention(config)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.ones(2, 3, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def compiled(function: Any) -> Any:
    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")


@torch.no_grad()
def test_compiled_layers() -> None:
    model = pair_model()
    array, memory = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 4, 8, dtype=torch.float64)
    attention, block = model.encoder.blocks[0].self_attention, model.decoder.blocks[0]
    same(compiled(attention)(array, key_lengths=LENGTHS), attention(array, key_lengths=LENGTHS))
    options = {"memory_lengths": TARGET_LENGTHS, "key_lengths": LENGTHS}
    same(compiled(block)(array, memory, **options), block(array, memory, **options))


@torch.no_grad()
def test_a_compiled_call_is_one_operation() -> None:
    graphs = []
    query = torch.randn(2, 4, 5, 8, dtype=torch.float64)
    key, value = query[:, :2], query[:, 2:, :, :3]
    options = {"causal": True, "query_offset": 1, "window": (2, None), "softcap": 3, "return_log_sum_exp": True}

    def backend(module: Any, _: Any) -> Any:
        graphs.append(module.graph)
        return module.forward

    torch.compiler.reset()
    call = torch.compile(lambda *arrays: attention(*arrays, **options), fullgraph=True, backend=backend)
    for found, expected in zip(call(query, key, value), attention(query, key, value, **options), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    operation = torch.ops.attention_ref.attention.default
    (node,) = [node for node in graphs[0].nodes if node.target in (operation, operation.overloadpacket)]
    torch.library.opcheck(operation, (query, key, value, *node.args[3:]))
    mapped = torch.vmap(lambda rows: operation(rows, key, value, *node.args[3:])[0])(torch.stack([query, query * 2]))
    torch.testing.assert_close(mapped[1], attention(query * 2, key, value, **options)[0], rtol=0, atol=0)


def test_compiled_model() -> None:
    model, other = pair_model(), pair_model()
    output, expected = compiled(model)(SOURCE, TARGET, **PAIR), other(SOURCE, TARGET, **PAIR)
    same(output, expected)
    output.square().sum().backward()
    expected.square().sum().backward()
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        same(ours.grad, theirs.grad, 1e-11)


def test_compiled_training() -> None:
    """Dropout is drawn anew at each call of what was compiled."""
    block, array = pair_model(dropout=0.3).encoder.blocks[0].train(), torch.randn(2, 5, 8, dtype=torch.float64)
    call = compiled(block)
    assert not torch.equal(call(array), call(array))


@torch.no_grad()
def test_compiled_decoding() -> None:
    model = decoder_model()
    expected = model(SOURCE)
    _, cache = model.decode(SOURCE[:, :2], return_cache=True)
    step = compiled(partial(model.decode, return_cache=True))
    for place in range(2, 5):
        array, cache = step(SOURCE[:, place : place + 1], cache=cache)
        same(model.read(array)[:, 0], expected[:, place])


@pytest.mark.parametrize("strict", [False, True])
def test_export(strict: bool) -> None:
    """One program for every batch and every length."""
    batch, length, target_length = (torch.export.Dim(name, min=2, max=12) for name in ("batch", "length", "target"))
    shapes = {
        "source": {0: batch, 1: length},
        "target": {0: batch, 1: target_length},
        "lengths": {0: batch},
        "target_lengths": {0: batch},
    }
    model = pair_model()
    program = torch.export.export(model, (SOURCE, TARGET), PAIR, dynamic_shapes=shapes, strict=strict)
    source, target = SOURCE.repeat(2, 2), TARGET.repeat(2, 3)
    options = {"lengths": torch.tensor([10, 3, 1, 7]), "target_lengths": torch.tensor([9, 1, 5, 2])}
    same(program.module()(source, target, **options), model(source, target, **options))


def test_export_with_token_types() -> None:
    stack = replace(pair_config().encoder_stack, embedding=EmbeddingConfig(vocab=7, types=2))
    torch.export.export(Stack(stack).eval(), (SOURCE,)).module()


def test_gradients_are_those_of_the_specification() -> None:
    config = pair_config()
    given = random_parameters(config)
    model = Transformer(config, given)
    cotangent = np.random.default_rng(5).normal(size=(1, 2, 7))
    source, target, lengths = SOURCE[1:, :3], TARGET[1:, :2], torch.tensor([2])
    (model(source, target, lengths=lengths) * torch.from_numpy(cotangent)).sum().backward()

    traced = {
        name: Array(array.shape, [Traced(number) for number in array.ravel().tolist()], "real")
        for name, array in given.items()
    }
    options = {"lengths": Array((1,), [2], "integer")}
    output = Specification(config, traced)(source.tolist(), target.tolist(), **options)
    leaves = [number for array in traced.values() for number in array.values]
    expected = iter(gradients(output.values, cotangent.ravel().tolist(), leaves))
    for name, array in traced.items():
        slopes = torch.tensor([next(expected) for _ in array.values], dtype=torch.float64).reshape(array.shape)
        same(model.get_submodule(name.rpartition(".")[0])._parameters[name.rpartition(".")[2]].grad, slopes, 1e-12)


def test_gradients_are_finite_differences() -> None:
    model = pair_model()
    state = dict(model.named_parameters())

    def call(*tensors: Any) -> Any:
        return torch.func.functional_call(model, dict(zip(state, tensors, strict=True)), (SOURCE, TARGET), PAIR)

    inputs = tuple(tensor.detach().clone().requires_grad_() for tensor in state.values())
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    call(*inputs).square().sum().backward()
    for name, tensor in zip(state, inputs, strict=True):
        is_flat = name.endswith("cross_attention.key.bias")  # it shifts all scores of a query alike
        assert (tensor.grad.abs().max().item() > 1e-9) is not is_flat, name


def test_functional_call_reaches_tied_parameters() -> None:
    model, other = pair_model(), Transformer(pair_config())
    result = torch.func.functional_call(other.eval(), model.state_dict(), (SOURCE, TARGET), PAIR)
    same(result, model(SOURCE, TARGET, **PAIR))  # not bit by bit: only one of them needs gradients


def test_per_example_gradients() -> None:
    model = decoder_model()
    state = {name: tensor.detach() for name, tensor in model.named_parameters()}

    def loss(state: Any, tokens: Any) -> Any:
        return torch.func.functional_call(model, state, (tokens[None],)).square().sum()

    apart = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(state, SOURCE)
    together = torch.func.grad(lambda state: loss(state, SOURCE[0]) + loss(state, SOURCE[1]))(state)
    for name, gradient in apart.items():
        same(gradient.sum(0), together[name], 1e-11)


def test_copies() -> None:
    model = pair_model()
    expected = model(SOURCE, TARGET, **PAIR)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    loaded = Transformer(pair_config()).double().eval()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
        same(other(SOURCE, TARGET, **PAIR), expected, 0)
        with torch.no_grad():
            other.encoder.embedding.token.zero_()
        assert other(SOURCE, TARGET, **PAIR).abs().max() < 1, "the head and the decoder read the copy's own table"
        same(model(SOURCE, TARGET, **PAIR), expected, 0)


def test_weights_files(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    model = pair_model()
    weights.save(tmp_path / "model.safetensors", model.config, {n: t.numpy() for n, t in model.state_dict().items()})
    loaded = Transformer(*weights.load(tmp_path / "model.safetensors")).eval()
    same(loaded(SOURCE, TARGET), model(SOURCE, TARGET), 0)


def test_checkpointing() -> None:
    model, other = pair_model(dropout=0.2).train(), pair_model(dropout=0.2).train()
    for block in [*model.encoder.blocks, *model.decoder.blocks]:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    results = []
    for each in (model, other):
        torch.manual_seed(3)
        output = each(SOURCE, TARGET, **PAIR)
        output.square().sum().backward()
        results.append(output)
    same(*results)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        same(ours.grad, theirs.grad, 1e-11)


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    distributed = pytest.importorskip("torch.distributed")
    if not distributed.is_available():
        pytest.skip("this PyTorch has no torch.distributed")
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_distributed_data_parallel() -> None:
    model, other = pair_model(), pair_model()
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    for each in (wrapped, other):
        each(SOURCE, TARGET, **PAIR).square().sum().backward()
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        same(ours.grad, theirs.grad, 1e-12)


@pytest.mark.usefixtures("process_group")
def test_fully_sharded() -> None:
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    if not hasattr(fsdp, "fully_shard"):
        pytest.skip("this PyTorch has no fully_shard")
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    model, other = pair_model(), pair_model()
    for block in [*model.encoder.blocks, *model.decoder.blocks]:
        fsdp.fully_shard(block, mesh=mesh)
    fsdp.fully_shard(model, mesh=mesh)
    for each in (model, other):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        each(SOURCE, TARGET, **PAIR).square().mean().backward()
        optimizer.step()
    same(model(SOURCE, TARGET, **PAIR), other(SOURCE, TARGET, **PAIR), 1e-12)


def test_meta_device() -> None:
    with torch.device("meta"):
        model = Transformer(pair_config())
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert model(SOURCE.to("meta"), TARGET.to("meta"), lengths=LENGTHS.to("meta")).shape == (2, 3, 7)
    model.to_empty(device="cpu").double().eval().load_state_dict(pair_model().state_dict())
    same(model(SOURCE, TARGET), pair_model()(SOURCE, TARGET), 0)


def test_a_mixture_of_experts_where_the_choice_cannot_be_read() -> None:
    """Compiled, under vmap and on the meta device, every expert computes every token; the numbers are the same."""
    wide = FeedForwardConfig(model=8, hidden=6, activation="gelu")
    config = MixtureConfig(expert=wide, experts=3, chosen=2, correction_bias=True, shared=wide, shared_gate=True)
    layer = MixtureOfExperts(config, random_parameters(config))
    array = torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = layer(array)
    expected.square().sum().backward()
    slopes = {name: parameter.grad for name, parameter in layer.named_parameters()}
    layer.zero_grad()
    output = compiled(layer)(array)
    same(output, expected)
    output.square().sum().backward()
    for name, parameter in layer.named_parameters():
        theirs = torch.zeros_like(parameter) if slopes[name] is None else slopes[name]
        same(parameter.grad if parameter.grad is not None else torch.zeros_like(parameter), theirs, 1e-12)
    same(torch.func.vmap(layer)(array), expected)
    with torch.device("meta"):
        assert MixtureOfExperts(config)(array.float().to("meta")).shape == array.shape
    with torch.autocast("cpu", torch.bfloat16):
        rounded = copy.deepcopy(layer).float()(array.float())
    assert rounded.dtype == torch.float32
    assert 1e-5 < (rounded - expected).abs().max() < 0.1


RATE = 0.25


def dropping(part: str) -> BlockConfig:
    """A block that drops in one part alone."""
    rates = {name: RATE if name == part else 0.0 for name in ("attention", "feedforward", "block")}
    return BlockConfig(
        attention=AttentionConfig(model=32, heads=4, value_size=16, dropout=rates["attention"]),
        feedforward=FeedForwardConfig(model=32, hidden=64, activation="gelu", dropout=rates["feedforward"]),
        norm=Norm("layer", eps=1e-5),
        order="pre",
        dropout=rates["block"],
    )


def of_weights(array: Any) -> tuple[Any, Any, Any]:
    layer = Block(dropping("attention")).self_attention
    key, value = torch.randn(4, 4, 16, 8), torch.eye(16).expand(4, 4, 16, 16)  # with unit vectors, heads are weights
    taps = taps_of(layer, array, memory=Cache(key, value, torch.full((4,), 16)))
    return layer, taps["weights"], taps["heads"]


def of_hidden(array: Any) -> tuple[Any, Any, Any]:
    layer = Block(dropping("feedforward")).feedforward
    read = read_by(layer.output)
    return layer, taps_of(layer, array)["hidden"], read[0]


def of_sublayers(array: Any) -> tuple[Any, Any, Any]:
    block = Block(dropping("block"))
    read = read_by(block.feedforward_norm)
    return block, taps_of(block, array)["self_attention.output"], read[0] - array


def of_embedding(array: Any) -> tuple[Any, Any, Any]:
    layer = Embedding(EmbeddingConfig(dropout=RATE), {})
    return layer, array, taps_of(layer, array)["output"]


def taps_of(module: Any, array: Any, **options: Any) -> dict[str, Any]:
    taps: dict[str, Any] = {}
    module(array, tap=taps.__setitem__, **options)
    return taps


def read_by(module: Any) -> list[Any]:
    """The inputs of a module."""
    read: list[Any] = []
    module.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    return read


@pytest.mark.parametrize("case", [of_weights, of_hidden, of_sublayers, of_embedding])
def test_dropout(case: Any) -> None:
    """Training drops a quarter, divides the rest by three quarters and follows PyTorch's generator."""
    torch.manual_seed(0)
    array = torch.randn(4, 16, 32)
    layer, whole, dropped = case(array)
    kept = dropped != 0
    share, spread = 1 - kept.double().mean().item(), (RATE * (1 - RATE) / kept.numel()) ** 0.5
    assert abs(share - RATE) < 4 * spread
    torch.testing.assert_close(dropped, torch.where(kept, whole / (1 - RATE), 0), rtol=1e-4, atol=1e-5)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(layer(array))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_evaluation_drops_nothing() -> None:
    same(pair_model(dropout=0.5)(SOURCE, TARGET, **PAIR), pair_model()(SOURCE, TARGET, **PAIR), 0)


def test_indices_are_checked() -> None:
    model = decoder_model()
    with pytest.raises(SpecificationError, match="between 0 and 6"):
        model(SOURCE + 3)
    with pytest.raises(SpecificationError, match="needs a target"):
        pair_model()(SOURCE)
