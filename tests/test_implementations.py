"""The paths of attention: layers and models pass the choice on, and each path conforms."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref import spec, weights
from attention_ref.backends import room_and_path
from attention_ref.commands import named_subjects
from attention_ref.conformance import cases
from attention_ref.conformance import room as subject_of
from attention_ref.conformance.budget import budget, compare
from attention_ref.conformance.case import Case
from attention_ref.conformance.case_heads import profiles
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.spec import SpecificationError

ATTENTION = spec.AttentionConfig(model=8, heads=2)
BLOCK = spec.BlockConfig(
    attention=ATTENTION,
    feedforward=spec.FeedForwardConfig(model=8, hidden=8),
    norm=spec.Norm("layer", eps=1e-5),
    order="pre",
)
LATENT = spec.LatentAttentionConfig(
    model=8, heads=2, latent_size=4, content_size=2, rotary_size=2, value_size=3, norm=spec.Norm("rms", eps=1e-6)
)
MODEL = spec.ModelConfig.encoder_decoder(vocab=16, model=8, heads=2, layers=1, feedforward=8)
LAYERS = {
    "MultiHeadAttention": ATTENTION,
    "LatentAttention": LATENT,
    "Block": BLOCK,
    "Stack": MODEL.encoder_stack,
    "Transformer": MODEL,
}
CASES = [
    case
    for operation in ("MultiHeadAttention", "LatentAttention", "Block", "Transformer")
    for profile in profiles(operation)
    for case in cases(operation, profile)
    if not case.cotangents
]


class Counter:
    """A function that counts its calls."""

    def __init__(self, function: Any) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        return self.function(*arguments)


def kind_of(room: ModuleType) -> str:
    return room.__name__.rpartition(".")[-1]


@pytest.mark.parametrize(("implementation", "calls"), [("auto", 3), ("fused", 3), ("reference", 0)])
def test_a_model_passes_the_choice_to_all_its_attention(
    room: ModuleType,
    room_arrays: Framework,
    implementation: str,
    calls: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counter = Counter(room.fused.attention)
    monkeypatch.setattr(room.fused, "attention", counter)
    build = subject_of(room, kind_of(room), "", implementation).operations["Transformer"]
    model = build(MODEL, {name: room_arrays.make(array, "float32") for name, array in weights.init(MODEL).items()})
    tokens = room_arrays.make(np.array([[1, 2, 3]]), "int64")
    model(tokens, tokens)
    assert counter.calls == calls  # self-attention of the encoder and the decoder, and cross-attention


@pytest.mark.parametrize("layer", LAYERS)
def test_an_unknown_implementation_is_refused(room: ModuleType, layer: str) -> None:
    rule = f"{layer}: implementation must be 'auto', 'fused' or 'reference'.\n  received 'fast'"
    with pytest.raises(SpecificationError) as error:
        getattr(room, layer)(LAYERS[layer], weights.init(LAYERS[layer]), implementation="fast")
    assert str(error.value) == rule


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_layers_conform_by_the_fused_path(case: Case, room: ModuleType) -> None:
    """The kit passes a tap, and so tests layers by the formula; here they are called without one."""
    if kind_of(room) == "keras" and pytest.importorskip("keras").backend.backend() == "jax":
        pytest.skip("JAX compiles every shape anew; test_a_model_passes_the_choice_to_all_its_attention runs there")
    subject = subject_of(room, kind_of(room), "", "fused")
    answer = subject.answer(replace(case, taps={}), "float32")
    for name, expected in case.expected.items():
        ratios = compare(answer.results[name], expected.values, budget(expected.roundings, "float32")).error_ratio
        assert ratios.max(initial=0) <= 1


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("torch", ("torch", "auto")),
        ("torch:fused", ("torch", "fused")),
        ("keras:reference", ("keras", "reference")),
        ("torch:", None),
        ("numpy:dot", None),
        ("torch.nn:fused", None),
        ("numpy:auto", None),
    ],
)
def test_a_path_of_a_backend_is_a_subject(name: str, chosen: tuple[str, str] | None) -> None:
    assert room_and_path(name) == chosen
    assert named_subjects.is_function(name) == (":" in name and chosen is None)


def test_a_subject_calls_attention_and_gradients_by_its_path() -> None:
    subject = named_subjects.subject("numpy:reference")
    assert (subject.name, subject.arrays, subject.is_room) == ("numpy:reference", "numpy", True)
    for function in (subject.operations["attention"], subject.gradients["attention"]):
        assert function.keywords == {"implementation": "reference"}
