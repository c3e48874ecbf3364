"""Record the tensors of a Keras model by wrapping the calls of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from attention_ref.conformance.divergence.recording import Arrays, Recorder, Recording, Replace, relative_noise
from attention_ref.conformance.frameworks import framework


class KerasRecorder(Recorder):
    """A Keras model or layer with the arguments of its call.

    The output of a layer, and of an operation of a functional model, is recorded under its path, its first input under
    `path.input` if none of them returned it. Such an input may be used elsewhere too, and its gradient is not computed.

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
        self.can_differentiate = framework("keras").differentiates

    def run(self, replace: Replace | None = None) -> Recording:
        """Run the model in inference."""
        return Recording(self._replaced(replace)[0])

    def differentiate(self, output: str, cotangent: np.ndarray, replace: Replace | None = None) -> Recording:
        """Differentiate by the engine of Keras."""
        values, replaced = self._replaced(replace)
        wanted = {name: each for name, each in values.items() if not _is_input(name) or name == output}
        return Recording(values, self._gradients({output: cotangent}, wanted, replaced))

    def differentiate_locally(self, gradients: Mapping[str, np.ndarray], replace: Replace) -> Recording:
        """Differentiate each step from the tensors that are replaced to the next ones."""
        values, replaced = self._replaced(replace)
        replaced = {name: each for name, each in replaced.items() if not _is_input(name)}
        given = {name: each for name, each in gradients.items() if name in values and not _is_input(name)}
        found = self._gradients(given, {name: values[name] for name in replaced}, replaced, is_local=True)
        return Recording(values, found)

    def _replaced(self, replace: Replace | None) -> tuple[Arrays, Arrays]:
        """Run the model; return its tensors, and the values that others have instead."""
        from keras import ops

        values: Arrays = {}
        replaced: Arrays = {}

        def visit(name: str, tensor: Any) -> Any:
            values[name] = np.array(ops.convert_to_numpy(tensor), np.float64)
            other = None if replace is None else replace(name, values[name])
            if other is None:
                return tensor
            replaced[name] = np.array(other).reshape(values[name].shape)
            return ops.convert_to_tensor(replaced[name], dtype=tensor.dtype)

        self._visited(visit)
        self.names = self.names or tuple(values)
        return values, replaced

    def _gradients(self, given: Arrays, wanted: Arrays, replaced: Arrays, *, is_local: bool = False) -> Arrays:
        """Return the gradients of `sum(given * computed)` of some tensors, as those of offsets that are added to them.

        Arguments:
            given: by the names of the tensors as they are computed.
            wanted: values of the tensors whose gradients are asked for.
            replaced: the values that tensors have instead, before the offset is added.
            is_local: whether no gradient goes back through a tensor that is replaced.
        """
        from keras import ops

        def outputs(offsets: Mapping[str, Any]) -> list[Any]:
            computed: dict[str, Any] = {}

            def visit(name: str, tensor: Any) -> Any:
                computed[name] = tensor
                if name in replaced:
                    other = ops.convert_to_tensor(replaced[name], dtype=tensor.dtype)
                    tensor = other if is_local else tensor + ops.stop_gradient(other - tensor)
                return tensor + offsets[name] if name in offsets else tensor

            self._visited(visit)
            return [computed[name] + offsets[name] if name in own else computed[name] for name in given]

        own = {name for name in given if name in wanted and name not in replaced}
        offsets = {name: ops.zeros(array.shape, dtype=self.dtype) for name, array in wanted.items()}
        cotangents = [ops.convert_to_tensor(np.asarray(array), dtype=self.dtype) for array in given.values()]
        found = framework("keras").differentiate(outputs, offsets, cotangents)
        return {name: np.array(ops.convert_to_numpy(each), np.float64) for name, each in found.items()}

    def _visited(self, visit: Callable[[str, Any], Any]) -> None:
        """Run the model; a function gets every new tensor with its name, and its result replaces the tensor."""
        alive: list[Any] = []
        calls: dict[str, int] = {}

        def seen(name: str, tensor: Any) -> Any:
            if not _is_real(tensor) or any(tensor is other for other in alive):
                return tensor
            if self.names is not None and name not in self.names:
                return tensor
            alive.append(tensor)
            alive.append(visit(name, tensor))
            return alive[-1]

        def wrapped(path: str, call: Any) -> Any:
            def wrapper(*arguments: Any, **options: Any) -> Any:
                calls[path] = calls.get(path, 0) + 1
                name = path + (f"@{calls[path]}" if calls[path] > 1 else "")
                if arguments:
                    arguments = (seen(f"{name}.input", arguments[0]), *arguments[1:])
                output = call(*arguments, **options)
                if type(output) in (tuple, list):
                    return type(output)(seen(f"{name}[{i}]" if i else name, each) for i, each in enumerate(output))
                return seen(name, output)

            return wrapper

        with _wrapped_calls(self.model, wrapped):
            self.model(*self.arguments, **self.options)

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
    layers += [each for each in getattr(model, "operations", ()) if all(each is not layer for layer in layers)]
    calls = [layer.call for layer in layers]
    try:
        for layer, call in zip(layers, calls, strict=True):
            object.__setattr__(layer, "call", wrapped(getattr(layer, "path", None) or layer.name, call))
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


def _is_input(name: str) -> bool:
    return name.endswith(".input")


def _is_real(tensor: Any) -> bool:
    dtype = getattr(tensor, "dtype", None)
    return dtype is not None and "float" in str(dtype) and hasattr(tensor, "shape")
