"""The kit on what is configured: positions, norms, activations, layers, their taps, and decoding in chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attention_ref.numpy as right
from attention_ref import conformance, spec, vectors
from attention_ref.conformance import ATTENTIONS, OPERATIONS, check
from attention_ref.spec.arrays import Array
from attention_ref.spec.block import Block
from attention_ref.spec.feedforward import FeedForward
from attention_ref.spec.model import Transformer
from attention_ref.spec.multihead import MultiHeadAttention
from attention_ref.spec.records import to_json
from attention_ref.spec.trace import Rounding, Traced, gradients, roundings
from attention_ref.vectors.array_forms import from_spec, to_spec
from attention_ref.vectors.build import recipe, rounding_sizes
from attention_ref.vectors.build.recipe_config import merged

LAYERS = {layer.__name__: layer for layer in (MultiHeadAttention, FeedForward, Block, Transformer)}


class Specified:
    """A layer of the specification that takes and gives NumPy arrays."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, *arrays: Any, tap: Any = None, **options: Any) -> Any:
        converted = None if tap is None else lambda name, array: tap(name, _to_numpy(array))
        return _to_numpy(self.layer(*map(_to_spec, arrays), **_to_spec(options), tap=converted))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.layer, name)
        return lambda *arrays, **options: _to_numpy(method(*map(_to_spec, arrays), **_to_spec(options)))


def _to_spec(item: Any) -> Any:
    if isinstance(item, np.ndarray):
        return to_spec(item)
    return _inside(item, _to_spec)


def _to_numpy(item: Any) -> Any:
    if isinstance(item, Array):
        return from_spec(item)
    return _inside(item, _to_numpy)


def _inside(item: Any, change: Any) -> Any:
    if isinstance(item, dict):
        return {name: change(inner) for name, inner in item.items()}
    if isinstance(item, tuple):
        return type(item)(*map(change, item)) if hasattr(item, "_fields") else tuple(map(change, item))
    return item


@pytest.mark.parametrize("operation", LAYERS)
def test_layers_of_the_specification_conform_in_float64(operation: str) -> None:
    """In one call and in chunks, with all intermediates: the truth is the same formulas in 50 digits."""

    def build(config: Any, parameters: Any) -> Specified:
        return Specified(LAYERS[operation](config, _to_spec(dict(parameters))))

    report = check(build, op=operation, dtypes=("float64",))
    report.raise_for_failures()
    assert {result.verdict for result in report.results} == {"passed"}


def test_every_operation_that_the_specification_defines_has_vectors() -> None:
    assert set(vectors.operations()) == set(OPERATIONS)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in ATTENTIONS])
def test_a_function_that_does_nothing_passes_no_case(operation: str) -> None:
    report = check(lambda *arrays, **options: None, op=operation, dtypes=("float64",))
    assert "passed" not in {result.verdict for result in report.results}
    assert not report.passed


def test_a_norm_of_ones_own_is_checked_in_what_it_has() -> None:
    def norm(x: Any, weight: Any, bias: Any = None, *, eps: float) -> Any:
        return right.layer_norm(x, weight, bias, eps=eps)

    report = check(norm, op="layer_norm")
    assert report.passed, str(report)
    assert {verdict.id for verdict in report.clauses if verdict.verdict == "unsupported"} == {"norms.gain-offset"}


def test_a_failure_in_a_layer_names_the_first_intermediate_that_differs() -> None:
    def build(config: Any, parameters: Any) -> Any:
        wrong = {name: array * (1 + (name == "feedforward.gate.kernel")) for name, array in parameters.items()}
        return right.Block(config, wrong)

    case = "Block/core/pre-rms-gated"
    report = check(build, op="Block", cases=case, dtypes=("float64",))
    (result,) = report.results
    assert (result.mismatch.array, result.mismatch.is_tap) == ("feedforward.gate", True)
    assert "the first intermediate that differs is feedforward.gate[" in str(report)
    assert f"""conformance.check(build, op='Block', cases="{case}", dtypes=("float64",))""" in str(report)


