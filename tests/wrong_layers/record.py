"""The description of a wrong layer in the gallery, and the functions that make one from a right layer."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

import attention_ref.numpy
from attention_ref.spec.parameters import parameters as tree


@dataclass(frozen=True)
class WrongLayer:
    """A mistake.

    Arguments:
        title: the mistake.
        clause: the id of the clause that it breaks.
        operation: the operation that it is made in.
        subject: the wrong operation.
        dtypes: in which it shows.
        pervasive: whether it spoils cases that do not list the clause.
        slug: the deviation that it is diagnosed with; empty where the diagnosis has none for it.
    """

    title: str
    clause: str
    operation: str
    subject: Callable[..., Any]
    dtypes: tuple[str, ...] = ("float64",)
    pervasive: bool = False
    slug: str = ""


class Mistake(NamedTuple):
    """A wrong operation, and the deviation that it is diagnosed with."""

    slug: str
    operation: str
    subject: Callable[..., Any]


def configured(operation: str, kind: type, change: Callable[[Any], Any]) -> Callable[..., Any]:
    """A layer whose records of a kind are changed; parameters that it lacks then start as they do."""

    def build(config: Any, parameters: Mapping[str, np.ndarray]) -> Any:
        wrong = changed(config, kind, change)
        return getattr(attention_ref.numpy, operation)(wrong, fitted(wrong, parameters))

    return build


def parametrised(operation: str, change: Callable[[str, np.ndarray], np.ndarray]) -> Callable[..., Any]:
    """A layer whose parameters are changed, one by one."""

    def build(config: Any, parameters: Mapping[str, np.ndarray]) -> Any:
        return getattr(attention_ref.numpy, operation)(
            config, {name: change(name, array) for name, array in parameters.items()}
        )

    return build


def patched(operation: str, owner: Any, name: str, wrong: Callable[..., Any]) -> Callable[..., Any]:
    """A layer that is built and called while a part of the backend is replaced."""

    def patch() -> Any:
        return mock.patch.object(owner, name, wrong)

    def build(config: Any, parameters: Mapping[str, np.ndarray]) -> Any:
        with patch():
            return Under(getattr(attention_ref.numpy, operation)(config, parameters), patch)

    return build


def without(operation: str, *names: str) -> Callable[..., Any]:
    """A layer that takes some arguments and does nothing with them."""

    def build(config: Any, parameters: Mapping[str, np.ndarray]) -> Any:
        layer = getattr(attention_ref.numpy, operation)(config, parameters)
        return Under(layer, contextlib.nullcontext, dropped=names)

    return build


class Under:
    """A layer all of whose methods run in a context, without some of their arguments."""

    def __init__(self, layer: Any, context: Callable[[], Any], dropped: tuple[str, ...] = ()) -> None:
        self.layer, self.context, self.dropped = layer, context, dropped
        self.__signature__ = inspect.signature(layer)

    def __call__(self, *arrays: Any, **options: Any) -> Any:
        return self._run(self.layer, *arrays, **options)

    def __getattr__(self, name: str) -> Any:
        getattr(self.layer, name)  # raises the error of an attribute that is missing

        def method(*arrays: Any, **options: Any) -> Any:
            return getattr(self.layer, name)(*arrays, **options)

        return lambda *arrays, **options: self._run(method, *arrays, **options)

    def _run(self, method: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
        with self.context():
            return method(*arrays, **{name: item for name, item in options.items() if name not in self.dropped})


def changed(item: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Change every record of a kind inside a configuration, inner ones first."""
    if isinstance(item, tuple):
        return tuple(changed(inner, kind, change) for inner in item)
    if not is_dataclass(item):
        return item
    inner = {field.name: changed(getattr(item, field.name), kind, change) for field in fields(item)}
    record = replace(item, **inner)
    return change(record) if isinstance(record, kind) else record


def fitted(config: Any, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters of a configuration, taken from those of another one where they fit."""
    dtype = next(iter(parameters.values())).dtype
    return {
        name: parameters[name]
        if name in parameters and parameters[name].shape == parameter.shape
        else np.full(parameter.shape, parameter.start, dtype)
        for name, parameter in tree(config).items()
    }
