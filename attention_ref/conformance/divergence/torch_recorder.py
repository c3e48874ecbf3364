"""Record the tensors of a `torch.nn.Module` through hooks: the outputs of all submodules, and their inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from attention_ref.conformance.divergence.recording import Recorder, Recording, Replace, relative_noise


class TorchRecorder(Recorder):
    """A module with the arguments of its call.

    A tensor is recorded once: as the output `path.of.module` of the first module that returns it, as
    `path.of.module[1]` for a further part of an output, or as `path.of.module.input` if no module returned it. The
    second call of a module is `path.of.module@2`.

    Arguments:
        module: the module, in evaluation mode during a run.
        arguments, options: of its call.
        name: in reports.
    """

    can_replace = True
    can_differentiate = True

    def __init__(self, module: Any, arguments: tuple[Any, ...], options: Mapping[str, Any], name: str) -> None:
        parameter = next((each for each in module.parameters() if each.is_floating_point()), None)
        super().__init__(name, "float32" if parameter is None else str(parameter.dtype).removeprefix("torch."))
        self.module, self.arguments, self.options = module, arguments, dict(options)
        self.names: tuple[str, ...] | None = None
        self.shared: frozenset[str] = frozenset()  # inputs of modules that are read elsewhere too, as by a residual sum

    def run(self, replace: Replace | None = None) -> Recording:
        """Run the module without gradients."""
        return self._run(replace, is_traced=False).recording()

    def differentiate(self, output: str, cotangent: np.ndarray, replace: Replace | None = None) -> Recording:
        """Differentiate by PyTorch's own backward pass."""
        hooks = self._run(replace, is_traced=True)
        gradients = hooks.gradients({output: cotangent}, hooks.computed)
        own = hooks.gradients({output: cotangent}, hooks.branches)
        self.shared |= {name for name, each in own.items() if not np.allclose(each, gradients[name], rtol=1e-3)}
        return hooks.recording(gradients)

    def differentiate_locally(self, gradients: Mapping[str, np.ndarray], replace: Replace) -> Recording:
        """Differentiate each step from the tensors that are replaced to the next ones.

        An input that is read elsewhere too is replaced for one reader alone, so that no step can begin or end there.
        """
        hooks = self._run(lambda name, values: None if name in self.shared else replace(name, values), is_traced=True)
        given = {name: each for name, each in gradients.items() if name not in self.shared}
        return hooks.recording(hooks.gradients(given, hooks.replaced))

    @contextmanager
    def perturbed(self, scale: float, generator: np.random.Generator) -> Iterator[None]:
        """Change the parameters in place, and restore them; also change what the backward pass reads."""
        import torch

        parameters = [each for each in self.module.parameters() if each.is_floating_point()]
        saved = [each.detach().clone() for each in parameters]
        with torch.no_grad():
            for each in parameters:
                each.mul_(torch.from_numpy(relative_noise(tuple(each.shape), scale, generator)).to(each))
        try:
            with noisy_backward(scale, generator):
                yield
        finally:
            with torch.no_grad():
                for each, before in zip(parameters, saved, strict=True):
                    each.copy_(before)

    def _run(self, replace: Replace | None, is_traced: bool) -> _Hooks:
        import torch

        hooks = _Hooks(self.names, replace, is_traced)
        was_training = self.module.training
        self.module.eval()
        handles = []
        try:
            for path, module in self.module.named_modules():
                handles.append(module.register_forward_pre_hook(hooks.before(path), with_kwargs=True))
                handles.append(module.register_forward_hook(hooks.after(path)))
            with torch.enable_grad() if is_traced else torch.no_grad():
                self.module(*self.arguments, **self.options)
        finally:
            for handle in handles:
                handle.remove()
            self.module.train(was_training)
        self.names = self.names or tuple(hooks.values)
        return hooks


@contextmanager
def noisy_backward(scale: float, generator: np.random.Generator) -> Iterator[None]:
    """Change every tensor that the backward pass reads, by about `scale`, relative to it."""
    import torch

    def unpack(tensor: Any) -> Any:
        if not tensor.is_floating_point():
            return tensor
        return tensor * torch.from_numpy(relative_noise(tuple(tensor.shape), scale, generator)).to(tensor)

    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
        yield