def test_a_layer_without_taps_is_checked_by_its_output() -> None:
    def build(config: Any, parameters: Any) -> Any:
        layer = right.FeedForward(config, parameters)
        return lambda array: layer(array) + 1

    report = check(build, op="FeedForward", cases="FeedForward/core/plain-relu", dtypes=("float64",))
    assert report.results[0].mismatch.array == "output"


def test_a_backend_must_tell_every_intermediate(monkeypatch: pytest.MonkeyPatch) -> None:
    call = right.FeedForward.__call__

    def quiet(self: Any, array: Any, *, tap: Any = None) -> Any:
        return call(self, array, tap=lambda name, value: tap(name, value) if name != "hidden" else None)

    monkeypatch.setattr(right.FeedForward, "__call__", quiet)
    subject = conformance.room(right, "numpy", "")
    report = conformance.check_subject(subject, cases="FeedForward/core/plain-relu", operations=["FeedForward"])
    assert {result.reason for result in report.results} == {"it does not pass hidden to its tap"}


def test_a_model_without_a_cache_is_unsupported_in_chunks() -> None:
    def build(config: Any, parameters: Any) -> Any:
        model = right.Transformer(config, parameters)

        def call(source: Any) -> Any:
            return model(source)

        return call

    (result,) = check(build, op="Transformer", cases="Transformer/decoder/cache-rotary", dtypes=("float64",)).results
    assert (result.verdict, result.reason) == ("unsupported", "no method encode")


def test_sizes_found_together_are_those_found_one_by_one() -> None:
    numbers = [Traced(value) for value in (0.5, -1.25, 3.0, 0.0078125)]
    first, second, third, fourth = numbers
    angle = (first.double(2.0) * first.double(3.5)).sin().rounded()
    certain, uncertain = (second * third).stored(), (first + fourth).stored() * second - first * second
    behind = (uncertain.relu_zero() * third + certain.relu_zero() * first - fourth * fourth).relu_zero()
    outputs = [(first * second + third).stored(), (first / fourth).exp() * angle, third, angle.tanh().stored() * second]
    outputs += [certain.relu_zero(), uncertain.relu_zero(), behind, behind * third - certain]
    for one, other in zip(rounding_sizes.roundings(outputs), roundings(outputs), strict=True):
        assert one == pytest.approx(other, rel=1e-14)


def test_errors_pass_a_cut_where_they_may_have_turned_the_sign() -> None:
    one, close, far = (Traced(value) for value in (1.0, 1.0078125, 3.0))  # 1/128 more is two roundings of bfloat16
    uncertain, certain = one - close.stored(), one - far.stored()
    assert roundings([uncertain.relu_zero()]) == roundings([uncertain])
    assert roundings([certain.relu_zero()]) == [Rounding(0.0, 0.0, 0.0, 0.0)]
    for number in (uncertain, certain):
        assert float(number.relu_zero()) == 0.0
        assert gradients([number.relu_zero()], [1.0], [one, close, far]) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", [name for name in recipe.names() if name[0] in LAYERS], ids="/".join)
def test_no_parameter_of_a_layer_is_left_at_its_start(name: tuple[str, str]) -> None:
    for case in recipe.cases(*name):
        for parameter, array in case.call.parameters.items():
            assert array.size == 1 or len(set(array.ravel())) > 1, (case.id, parameter)
            assert any(value not in (0.0, 1.0) for value in array.ravel()), (case.id, parameter)


def test_a_configuration_of_a_case_changes_that_of_its_file() -> None:
    shared = {"a": {"type": "X", "b": 1, "c": 2}, "d": [1, 2], "e": 3}
    change = {"a": {"b": 5}, "d": ["open", 4], "e": "none"}
    assert merged(shared, change) == {"a": {"type": "X", "b": 5, "c": 2}, "d": [None, 4], "e": None}
    assert merged(shared, {"a": {"type": "Y", "f": 1}})["a"] == {"type": "Y", "f": 1}


def test_a_configuration_is_written_as_records_read_it() -> None:
    document = vectors.load("Block", "core")["cases"][0]
    (case,) = (case for case in conformance.cases("Block", "core") if case.id == document["id"])
    assert to_json(case.call.config) == document["config"]
    assert vectors.load("Block", "core")["spec"] == spec.VERSION
