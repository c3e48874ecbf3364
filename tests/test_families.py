"""Families of released models, read from disk, are computed as `transformers` computes them.

Every model is small and holds random values in every tensor; epsilons and activations are not the defaults. Both sides
compute in float64; one model of each family also in float32 here, within the budget of its rounding errors.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("safetensors")

import attention_ref.numpy
from attention_ref import weights
from attention_ref.backends import ROOMS
from attention_ref.conformance.divergence.room_recorder import RoomRecorder
from attention_ref.conformance.divergence.spread import RUNS, budget, spread
from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.records import from_json, to_json
from tests.families import FAMILIES
from tests.families.family import Family
from tests.families.inputs import Inputs, random_inputs
from tests.families.peer import Peer, peer_class
from tests.families.rooms import in_room
from tests.families.specification import Specification

Build = Callable[[Any, dict[str, np.ndarray]], Any]
TOLERANCE = 1e-12
UNIT = DTYPES["float32"].unit_roundoff
# encoders, heads that read one place, and frequencies that depend on the length of a call
NOT_STEPPED = ("distilbert", "modernbert", "classif", "dynamic", "longrope")
DECODERS = [
    family
    for family in FAMILIES
    if family.output == "logits"
    and family.inputs in ("tokens", "pair", "sound")
    and not any(word in family.name for word in NOT_STEPPED)
]


BUILDERS = [
    "spec",
    "numpy",
    pytest.param("torch", marks=pytest.mark.room),
    pytest.param("keras", marks=[pytest.mark.room, pytest.mark.engine]),
]


BUILDERS_OF_ONE_ENGINE = [*BUILDERS[:3], pytest.param("keras", marks=pytest.mark.room)]


@pytest.fixture(params=BUILDERS)
def build(request: pytest.FixtureRequest) -> Build:
    """The function that builds a model from a configuration and parameters: of the specification, or of a room."""
    return Specification if request.param == "spec" else builder(request)


@pytest.fixture(params=BUILDERS_OF_ONE_ENGINE)
def build_on_one_engine(request: pytest.FixtureRequest) -> Build:
    """The same, with Keras on its first engine alone: what engines do to caches is tested with the layers."""
    return Specification if request.param == "spec" else builder(request)


@pytest.fixture(params=BUILDERS_OF_ONE_ENGINE[1:])
def build_single(request: pytest.FixtureRequest) -> Build:
    """The same of a room in float32."""
    return builder(request, "float32")


def builder(request: pytest.FixtureRequest, dtype: str = "float64") -> Build:
    """Return the function that builds a model of a room, unless it is not asked for."""
    asked = request.config.getoption("--rooms") or ",".join(ROOMS)
    if request.param not in asked.split(",") and request.param != "numpy":  # NumPy is beside every framework
        pytest.skip(f"--rooms does not name {request.param}")
    if request.param == "keras" and pytest.importorskip("keras").backend.backend() == "jax":
        pytest.skip("JAX compiles every shape anew; the other engines run the families")
    return in_room(request.param, dtype)


class Case(NamedTuple):
    """A family's model on both sides, what it read and what it must answer."""

    config: ModelConfig
    parameters: dict[str, np.ndarray]
    inputs: Inputs
    expected: np.ndarray
    encoded: np.ndarray | None
    tolerance: float


_cases: dict[str, Case] = {}
_sizes: dict[str, np.ndarray] = {}


def read_from_disk(peer: Peer) -> tuple[ModelConfig, dict[str, np.ndarray]]:
    """Save a model as `transformers` does, and read the files."""
    with TemporaryDirectory() as folder:
        return weights.read(peer.save(Path(folder)))


def case_of(family: Family) -> Case:
    """Make the case of a family, once."""
    if family.name not in _cases:
        peer = Peer(family, seed=len(family.name))
        config, parameters = read_from_disk(peer)
        inputs = random_inputs(family, peer.config, seed=7)
        answers = peer(**inputs.theirs)
        expected = answers[family.output]
        encoded = answers.get("encoder_last_hidden_state", answers.get("last_hidden_state"))
        _cases[family.name] = Case(config, parameters, inputs, expected, encoded, max(TOLERANCE, family.known))
    return _cases[family.name]


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert actual.shape == expected.shape
    error = np.max(np.abs(actual - expected)) / np.max(np.abs(expected))
    assert error <= tolerance, f"relative error {error:.1e}"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_answers(family: Family, build: Build) -> None:
    case = case_of(family)
    model = build(case.config, case.parameters)
    actual = model(*case.inputs.ours, **case.inputs.options)
    assert actual.shape == case.expected.shape
    compared = ... if family.padding else np.arange(actual.shape[1]) < case.inputs.options["lengths"][:, None]
    assert_close(actual[compared], case.expected[compared], case.tolerance)
    if case.encoded is not None and case.config.encoder_stack is not None:
        options = {name: array for name, array in case.inputs.options.items() if name != "target_lengths"}
        assert_close(model.encode(case.inputs.ours[0], **options), case.encoded, case.tolerance)


