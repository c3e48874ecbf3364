"""Choose how the tensors of a model, or of a file, are recorded."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from attention_ref.conformance.divergence.dump_recorder import DumpRecorder
from attention_ref.conformance.divergence.dumps import read_dump
from attention_ref.conformance.divergence.keras_recorder import KerasRecorder
from attention_ref.conformance.divergence.model_inputs import made_inputs, named_arguments, torch_arguments
from attention_ref.conformance.divergence.recording import Recorder
from attention_ref.conformance.divergence.room_recorder import RoomRecorder, is_room_model
from attention_ref.conformance.divergence.torch_recorder import TorchRecorder
from attention_ref.conformance.errors import UsageError


def recorder(given: Any, inputs: Mapping[str, Any] | None, own: Any, *, name: str, is_exact: bool) -> Recorder:
    """Return the recorder of the tensors of a side.

    Arguments:
        given: the model, or recorded tensors.
        inputs: by the names of a `Transformer`.
        own: the arguments of its call, where they are others.
        name: in reports.
        is_exact: whether a model of a backend computes in float64.

    Raises:
        UsageError: for anything else, and for a model without inputs.
    """
    if isinstance(given, Recorder):
        return given
    if isinstance(given, (str, os.PathLike)):
        return read_dump(os.fspath(given))
    if isinstance(given, Mapping):
        return DumpRecorder(given, name)
    own = None if own is inputs else own
    if is_room_model(given):
        inputs = made_inputs(given.config, 0) if inputs is None else inputs
        return RoomRecorder(given, inputs if own is None else own, name, is_exact=is_exact)
    if inputs is None and own is None:
        raise UsageError(f"{name} is a model, so it needs inputs")
    return _other_model(given, inputs or {}, own, name)


def _other_model(given: Any, inputs: Mapping[str, Any], own: Any, name: str) -> Recorder:
    is_torch, is_keras = _is_a(given, "torch", "nn.Module"), _is_a(given, "keras", "layers.Layer")
    if not is_torch and not is_keras:
        raise UsageError(
            f"{name} must be a model of a backend, a torch.nn.Module, a Keras model, a mapping of names to arrays, or "
            f"the path of a file with tensors; received {type(given).__name__}"
        )
    arguments: tuple[Any, ...] = own if isinstance(own, tuple) else ()
    options: Mapping[str, Any] = own if isinstance(own, Mapping) else {}
    if own is None:
        arguments, options = torch_arguments(given, inputs) if is_torch else named_arguments(given.call, inputs)
    kind: Any = TorchRecorder if is_torch else KerasRecorder
    recorded: Recorder = kind(given, arguments, options, type(given).__name__)
    return recorded


def _is_a(given: Any, package: str, path: str) -> bool:
    """Return whether an object is of a class of a package, which must be imported if it is."""
    found: Any = sys.modules.get(package)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found is not None and isinstance(given, found)
