"""`attention-ref locate`: the first tensor in which a model differs from a reference, and why."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attention_ref.commands.command import CONFORMS, DIFFERS, check_figure, command, save_figure, show, takes_json

_SIDE = (
    "a checkpoint (a folder with config.json, or a file of weights.save), recorded tensors (.safetensors, or the .json "
    "of the model debugger of transformers), or module:callable or path/to/file.py:callable that returns a model"
)


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    parser = command(commands, "locate", run)
    option = parser.add_argument
    option("reference", metavar="REFERENCE", help=f"{_SIDE}; a checkpoint runs in this library in float64")
    option("target", metavar="TARGET", help="one of the same; a callable with an argument gets the path of REFERENCE")
    option(
        "--inputs", metavar="FILE", help="safetensors with source, target, lengths, types, ...; default: random tokens"
    )
    option(
        "--map",
        metavar="OURS=THEIRS",
        action="append",
        default=[],
        help="names of two tensors that are to be compared; repeatable",
    )
    option("--forward-only", action="store_true", help="do not compare gradients")
    option("--seed", metavar="N", type=int, default=0, help="seed of random inputs and perturbations; default: 0")
    option("--plot", metavar="FILE", help="write a plot of the error by depth (needs matplotlib)")
    takes_json(parser)


def run(options: argparse.Namespace) -> int:
    """Locate the first difference; return 1 if there is one."""
    from attention_ref.conformance import locate

    check_figure(options.plot)
    reference = _side(options.reference, options.reference)
    target = _side(options.target, options.reference)
    inputs = _inputs(options.inputs, reference, options.seed)
    found = locate(
        reference,
        target,
        inputs,
        names=_pairs(options.map),
        backward=not options.forward_only,
        seed=options.seed,
    )
    if options.plot:
        from attention_ref import plot

        save_figure(options.plot, lambda: plot.errors_by_depth(found))
    show(json.dumps(found.to_json(), indent=1) if options.json else str(found))
    return CONFORMS if found.is_equal else DIFFERS


def _side(name: str, reference: str) -> Any:
    """Return a model, or the path of recorded tensors."""
    from attention_ref.conformance import UsageError
    from attention_ref.conformance.import_callable import import_callable

    path = Path(name)
    if path.is_dir() or (path.suffix == ".safetensors" and path.is_file() and _is_saved_model(path)):
        return _model(path)
    if path.suffix in (".safetensors", ".json"):
        return name
    if ":" not in name:
        raise UsageError(f"{name} is neither a folder, a .safetensors or .json file, nor module:callable")
    made = import_callable(name)
    if not inspect.isclass(made) and hasattr(made, "named_modules"):
        return made
    try:
        return made(*_arguments(made, reference))
    except Exception as error:
        raise UsageError(f"{name} cannot be called: {type(error).__name__}: {error}") from error


def _arguments(function: Any, reference: str) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    required = [each for each in parameters if each.default is each.empty and each.kind in (0, 1)]
    return [reference][: len(required)]


def _is_saved_model(path: Path) -> bool:
    from attention_ref.conformance import UsageError

    try:
        with path.open("rb") as file:
            header = file.read(int.from_bytes(file.read(8), "little"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    return b"attention_ref.config" in header


def _model(path: Path) -> Any:
    """Return a checkpoint as a model of this library: in PyTorch, which computes gradients, if it is installed."""
    from attention_ref import backends, weights
    from attention_ref.conformance import UsageError
    from attention_ref.spec.errors import SpecificationError

    try:
        config, params = weights.read(path) if path.is_dir() else weights.load(path)
    except SpecificationError as error:
        raise UsageError(str(error)) from error
    room: Any = backends.backend("torch" if find_spec("torch") else "numpy")
    return room.Transformer(config, dict(params))


def _inputs(path: str | None, reference: Any, seed: int) -> Mapping[str, Any] | None:
    from attention_ref.conformance.divergence.dumps import read_arrays
    from attention_ref.conformance.divergence.model_inputs import made_inputs

    if path is not None:
        return read_arrays(path)
    return made_inputs(reference.config, seed) if hasattr(reference, "config") else None


def _pairs(given: Sequence[str]) -> dict[str, str]:
    from attention_ref.conformance import UsageError

    for each in given:
        if not all(each.partition("=")):
            raise UsageError(f"--map takes OURS=THEIRS, not {each!r}")
    return {ours: theirs for ours, _, theirs in (each.partition("=") for each in given)}
