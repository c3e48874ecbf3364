"""Where a model first differs from a reference: the right tensor, the right cause, and no difference in right models.

The models are those of `transformers`, with faults planted in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("safetensors")


import attention_ref.numpy
import attention_ref.torch
from attention_ref import weights
from attention_ref.conformance import Divergence, UsageError, locate
from attention_ref.conformance.divergence.alignment import align
from attention_ref.conformance.divergence.layer_calls import model_of
from attention_ref.conformance.divergence.model_inputs import made_inputs
from attention_ref.conformance.divergence.room_recorder import RoomRecorder
from attention_ref.conformance.divergence.spread import RUNS, spread
from attention_ref.conformance.divergence.tape_sizes import tape_sizes
from attention_ref.conformance.divergence.tensor_forms import forms
from attention_ref.spec.architecture import ModelConfig
from tests.families import FAMILIES
from tests.families.family import Family
from tests.families.inputs import random_inputs
from tests.families.peer import Peer, only_float64
from tests.planted_faults import FAULTS, Activation, Fault, made

ONE_OF_A_KIND = ("gpt2-scales", "neox-sequential", "qwen3", "gemma2-biases", "opt-post", "whisper")
"""Families whose tensors are packed, normalised twice, in parallel, or padded otherwise."""


def located(family: str, dtype: str = "float32", seed: int = 0, fault: Fault | None = None) -> Divergence:
    model, config, params = made(family, seed=seed, layers=2 if fault else 1)
    model = model.to(getattr(torch, dtype))
    reference = attention_ref.torch.Transformer(config, params)
    if fault is None:
        return locate(reference, model, made_inputs(config, seed), seed=seed)
    with fault.planted(model):
        return locate(reference, model, made_inputs(config, seed), runs=3)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_located_and_named(fault: Fault) -> None:
    dtype = "float64" if fault.family == "bert" else "float32"
    found = located(fault.family, dtype, fault=fault)
    assert not found.is_equal
    assert found.cause is not None
    assert (found.cause.tensor.name, found.cause.tensor.direction) == (fault.tensor, "forward")
    assert {each.deviation for each in found.cause.findings} == {fault.deviation}
    first = str(found).splitlines()[:10]
    assert first[0].startswith("DIFFERS: ")
    assert any(fault.deviation in line for line in first)
    assert str(found).splitlines()[-1] == first[0]
    added = {each.name for each in found.tensors if each.direction == "forward" and each.is_wrong_in_single}
    parts = {name.rpartition(".")[2].replace("key", "query") for name in added}  # exchanged weights are wrong twice
    assert parts == {fault.tensor.rpartition(".")[2]}, "every other step is right where its inputs are"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_a_right_model_is_equal_within_budget(family: str, dtype: str, seed: int) -> None:
    found = located(family, dtype, seed)
    assert found.is_equal, str(found)
    computes_in_single = dtype == "float64" and family != "bert"  # norms of Llama and T5 round to float32
    assert (found.cause is not None) is computes_in_single
    assert {each.direction for each in found.tensors} == {"forward", "backward"}


PACKED = {
    "gpt2-scales": {"query", "key", "value"},
    "neox-sequential": {"query_projection", "key_projection", "value"},
    "bloom": {"query", "key", "value"},
}
"""The tensors of the reference that one projection of the target computes, by family."""


def compared(family: Family, peer: Peer, path: Path, **options: Any) -> Divergence:
    """Compare a model of `transformers` with its checkpoint as it was stored."""
    config, params = weights.read(path)
    inputs = random_inputs(family, peer.config, 0)
    ours = {**dict(zip(("source", "target"), inputs.ours, strict=False)), **inputs.options}
    theirs = {key: torch.from_numpy(array) for key, array in inputs.theirs.items()}
    reference = attention_ref.torch.Transformer(config, params)
    with only_float64():
        return locate(reference, peer.model, ours, target_inputs={**theirs, "use_cache": False}, **options)


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_tensors_of_other_families_are_paired_rightly(name: str, tmp_path: Path) -> None:
    family = next(each for each in FAMILIES if each.name == name)
    peer = Peer(family, 0)
    found = compared(family, peer, peer.save(tmp_path))
    assert found.cause is None, str(found)
    paired = {each.name.rpartition(".")[2] for each in found.tensors if each.direction == "forward"}
    assert {"heads", "hidden", "output", "self_attention_norm", "feedforward_norm", *PACKED.get(name, ())} <= paired
    with_gradient = {each.name.rpartition(".")[2] for each in found.tensors if each.direction == "backward"}
    assert "value" in with_gradient or name not in PACKED


@pytest.mark.parametrize("name", PACKED)
def test_parts_of_a_packed_projection_that_are_exchanged_are_named(name: str, tmp_path: Path) -> None:
    family = next(each for each in FAMILIES if each.name == name)
    peer = Peer(family, 0)
    path = peer.save(tmp_path)
    kind = "c_attn" if name.startswith("gpt2") else "query_key_value"
    layer = [each for place, each in peer.model.named_modules() if place.endswith(kind)][1]
    side = 1 if kind == "c_attn" else 0  # the axis of the outputs
    heads = 1 if kind == "c_attn" else peer.config.num_attention_heads
    places = torch.arange(layer.weight.shape[side]).reshape(heads, 3, -1)[:, [1, 0, 2]].flatten()
    with torch.no_grad():
        layer.weight.copy_(layer.weight.index_select(side, places))
        if layer.bias is not None:
            layer.bias.copy_(layer.bias[places])
    found = compared(family, peer, path, backward=False)
    assert found.cause is not None
    first = "query_projection" if "query_projection" in PACKED[name] else "query"
    assert found.cause.tensor.name == f"decoder.blocks.1.self_attention.{first}"
    assert {each.deviation for each in found.cause.findings} == {"projection.packed-order"}


def test_added_and_inherited_errors_are_separated() -> None:
    model, config, params = made("bert")
    inner = model.bert.encoder.layer[0].intermediate.dense
    model.bert.encoder.layer[0].intermediate.dense = Activation(lambda array: inner(array) + 0.25)
    found = locate(attention_ref.numpy.Transformer(config, params), model, made_inputs(config, 0))
    rows = {each.name: each for each in found.tensors}
    wrong = rows["encoder.blocks.0.feedforward.input"]
    assert wrong.error == pytest.approx(0.25, abs=1e-5)
    assert wrong.inherited is not None
    assert wrong.inherited < 1 < wrong.total
    after = rows["encoder.blocks.1.self_attention.query"]
    assert after.added is not None
    assert after.inherited is not None
    assert after.added < 1 < after.inherited
    assert found.cause is not None
    assert found.cause.findings == (), "no deviation adds a constant"
    assert "not explained" in str(found)


class HalfGradient(torch.autograd.Function):  # type: ignore[misc, name-defined]
    """The identity, with half of its gradient."""

    @staticmethod
    def forward(_: Any, array: Any) -> Any:
        return array * 1

    @staticmethod
    def backward(_: Any, gradient: Any) -> Any:
        return gradient / 2


def test_a_fault_of_the_backward_pass_alone_is_located() -> None:
    model, config, params = made("llama")
    layer = model.model.layers[1].mlp
    layer.act_fn = Activation(lambda array: HalfGradient.apply(torch.nn.functional.silu(array)))
    found = locate(attention_ref.torch.Transformer(config, params), model, made_inputs(config, 0))
    assert found.cause is not None
    assert (found.cause.tensor.name, found.cause.tensor.direction) == ("decoder.blocks.1.feedforward.gate", "backward")
    assert not any(each.is_wrong for each in found.tensors if each.direction == "forward")
    assert [each.name for each in found.tensors if each.is_wrong and each.direction == "backward"][:1] == [
        "decoder.blocks.1.feedforward.gate"
    ]


def size(sizes: np.ndarray) -> float:
    return float(np.linalg.norm(np.nan_to_num(sizes)))


@pytest.mark.parametrize(("kind", "layers"), [("encoder", 2), ("decoder", 1)])
def test_the_spread_of_perturbed_runs_is_near_the_tape(kind: str, layers: int) -> None:
    config = getattr(ModelConfig, kind)(vocab=7, model=4, heads=2, layers=layers, feedforward=8)
    generator = np.random.default_rng(0)
    params = {
        name: np.asarray(generator.normal(0, 0.4, array.shape), "float32")
        for name, array in weights.init(config).items()
    }
    inputs = {"source": generator.integers(7, size=(1, 3))}
    reference = attention_ref.numpy.Transformer(config, params)
    recorded = RoomRecorder(reference, inputs, "the reference", is_exact=True)
    tape, perturbed = tape_sizes(model_of(recorded)), spread(recorded, {}, RUNS, 0)
    ratios = {
        name: size(perturbed[name]) / size(sizes) for name, sizes in tape.items() if name in perturbed and size(sizes)
    }
    assert f"{kind}.blocks.{layers - 1}.self_attention.weights" in ratios
    assert min(ratios.values()) > 0.9
    assert max(ratios.values()) < 6
    found = locate(reference, attention_ref.torch.Transformer(config, params), inputs)
    assert found.cause is None, str(found)
    assert "tape" in found.budget


def test_names_that_are_given_are_used_and_checked() -> None:
    tensors = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones((2, 3))}
    other = {"x": np.ones((2, 3)), "y": np.arange(6.0).reshape(2, 3), "z": np.ones(5)}
    assert [(pair.reference, pair.target) for pair in align(tensors, other)] == [("a", "y"), ("b", "x")]
    assert ("a", "x") in [(pair.reference, pair.target) for pair in align(tensors, other, {"a": "x"})]
    with pytest.raises(UsageError, match="the target has no tensor w"):
        align(tensors, other, {"a": "w"})
    with pytest.raises(UsageError, match="not two layouts"):
        align(tensors, other, {"a": "z"})


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ((2, 3, 5, 4), (2, 5, 12)),
        ((2, 3, 5, 4), (2, 5, 3, 4)),
        ((2, 3, 5, 4), (6, 5, 4)),
        ((2, 5, 12), (5, 2, 12)),
        ((2, 5, 12), (10, 12)),
        ((2, 5, 12), (2, 3, 5, 4)),
        ((2, 5, 12), (2, 5, 3, 4)),
    ],
)
def test_a_layout_is_found_and_goes_both_ways(reference: tuple[int, ...], target: tuple[int, ...]) -> None:
    array = np.arange(120.0).reshape(reference)
    found = forms(reference, target)
    assert found
    for form in found:
        assert form.to_target(array).shape == target
        assert np.array_equal(form.to_reference(form.to_target(array)), array)
    split = np.arange(120.0).reshape(2, 3, 5, 4)  # (b,h,l,d)
    if reference == split.shape and target == (2, 5, 12):
        assert np.array_equal(found[0].to_target(split), split.transpose(0, 2, 1, 3).reshape(2, 5, 12))
