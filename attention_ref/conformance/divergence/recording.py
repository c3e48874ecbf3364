"""The tensors that a model computes between input and output, by name, and the interface for recording them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attention_ref.spec.dtypes import DTYPES

Arrays = dict[str, np.ndarray]

Replace = Callable[[str, np.ndarray], "np.ndarray | None"]
"""Called with the name and the values of every tensor; the model goes on with the array that is returned, if any."""


@dataclass
class Recording:
    """The tensors of one run.

    Arguments:
        values: every tensor in the order of its computation, float64, as the model computed it.
        gradients: the gradient of each tensor, where it was computed.
    """

    values: Arrays = field(default_factory=dict)
    gradients: Arrays = field(default_factory=dict)


class Recorder(ABC):
    """A model with inputs, whose tensors can be recorded.

    Arguments:
        name: the name of the model in reports.
        dtype: the dtype in which it computes.
    """

    can_replace = False
    """Whether a run can go on with other values of a tensor."""

    can_differentiate = False
    """Whether the gradients of tensors can be computed."""

    def __init__(self, name: str, dtype: str) -> None:
        self.name = name
        self.dtype = dtype

    @property
    def unit(self) -> float:
        """The relative precision to which the tensors are known."""
        return DTYPES[self.dtype].unit_roundoff

    @abstractmethod
    def run(self, replace: Replace | None = None) -> Recording:
        """Run the model and record its tensors, each before it is replaced."""

    def differentiate(self, output: str, cotangent: np.ndarray, replace: Replace | None = None) -> Recording:
        """Run the model and record the gradients of `sum(cotangent * output)` too."""
        raise NotImplementedError(f"{self.name} has no gradients: {output}, {cotangent.shape}, {replace}")

    def differentiate_locally(self, gradients: Mapping[str, np.ndarray], replace: Replace) -> Recording:
        """Run the model and record the gradient of each replaced tensor, given those of the tensors after it.

        Arguments:
            gradients: the gradients of tensors, which take the place of those that the model itself would compute.
            replace: as in `run`; the values that the gradients belong to.
        """
        raise NotImplementedError(f"{self.name} has no gradients: {list(gradients)}, {replace}")

    def perturbed(self, scale: float, generator: np.random.Generator) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Return a context in which every parameter is changed by about `scale`, relative to it."""
        return nullcontext()


def relative_noise(shape: tuple[int, ...], scale: float, generator: np.random.Generator) -> np.ndarray:
    """Return factors near 1 that differ from it by `scale`, upward or downward at random."""
    return 1 + scale * generator.choice([-1.0, 1.0], size=shape)
