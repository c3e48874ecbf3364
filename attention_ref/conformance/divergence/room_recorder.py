"""Record the tensors of a model of this library through its taps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from attention_ref.conformance.divergence.model_layers import projections
from attention_ref.conformance.divergence.recording import Recorder, Recording, Replace, relative_noise
from attention_ref.conformance.divergence.torch_recorder import noisy_backward
from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.parameters import parameters as tree


class RoomRecorder(Recorder):
    """A `Transformer` of a backend with the arguments of its call.

    Beside what the taps receive, the projections of queries and keys before their rotation or normalisation are
    recorded, under `query_projection` and `key_projection`, because other libraries have these as tensors.

    Arguments:
        model: the model.
        inputs: the arguments of its call, NumPy arrays by name.
        name: in reports.
        is_exact: compute in float64, whatever the dtype of the model's parameters.
    """

    def __init__(self, model: Any, inputs: Mapping[str, Any], name: str, *, is_exact: bool) -> None:
        self.room = type(model).__module__.split(".")[1]
        self.parameters = room_parameters(model)
        dtype = next(iter(self.parameters.values())).dtype.name
        if is_exact and self.room != "keras":
            dtype = "float64"
            self.parameters = {key: np.asarray(each, np.float64) for key, each in self.parameters.items()}
            model = type(model)(model.config, self.parameters)
        super().__init__(name, dtype)
        self.model, self.config = model, model.config
        self.inputs = {key: each for key, each in inputs.items() if each is not None}
        self.can_replace = self.room != "keras"
        self.can_differentiate = self.room == "torch"

    def run(self, replace: Replace | None = None) -> Recording:
        """Run the model; a tensor is replaced by writing into its memory."""
        return self._record(self._tensors(replace, is_traced=False), replace)

    def differentiate(self, output: str, cotangent: np.ndarray, replace: Replace | None = None) -> Recording:
        """Differentiate by PyTorch's own backward pass."""
        import torch

        tensors = self._tensors(replace, is_traced=True)
        cotangents = torch.from_numpy(np.array(cotangent)).to(tensors[output])
        inputs = {name: each for name, each in tensors.items() if each.requires_grad}
        found = torch.autograd.grad(tensors[output], [*inputs.values()], cotangents, allow_unused=True)
        recording = self._record(tensors, replace)
        pairs = zip(inputs, found, strict=True)
        recording.gradients = {name: _numbers(each) for name, each in pairs if each is not None}
        return recording

    def differentiate_locally(self, gradients: Mapping[str, np.ndarray], replace: Replace) -> Recording:
        """Differentiate by PyTorch's own backward pass, in which the given gradients take the place of those that
        arrive at a tensor.
        """
        import torch

        tensors = self._tensors(replace, is_traced=True)
        recording = self._record(tensors, replace)

        def hook(name: str) -> Any:
            def exchanged(arriving: Any) -> Any:
                recording.gradients[name] = _numbers(arriving)
                given = gradients.get(name)
                return None if given is None else torch.from_numpy(np.array(given)).to(arriving)

            return exchanged

        for name, tensor in tensors.items():
            if tensor.requires_grad:
                tensor.register_hook(hook(name))
        output = next(name for name in reversed(tensors) if name in gradients)
        cotangent = torch.from_numpy(np.array(gradients[output])).to(tensors[output])
        torch.autograd.grad(tensors[output], [*self.model.parameters()], cotangent, allow_unused=True)
        return recording

    @contextmanager
    def perturbed(self, scale: float, generator: np.random.Generator) -> Iterator[None]:
        """Run a model with other parameters; PyTorch also changes what the backward pass reads."""
        model, parameters = self.model, self.parameters
        if self.room != "keras":
            self.parameters = {
                name: each * relative_noise(each.shape, scale, generator).astype(each.dtype)
                for name, each in parameters.items()
            }
            self.model = type(model)(self.config, self.parameters)
        try:
            with noisy_backward(scale, generator) if self.can_differentiate else nullcontext():
                yield
        finally:
            self.model, self.parameters = model, parameters

    def _tensors(self, replace: Replace | None, is_traced: bool) -> dict[str, Any]:
        """Run the model and return its tensors; those that are replaced have their new values."""
        tensors: dict[str, Any] = {}
        self._computed: dict[str, np.ndarray] = {}
        changes: dict[str, np.ndarray] = {}  # of scores, by the name of their weights

        def tap(name: str, tensor: Any) -> None:
            is_integer = "int" in str(tensor.dtype)  # the numbers of chosen experts, which follow from the logits
            if is_integer or any(tensor is other for other in tensors.values()):
                return
            tensors[name] = tensor
            values = _numbers(tensor)
            if name in changes:
                values = _weights_of_changed_scores(values, changes[name])
                _write(tensor, values)
            self._computed[name] = values
            other = None if replace is None else replace(name, values)
            if other is not None:
                if name.endswith(".scores"):  # a copy, whose weights are computed already
                    is_seen = np.isfinite(values)
                    change = np.subtract(other, values, out=np.zeros_like(values), where=is_seen)
                    changes[f"{name.removesuffix('scores')}weights"] = change
                _write(tensor, other)

        inputs = {name: self._array(each) for name, each in self.inputs.items()}
        if self.room == "torch":
            import torch

            self.model.eval()
            with torch.enable_grad() if is_traced else torch.no_grad():
                self.model(**inputs, tap=tap)
        else:
            self.model(**inputs, tap=tap)
        return tensors

    def _record(self, tensors: Mapping[str, Any], replace: Replace | None) -> Recording:
        """Insert the projections of queries and keys, from the tensors that the model went on with."""
        final = {name: _numbers(tensor) for name, tensor in tensors.items()} if replace else self._computed
        added = projections(self.config, self.parameters, {**self.inputs, **final})
        values: dict[str, np.ndarray] = {}
        for name, array in self._computed.items():
            values |= {f"{name}_projection": added[name]} if name in added else {}
            values[name] = array
        return Recording(values)

    def _array(self, given: Any) -> Any:
        array = np.array(given)  # a copy, because the first tensor may be the input itself
        if self.room != "torch":
            return array
        import torch

        tensor = torch.from_numpy(array)
        return tensor.to(next(self.model.parameters()).dtype) if tensor.is_floating_point() else tensor


