"""`attention-ref verify`: run a checkpoint in every installed backend and in `transformers`, and compare."""

from __future__ import annotations

import argparse
import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from attention_ref import backends
from attention_ref.commands.command import CONFORMS, DIFFERS, command, show
from attention_ref.commands.convert import progress

BUDGET = 1e-10
"""The largest allowed difference of two backends in float64, relative to the largest element of the tap."""
THEIR_BUDGET = 1e-5
"""The same for `transformers`, which computes softmax, norms and angles in float32 for every dtype."""


class Outcome(NamedTuple):
    """The comparison of a program with the NumPy backend: the largest difference over all taps, and the first tap
    above the budget.
    """

    name: str
    taps: int
    largest: float
    budget: float
    first: str | None
    failure: str | None = None


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    parser = command(commands, "verify", run, "run a checkpoint in every backend and in transformers, and compare")
    parser.add_argument("path", metavar="PATH", help="a folder with config.json and safetensors files")


def run(options: argparse.Namespace) -> int:
    """Verify a checkpoint; return 1 if a program differs or fails."""
    from attention_ref import weights
    from attention_ref.conformance import UsageError
    from attention_ref.spec.errors import SpecificationError
    from attention_ref.weights.examination import examine

    os.environ.setdefault("JAX_ENABLE_X64", "1")
    try:
        checkpoint = examine(options.path)
        config, params = weights.read(options.path, "float64", progress=progress())
    except SpecificationError as error:
        raise UsageError(str(error)) from error
    inputs = fixed_input(config)
    expected = in_room("numpy", config, params, inputs)
    outcomes = [_attempt(room, BUDGET, expected, in_room, room, config, params, inputs) for room in _others()]
    if find_spec("transformers") is not None and find_spec("torch") is not None:
        arguments = (checkpoint, config, inputs)
        outcomes.append(_attempt("transformers", THEIR_BUDGET, expected, in_transformers, *arguments))
    show(describe(str(options.path), outcomes))
    return CONFORMS if all(each.failure is None and each.first is None for each in outcomes) else DIFFERS


def describe(path: str, outcomes: list[Outcome]) -> str:
    """Format the outcomes as text, the verdict first."""
    bad = [each.name for each in outcomes if each.failure is not None or each.first is not None]
    verdict = f"NOT the same in {', '.join(bad)}" if bad else "the same everywhere"
    lines = [f"{path}: {verdict}; compared with the NumPy backend in float64"]
    for each in outcomes:
        found = f"largest difference {each.largest:.1e} of {each.taps} taps, budget {each.budget:.0e}"
        where = "" if each.first is None else f"; the first above it: {each.first}"
        lines.append(f"  {each.name:12}  {each.failure or found + where}")
    return "\n".join(lines)


def fixed_input(config: Any) -> tuple[Any, ...]:
    """Return the inputs of a model, each two short sequences of tokens, images or sounds."""
    import numpy as np

    def wave(*shape: int) -> Any:
        return np.sin(np.arange(np.prod(shape), dtype=np.float64)).reshape(shape)

    def made(stack: Any) -> Any:
        embedding = stack.embedding
        if embedding.patches is not None:
            return wave(1, embedding.patches.height, embedding.patches.width, embedding.patches.channels)
        if embedding.audio is not None:
            return wave(1, 2 * embedding.positions.length, embedding.audio.channels)
        length = min(8, getattr(embedding.positions, "length", 8))
        tokens = (7 * np.arange(length) + 3) % embedding.vocab
        return np.where(tokens == embedding.positions_skip, (tokens + 1) % embedding.vocab, tokens)[None]

    return tuple(made(stack) for stack in (config.encoder_stack, config.decoder_stack) if stack is not None)