@pytest.mark.parametrize("family", DECODERS, ids=lambda family: family.name)
def test_answers_in_steps(family: Family, build_on_one_engine: Build) -> None:
    """Prompts of 2 tokens and 1 token, then one token at a time behind each, answer as the whole does."""
    case = case_of(family)
    model = build_on_one_engine(case.config, case.parameters)
    *source, tokens = case.inputs.ours
    memory, options = None, {}
    if source:
        options = {"lengths": case.inputs.options.get("lengths")}
        memory, options = model.encode(source[0], **options), {"memory_lengths": options["lengths"]}
    prompts, rows = np.array([2, 1]), np.arange(2)
    ends = case.inputs.options.get("target_lengths" if source else "lengths", np.full(2, tokens.shape[1]))
    array, cache = model.decode(tokens[:, :2], memory, lengths=prompts, return_cache=True, **options)
    answers = model.read(array)
    assert_close(answers[rows, prompts - 1], case.expected[rows, prompts - 1], case.tolerance)
    for step in range(tokens.shape[1] - 2):
        places = prompts + step
        array, cache = model.decode(tokens[rows, places][:, None], cache=cache, return_cache=True)
        real = places < ends  # a sequence that has ended goes on with padding
        assert_close(model.read(array)[real, 0], case.expected[rows, places][real], case.tolerance)


ONE_OF_EACH = [*{peer_class(family).config_class.model_type: family for family in FAMILIES[::-1]}.values()]


@pytest.mark.parametrize("family", ONE_OF_EACH, ids=lambda family: family.name)
def test_answers_in_float32(family: Family, build_single: Build) -> None:
    """The answers differ from those of float64 by the rounding errors of float32 in this model, and by no more."""
    case = case_of(family)
    model = build_single(case.config, {name: array.astype(np.float32) for name, array in case.parameters.items()})
    actual = model(*case.inputs.ours, **case.inputs.options)
    allowed = budget(expected_sizes(family), UNIT) + case.tolerance * np.max(np.abs(case.expected))
    compared = ... if family.padding else np.arange(actual.shape[1]) < case.inputs.options["lengths"][:, None]
    shares = (np.abs(actual - case.expected) / allowed)[compared]
    assert 1 / 1000 < shares.max() <= 1, f"{shares.max():.1e} of the budget"


def expected_sizes(family: Family) -> np.ndarray:
    """Compute the expected rounding errors of the answers in units of roundoff, once."""
    if family.name not in _sizes:
        _sizes[family.name] = _spread_of_answers(case_of(family))
    return _sizes[family.name]


def _spread_of_answers(case: Case) -> np.ndarray:
    inputs = {**dict(zip(("source", "target"), case.inputs.ours, strict=False)), **case.inputs.options}
    model = attention_ref.numpy.Transformer(case.config, case.parameters)
    recorder = RoomRecorder(model, inputs, "numpy", is_exact=True)
    return [*spread(recorder, {}, RUNS, 0).values()][-1]


VARIED = [family for family in FAMILIES if family.varied]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", VARIED, ids=lambda family: family.name)
def test_random_configurations(family: Family, seed: int) -> None:
    """Whatever the keys of `config.json` hold, the answers are the same."""
    case = case_of(family.varying(seed))
    actual = in_room("numpy")(case.config, case.parameters)(*case.inputs.ours, **case.inputs.options)
    ends = case.inputs.options.get("target_lengths", case.inputs.options.get("lengths"))
    # a query of padding may see no key in a window, where libraries differ
    compared = np.arange(actual.shape[1]) < ends[:, None] if actual.ndim == 3 and ends is not None else ...
    assert_close(actual[compared], case.expected[compared], case.tolerance)


LEFT = ("gpt2", "gptj", "neox", "bloom", "llama", "mistral", "gemma2", "phi")


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.name in LEFT], ids=lambda family: family.name)
def test_answers_with_padding_before(family: Family, build: Build) -> None:
    """Padding before a sequence is a mask and positions."""
    peer = Peer(family, seed=3)
    model = build(*read_from_disk(peer))
    tokens = np.random.default_rng(5).integers(3, peer.config.vocab_size, (2, 5))
    real = np.arange(5) >= np.array([[0], [2]])
    positions = np.maximum(real.cumsum(axis=1) - 1, 0)
    places = {} if family.name == "bloom" else {"position_ids": positions}  # Bloom counts by itself
    expected = peer(input_ids=tokens, attention_mask=real.astype(np.int64), **places)["logits"]
    actual = model(tokens, mask=real[:, None, None, :], positions=positions)
    assert_close(actual[real], expected[real], max(TOLERANCE, family.known))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_configuration_in_json(family: Family) -> None:
    """The configuration of a family survives JSON."""
    config = case_of(family).config
    assert from_json(ModelConfig, to_json(config)) == config