def is_room_model(model: Any) -> bool:
    """Return whether an object is a model of one of the backends."""
    parts = type(model).__module__.split(".")
    return parts[0] == "attention_ref" and isinstance(getattr(model, "config", None), ModelConfig)


def room_parameters(model: Any) -> dict[str, np.ndarray]:
    """Return the parameters of a model of a backend as NumPy arrays."""
    found: Mapping[str, Any]
    if hasattr(model, "parameter_arrays"):  # of Keras, whose models are modules of PyTorch too on that engine
        found = model.parameter_arrays()
    elif isinstance(model.parameters, Mapping):
        found = model.parameters
    else:
        found = model.state_dict()
    return {name: _stored(found[name]) for name in tree(model.config)}


def _stored(parameter: Any) -> np.ndarray:
    if hasattr(parameter, "detach"):
        return np.asarray(_numbers(parameter), str(parameter.dtype).removeprefix("torch."))
    return np.asarray(parameter)


def _numbers(tensor: Any) -> np.ndarray:
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu().double().numpy()
    return np.array(tensor, np.float64)


def _weights_of_changed_scores(weights: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return `softmax(scores + change)` of `softmax(scores)`, where a sink may have a part of each row."""
    sink = np.maximum(1 - weights.sum(axis=-1, keepdims=True), 0)
    shift = change.max(axis=-1, keepdims=True)
    grown = weights * np.exp(change - shift)
    total = grown.sum(axis=-1, keepdims=True) + sink * np.exp(-shift)
    return np.where(total > 0, grown / np.where(total > 0, total, 1), 0)


def _write(tensor: Any, values: np.ndarray) -> None:
    """Overwrite a tensor; in PyTorch past the record for gradients, which then sees the new values."""
    if isinstance(tensor, np.ndarray):
        tensor[...] = values
    else:
        import torch

        tensor.data.copy_(torch.from_numpy(np.array(values)))
