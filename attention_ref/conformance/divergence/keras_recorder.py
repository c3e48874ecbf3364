"""Record the tensors of a Keras model by wrapping the calls of its layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from attention_ref.conformance.divergence.recording import Recorder, Recording, Replace, relative_noise


class KerasRecorder(Recorder):
    """A Keras model or layer with the arguments of its call.

    The output of a layer is recorded under its path, its first input under `path.input` if no layer returned it.

    Arguments:
        model: the model, on any backend of Keras.
        arguments, options: of its call.
        name: in reports.
    """

    can_replace = True

    def __init__(self, model: Any, arguments: tuple[Any, ...], options: Mapping[str, Any], name: str) -> None:
        super().__init__(name, str(model.compute_dtype))
        self.model, self.arguments, self.options = model, arguments, dict(options)
        self.names: tuple[str, ...] | None = None

    def run(self, replace: Replace | None = None) -> Recording:
        """Run the model in inference."""
        from keras import ops

        recording = Recording()
        alive: list[Any] = []
        calls: dict[str, int] = {}

        def visit(name: str, tensor: Any) -> Any:
            if not _is_real(tensor) or any(tensor is other for other in alive):
                return tensor
            if self.names is not None and name not in self.names:
                return tensor
            alive.append(tensor)
            recording.values[name] = values = np.array(ops.convert_to_numpy(tensor), np.float64)
            other = None if replace is None else replace(name, values)
            if other is None:
                return tensor
            alive.append(ops.reshape(ops.convert_to_tensor(np.array(other), dtype=tensor.dtype), tensor.shape))
            return alive[-1]

        def wrapped(path: str, call: Any) -> Any:
            def wrapper(*arguments: Any, **options: Any) -> Any:
                calls[path] = calls.get(path, 0) + 1
                name = path + (f"@{calls[path]}" if calls[path] > 1 else "")
                if arguments:
                    arguments = (visit(f"{name}.input", arguments[0]), *arguments[1:])
                output = call(*arguments, **options)
                if type(output) in (tuple, list):
                    return type(output)(visit(f"{name}[{i}]" if i else name, each) for i, each in enumerate(output))
                return visit(name, output)

            return wrapper

        with _wrapped_calls(self.model, wrapped):
            self.model(*self.arguments, **self.options)
        self.names = self.names or tuple(recording.values)
        return recording

    @contextmanager
    def perturbed(self, scale: float, generator: np.random.Generator) -> Iterator[None]:
        """Change the variables, and restore them."""
        saved = [np.array(each) for each in self.model.trainable_variables]
        for variable, before in zip(self.model.trainable_variables, saved, strict=True):
            variable.assign(before * relative_noise(before.shape, scale, generator).astype(before.dtype))
        try:
            yield
        finally:
            for variable, before in zip(self.model.trainable_variables, saved, strict=True):
                variable.assign(before)


@contextmanager
def _wrapped_calls(model: Any, wrapped: Any) -> Iterator[None]:
    layers = list(model._flatten_layers())  # Keras has no public list of all sublayers
    calls = [layer.call for layer in layers]
    try:
        for layer, call in zip(layers, calls, strict=True):
            object.__setattr__(layer, "call", wrapped(layer.path or layer.name, call))
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


def _is_real(tensor: Any) -> bool:
    dtype = getattr(tensor, "dtype", None)
    return dtype is not None and "float" in str(dtype) and hasattr(tensor, "shape")
