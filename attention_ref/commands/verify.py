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
from attention_ref.commands.terminal import counter

SEED = 0
"""The seed of the perturbed roundings."""


class Reference(NamedTuple):
    """The NumPy backend in float64: its taps, the expected size of the error of each, in units of roundoff, and what
    computed that size.
    """

    taps: dict[str, Any]
    sizes: dict[str, Any]
    source: str


class Outcome(NamedTuple):
    """The comparison of a program with the NumPy backend.

    Arguments:
        name: the program.
        taps: how many taps both report.
        largest: the largest error of all of them, as a share of its budget.
        first: the first tap whose error exceeds its budget, with the share.
        failure: why nothing could be compared.
    """

    name: str
    taps: int = 0
    largest: float = 0.0
    first: str | None = None
    failure: str | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether the program differs from the NumPy backend, or fails."""
        return self.first is not None or self.failure is not None


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    parser = command(commands, "verify", run)
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
    programs: list[tuple[Any, ...]] = [(room, "float64", in_room, room, config, params, inputs) for room in _others()]
    if find_spec("transformers") is not None and find_spec("torch") is not None:
        # it computes softmax, norms and angles in float32 for every dtype
        programs.append(("transformers", "float32", in_transformers, checkpoint, config, inputs))
    count = counter(str) or (lambda *_: None)
    count(0, len(programs) + 1, "numpy, with perturbed roundings")
    expected = reference(config, params, inputs)
    outcomes = []
    for done, (name, dtype, function, *arguments) in enumerate(programs, start=1):
        count(done, len(programs) + 1, name)
        outcomes.append(_attempt(name, dtype, expected, function, *arguments))
    count(len(programs) + 1, len(programs) + 1, "")
    show(describe(str(options.path), expected.source, outcomes))
    return DIFFERS if any(each.is_wrong for each in outcomes) else CONFORMS


def describe(path: str, source: str, outcomes: list[Outcome]) -> str:
    """Format the outcomes as text, the verdict first."""
    wrong = [each.name for each in outcomes if each.is_wrong]
    verdict = f"NOT the same in {', '.join(wrong)}" if wrong else "the same everywhere"
    lines = [
        f"{path}: {verdict}; compared with the NumPy backend in float64",
        f"  the budget of each tap is that of its rounding errors, from {source}",
    ]
    for each in outcomes:
        found = f"the largest error of {each.taps} taps is {each.largest:.2g} of its budget"
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


def reference(config: Any, params: Any, inputs: tuple[Any, ...]) -> Reference:
    """Return the taps of the NumPy backend and the expected sizes of their errors."""
    from attention_ref import numpy as room
    from attention_ref.conformance.divergence.expected_sizes import expected_sizes
    from attention_ref.conformance.divergence.room_recorder import RoomRecorder
    from attention_ref.conformance.divergence.spread import RUNS

    named = dict(zip(("source", "target"), inputs, strict=False))
    recorder = RoomRecorder(room.Transformer(config, params), named, "numpy", is_exact=True)
    taps = recorder.run().values
    sizes, is_on_tape = expected_sizes(recorder, taps, RUNS, SEED)
    source = "the specification's tape" if is_on_tape else f"the spread of {RUNS} runs with perturbed roundings"
    return Reference(taps, sizes, source)


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


def _attempt(name: str, dtype: str, expected: Reference, function: Any, *arguments: Any) -> Outcome:
    try:
        found = function(*arguments)
    except Exception as error:  # noqa: BLE001  # any exception of a program is its outcome
        return Outcome(name, failure=f"FAILED with {type(error).__name__}: {error}")
    last = next(reversed(expected.taps))  # the output, which a program may report under this name alone
    return _compare(name, dtype, expected, {**found, last: found["output"]})


def _compare(name: str, dtype: str, expected: Reference, found: dict[str, Any]) -> Outcome:
    """Compare every tap that both programs report, in the order of the model.

    Arguments:
        name: the program.
        dtype: whose roundings it makes.
        expected: the NumPy backend.
        found: the taps of the program.
    """
    import numpy as np

    from attention_ref.conformance.divergence.comparison import difference, share
    from attention_ref.spec.dtypes import DTYPES

    unit = float(np.hypot(DTYPES["float64"].unit_roundoff, DTYPES[dtype].unit_roundoff))
    shared = [tap for tap in expected.taps if tap in found]
    largest, first = 0.0, None
    for tap in shared:
        ours, theirs = expected.taps[tap], found[tap]
        if ours.shape != theirs.shape:
            return Outcome(name, len(shared), largest, failure=f"{tap} is {theirs.shape}, not {ours.shape}")
        part = share(difference(theirs, ours), expected.sizes[tap], unit)
        largest = max(largest, part)
        first = f"{tap}, {part:.2g} of its budget" if first is None and part > 1 else first
    return Outcome(name, len(shared), largest, first)
