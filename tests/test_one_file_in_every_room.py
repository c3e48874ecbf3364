"""A model is saved once and is the same model in every room: outputs and every intermediate."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import pytest

from attention_ref import spec, vectors, weights
from attention_ref.conformance import cases
from attention_ref.conformance import room as subject_of
from attention_ref.conformance.budget import budget, compare
from attention_ref.conformance.frameworks.interface import Framework

pytest.importorskip("safetensors", reason="models are saved by safetensors")


def room_model(room: ModuleType, config: spec.ModelConfig, params: dict[str, Any]) -> Any:
    """Build a room's model for inference, in the dtype of its parameters."""
    return subject_of(room, room.__name__.rpartition(".")[-1], "").operations["Transformer"](config, params)


KINDS = {"b": "bool", "i": "int64"}
MODELS = [case for profile in vectors.profiles("Transformer") for case in cases("Transformer", profile)]
WHOLE = [case for case in MODELS if case.taps and not case.is_optional]
STACKS = ("encoder_stack", "decoder_stack")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.id)
def test_a_model_from_a_file(case, dtype: str, room: ModuleType, room_arrays: Framework, tmp_path) -> None:
    on_jax = room.__name__.endswith("keras") and os.environ.get("KERAS_BACKEND") == "jax"
    if on_jax and dtype == "float32" and not case.id.endswith("four-layers"):
        pytest.skip("JAX compiles every shape anew for every dtype; there the deepest models stand for all in float32")
    path = tmp_path / "model.safetensors"
    weights.save(path, case.call.config, {name: array.astype(dtype) for name, array in case.call.parameters.items()})
    config, params = weights.load(path)
    taps = {}
    model = room_model(room, config, {name: room_arrays.make(params[name], dtype) for name in params})
    inputs = {
        name: room_arrays.make(array, KINDS.get(array.dtype.kind, dtype)) for name, array in case.call.inputs.items()
    }
    output = model(**inputs, **case.call.options, tap=taps.__setitem__)

    assert config == case.call.config
    assert list(taps) == list(case.taps)
    for got, expected in [(output, case.expected["output"]), *((taps[n], e) for n, e in case.taps.items())]:
        ratios = compare(room_arrays.read(got), expected.values, budget(expected.roundings, dtype)).error_ratio
        assert ratios.max(initial=0) <= 1


def test_every_kind_of_model_has_one_to_four_layers() -> None:
    stacks = [[getattr(case.call.config, name) for name in STACKS] for case in WHOLE]
    depths = {tuple(len(stack.blocks) if stack else 0 for stack in pair) for pair in stacks}
    assert depths >= {kind for n in (1, 2, 3, 4) for kind in ((n, 0), (0, n), (n, n))}
