"""PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from attention_ref.conformance.errors import UsageError
from attention_ref.conformance.frameworks.interface import Framework, Function


class Torch(Framework):
    """Tensors of PyTorch, made on its default device."""

    name = "torch"
    overwrites = True
    short = "torch"
    calls_by_head = ("torch.vmap(torch.vmap({name}))(query, key, value)",)

    def __init__(self) -> None:
        self.module = import_module("torch")
        self.shares_memory = True

    def make(self, values: np.ndarray, dtype: str) -> Any:
        return self.module.tensor(values, dtype=getattr(self.module, dtype))

    def is_array(self, item: Any) -> bool:
        return isinstance(item, self.module.Tensor)

    def use(self, device: str) -> None:
        try:
            self.module.empty(1, device=device)
        except (AssertionError, NotImplementedError, RuntimeError) as error:
            raise UsageError(f"torch has no device {device}: {str(error).splitlines()[0]}") from None
        self.module.set_default_device(device)
        self.shares_memory = False

    def overwrite(self, array: Any, other: Any) -> None:
        array.copy_(other)

    def wrap(self, stored: np.ndarray, dtype: str) -> Any:
        whole = stored.view(np.int16) if stored.dtype == np.uint16 else stored
        tensor = self.module.from_numpy(whole).view(getattr(self.module, dtype))
        return tensor if self.shares_memory else tensor.to(self.module.get_default_device(), copy=True)

    def is_plain(self, item: Any) -> bool:
        return type(item) in (self.module.Tensor, self.module.nn.Parameter)

    def differentiate(self, function: Function, inputs: Mapping[str, Any], cotangents: Sequence[Any]) -> dict[str, Any]:
        leaves = {name: array.detach().clone().requires_grad_() for name, array in inputs.items()}
        gradients = self.module.autograd.grad(
            function(leaves), list(leaves.values()), cotangents, allow_unused=True, materialize_grads=True
        )
        return dict(zip(leaves, gradients, strict=True))

    def read(self, array: Any) -> np.ndarray:
        array = array.detach().cpu()
        return np.array((array.double() if array.is_floating_point() else array).numpy())

    def dtype(self, array: Any) -> str:
        return str(array.dtype).removeprefix("torch.")

    def constant(self, values: np.ndarray, beside: Any) -> Any:
        return self.module.tensor(values, device=beside.device)

    def cast(self, array: Any, like: Any) -> Any:
        return array.to(like.dtype)

    def transpose(self, array: Any, axes: Sequence[int]) -> Any:
        return array.permute(tuple(axes))

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        return self.module.cat(list(arrays), dim=axis)

    def take(self, array: Any, indices: Sequence[int], axis: int) -> Any:
        return array.index_select(axis, self.constant(np.array(indices, np.int64), array))

    def where(self, condition: Any, array: Any, number: float) -> Any:
        return self.module.where(condition, array, number)
