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
    """Return what records the tensors of a side.

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
    is_own = own is not None and own is not inputs
    if is_room_model(given):
        return RoomRecorder(given, own if is_own else inputs or made_inputs(given.config, 0), name, is_exact=is_exact)
    if inputs is None and not is_own:
        raise UsageError(f"{name} is a model, so it needs inputs")
    if _is_a(given, "torch", "nn.Module"):
        if isinstance(own, tuple):
            return TorchRecorder(given, own, {}, _named(given))
        arguments, options = ((), dict(own)) if is_own else torch_arguments(given, inputs or {})
        return TorchRecorder(given, arguments, options, _named(given))
    if _is_a(given, "keras", "layers.Layer"):
        if isinstance(own, tuple):
            return KerasRecorder(given, own, {}, _named(given))
        arguments, options = ((), dict(own)) if is_own else named_arguments(given.call, inputs or {})
        return KerasRecorder(given, arguments, options, _named(given))
    raise UsageError(
        f"{name} must be a model of a backend, a torch.nn.Module, a Keras model, a mapping of names to arrays, or the "
        f"path of a file with tensors; received {type(given).__name__}"
    )


def _is_a(given: Any, package: str, path: str) -> bool:
    """Return whether an object is of a class of a package, which must be imported if it is."""
    found: Any = sys.modules.get(package)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found is not None and isinstance(given, found)


def _named(given: Any) -> str:
    return type(given).__name__