class _Hooks:
    """The hooks of one run and what they collect.

    Arguments:
        names: the tensors to record; every tensor that has not been recorded under another name when None.
        replace: see `Recorder.run`.
        is_traced: whether gradients will be needed.
    """

    def __init__(self, names: tuple[str, ...] | None, replace: Replace | None, is_traced: bool) -> None:
        self.names, self.replace, self.is_traced = names, replace, is_traced
        self.values: dict[str, np.ndarray] = {}
        self.computed: dict[str, Any] = {}
        self.replaced: dict[str, Any] = {}
        self.branches: dict[str, Any] = {}  # what a module reads as its input, which others may read too
        self._seen: set[tuple[int, int]] = set()
        self._alive: list[Any] = []  # while a tensor lives, no other one has its address
        self._calls: dict[str, int] = {}

    def before(self, path: str) -> Any:
        def hook(_: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
            count = self._calls[path] = self._calls.get(path, 0) + 1
            name = f"{_called(path, count)}.input"
            if arguments:
                return (self._visit(name, arguments[0]), *arguments[1:]), options
            return arguments, {key: self._visit(name, each) if i == 0 else each for i, (key, each) in _counted(options)}

        return hook

    def after(self, path: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> Any:
            name = _called(path, self._calls[path])
            if type(output) in (tuple, list):
                parts = [self._visit(f"{name}[{i}]" if i else name, part) for i, part in enumerate(output)]
                return type(output)(parts)
            if hasattr(output, "items"):
                for key, part in output.items():
                    self._visit(f"{name}.{key}", part, is_final=True)
                return output
            return self._visit(name, output)

        return hook

    def gradients(self, given: Mapping[str, np.ndarray], wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the gradients of tensors, of those given for other tensors."""
        import torch

        outputs = {name: self.computed[name] for name in given if self._needs_gradient(name)}
        inputs = {name: tensor for name, tensor in wanted.items() if tensor.requires_grad}
        cotangents = [torch.from_numpy(np.array(given[name])).to(tensor) for name, tensor in outputs.items()]
        if not inputs:
            return {}
        found = torch.autograd.grad(
            [*outputs.values()], [*inputs.values()], cotangents, allow_unused=True, retain_graph=True
        )
        return {name: _numbers(each) for name, each in zip(inputs, found, strict=True) if each is not None}

    def recording(self, gradients: Mapping[str, np.ndarray] | None = None) -> Recording:
        return Recording(self.values, dict(gradients or {}))

    def _needs_gradient(self, name: str) -> bool:
        return name in self.computed and self.computed[name].requires_grad

    def _visit(self, name: str, tensor: Any, is_final: bool = False) -> Any:
        """Record a tensor, if it is new, and return the tensor with which the module continues."""
        import torch

        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or not tensor.numel():
            return tensor
        place = (tensor.data_ptr(), tensor.numel())
        if place in self._seen or (self.names is not None and name not in self.names):
            return tensor
        self._see(tensor)
        self.values[name] = _numbers(tensor)
        self.computed[name] = tensor
        other = None if self.replace is None or is_final else self.replace(name, self.values[name])
        if other is None:
            if not self.is_traced or not name.endswith(".input") or not tensor.requires_grad:
                return tensor
            self.branches[name] = own = tensor.clone()
            self._see(own)
            return own
        with torch.no_grad() if not self.is_traced else nullcontext():
            new = torch.from_numpy(np.array(other)).to(tensor).reshape(tensor.shape).requires_grad_(self.is_traced)
        self.replaced[name] = new
        used = new.clone() if self.is_traced else new  # a module may change it in place, which a leaf forbids
        self._see(used)
        return used

    def _see(self, tensor: Any) -> None:
        self._seen.add((tensor.data_ptr(), tensor.numel()))
        self._alive.append(tensor)


def _called(path: str, count: int) -> str:
    return (path or "output") + (f"@{count}" if count > 1 else "")


def _counted(options: dict[str, Any]) -> list[tuple[int, tuple[str, Any]]]:
    return list(enumerate(options.items()))


def _numbers(tensor: Any) -> np.ndarray:
    array: np.ndarray = tensor.detach().double().cpu().numpy().copy()
    return array