def in_room(name: str, config: Any, params: Any, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """Return every tap of a backend's model, and its `output`."""
    from attention_ref.conformance import room as subject_of
    from attention_ref.conformance.frameworks import framework

    arrays = framework(name)
    made = {each: arrays.make(array, "float64") for each, array in params.items()}
    model = subject_of(import_module(f"attention_ref.{name}"), name, "").operations["Transformer"](config, made)
    given = [arrays.make(each, "int64" if each.dtype.kind == "i" else "float64") for each in inputs]
    taps: dict[str, Any] = {}

    def tap(tapped: str, array: Any) -> None:
        taps[tapped] = arrays.read(array)

    output = model(*given, tap=tap)
    return {**taps, "output": arrays.read(output)}


def in_transformers(checkpoint: Any, config: Any, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """Return the hidden states of `transformers` by the names of our taps, and its `output`."""
    import torch
    import transformers

    paths = {"attn_implementation": checkpoint.layout.attention, "experts_implementation": "eager"}
    model = getattr(transformers, checkpoint.architecture).from_pretrained(
        checkpoint.path, dtype=torch.float64, local_files_only=True, **paths
    )
    model.eval()
    given = dict(zip(_names(config), map(torch.from_numpy, inputs), strict=True))
    for name, axes in (("pixel_values", (0, 3, 1, 2)), ("input_features", (0, 2, 1))):
        if name in given:
            given[name] = given[name].permute(*axes)
    with torch.no_grad():
        results = model(**given, output_hidden_states=True)
    states = {"encoder": results.get("encoder_hidden_states"), "decoder": results.get("decoder_hidden_states")}
    alone = "encoder" if config.encoder_stack is not None else "decoder"
    states[alone] = states[alone] if states[alone] is not None else results.get("hidden_states")
    # their last hidden state is taken after the final norm
    found = {
        f"{side}.blocks.{i - 1}.output" if i else f"{side}.embedding.output": state.numpy()
        for side, each in states.items()
        for i, state in enumerate((each or ())[:-1])
    }
    order = ("logits", "pooler_output", "last_hidden_state") if config.head is not None else ("last_hidden_state",)
    output = next(results[name] for name in order if results.get(name) is not None)
    return {**found, "output": output.numpy()}


def _names(config: Any) -> tuple[str, ...]:
    embedding = (config.encoder_stack or config.decoder_stack).embedding
    first = "pixel_values" if embedding.patches else "input_features" if embedding.audio else "input_ids"
    return (first, "decoder_input_ids") if config.kind == "encoder-decoder" else (first,)


def _others() -> list[str]:
    rooms = [room for room in backends.ROOMS if room != "numpy"]
    return [room for room in rooms if all(find_spec(package) is not None for package in backends.FACTS[room].needs)]


def _attempt(name: str, budget: float, expected: dict[str, Any], function: Any, *arguments: Any) -> Outcome:
    try:
        found = function(*arguments)
    except Exception as error:  # noqa: BLE001  # any exception of a program is its outcome
        return Outcome(name, 0, 0.0, budget, None, f"FAILED with {type(error).__name__}: {error}")
    return _compare(name, budget, expected, found)


def _compare(name: str, budget: float, expected: dict[str, Any], found: dict[str, Any]) -> Outcome:
    """Compare every tap that both programs report, in the order of the model."""
    import numpy as np

    shared = [tap for tap in expected if tap in found]
    largest, first = 0.0, None
    for tap in shared:
        ours, theirs = expected[tap], found[tap]
        finite = np.isfinite(ours)
        if ours.shape != theirs.shape or not np.array_equal(finite, np.isfinite(theirs)):
            return Outcome(name, len(shared), largest, budget, None, f"{tap} is {theirs.shape}, not {ours.shape}")
        scale = np.abs(ours[finite]).max(initial=0.0) or 1.0
        difference = float(np.abs(ours[finite] - theirs[finite]).max(initial=0.0) / scale)
        largest = max(largest, difference)
        first = tap if first is None and difference > budget else first
    return Outcome(name, len(shared), largest, budget, first)
