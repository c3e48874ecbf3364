"""Fixtures of all tests: a backend (`room`), arrays of its kind (`room_arrays`), a GPU (`gpu`)."""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from attention_ref.backends import ROOMS
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.frameworks.interface import Framework

OURS = {"attention_ref", "docs", "tests"}


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "the backends to test, such as numpy,torch; each must be importable. Default: what is installed"
    parser.addoption("--rooms", help=text)


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("JAX_ENABLE_X64", "1")  # before anything imports JAX, which otherwise has no float64
    _requested_rooms(config)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Without `--rooms`, skip the files that import what is not installed; with it, everything must be there."""
    kind = pytest.Module if _requested_rooms(parent.config) else SkippedWithoutItsPackages
    return kind.from_parent(parent, path=module_path)


class SkippedWithoutItsPackages(pytest.Module):
    """A test file that is skipped, with the reason, where a package that it imports is not installed."""

    def _getobj(self) -> Any:
        try:
            return super()._getobj()
        except self.CollectError as error:
            missing = error.__cause__
            if isinstance(missing, ModuleNotFoundError) and (missing.name or "").partition(".")[0] not in OURS:
                pytest.skip(f"{missing.name} is not installed", allow_module_level=True)
            raise


def pytest_report_header(config: pytest.Config) -> str:
    engine = os.environ.get("KERAS_BACKEND", "as Keras is configured")
    rooms = _requested_rooms(config) or [name for name in ROOMS if find_spec(name)]
    return f"rooms: {', '.join(rooms)}; Keras engine: {engine}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "room" in metafunc.fixturenames:
        names = _requested_rooms(metafunc.config) or ROOMS
        metafunc.parametrize("room", [_parameter(name, metafunc.config) for name in names], indirect=True)


@pytest.hookimpl(trylast=True)  # behind pytest's own order, by fixtures
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    for item in items:
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="there is no GPU"))


@pytest.fixture(scope="session")
def room(request: pytest.FixtureRequest) -> ModuleType:
    """A backend, such as the module `attention_ref.torch`."""
    return importlib.import_module(f"attention_ref.{request.param}")


@pytest.fixture(scope="session")
def room_arrays(room: ModuleType) -> Framework:
    """Framework of the backend's kind, from NumPy and back."""
    return framework(room.__name__.rpartition(".")[-1])


def _requested_rooms(config: pytest.Config) -> list[str]:
    names = [name.strip() for name in (config.getoption("--rooms") or "").split(",") if name.strip()]
    if unknown := sorted(set(names) - set(ROOMS)):
        raise pytest.UsageError(f"--rooms: there is no {', '.join(unknown)}; the rooms are {', '.join(ROOMS)}")
    return names


def _parameter(name: str, config: pytest.Config) -> object:
    """Return a backend as a parameter; unless it was selected, it is skipped where its framework is not installed."""
    marks = [pytest.mark.room] + [pytest.mark.engine] * (name == "keras")
    if not _requested_rooms(config) and find_spec(name) is None:
        marks.append(pytest.mark.skip(reason=f"{name} is not installed"))
    return pytest.param(name, id=name, marks=marks)


def _has_gpu() -> bool:
    if find_spec("torch") is None:
        return False
    return bool(importlib.import_module("torch").cuda.is_available())
