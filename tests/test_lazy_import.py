"""Importing a part of the library imports only the packages that it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRAMEWORKS = ("numpy", "torch", "tensorflow", "keras", "jax")
BLOCK = "import sys; sys.modules['numpy'] = None; "


@pytest.mark.parametrize("name", ["torch", "keras"])
def test_a_backend_names_the_extra_that_installs_its_framework(name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None; import attention_ref.{name}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        f'attention_ref.{name} needs {name}, which is not installed: python -m pip install "attention-ref[{name}'
        in run.stderr
    )


def loaded(statement: str) -> set[str]:
    """Return the top-level modules that a statement loads in a new process."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import attention_ref", FRAMEWORKS),
        ("import attention_ref.cli", FRAMEWORKS),
        ("import attention_ref.plot", (*FRAMEWORKS, "matplotlib")),
        ("import attention_ref.spec", FRAMEWORKS),
        ("import attention_ref.vectors", (*FRAMEWORKS, "mpmath")),
        ("import attention_ref.conformance", (*FRAMEWORKS[1:], "mpmath")),
        ("import attention_ref.numpy", FRAMEWORKS[1:]),
        ("import attention_ref.torch", ("tensorflow", "keras", "jax")),
    ],
)
def test_importing_loads_no_framework_that_is_not_needed(statement: str, unwanted: tuple[str, ...]) -> None:
    if statement.endswith(".torch"):
        pytest.importorskip("torch")
    assert loaded(statement) & set(unwanted) == set()


def test_a_loaded_framework_is_seen() -> None:
    assert "numpy" in loaded("import attention_ref, numpy")


def test_the_spec_loads_the_standard_library_only() -> None:
    assert loaded("import attention_ref.spec") - {"attention_ref"} <= set(sys.stdlib_module_names)


def test_the_spec_runs_without_numpy() -> None:
    code = f"{BLOCK}from attention_ref import spec; print(spec.attention([[[1.0]]], [[[1.0]]], [[[2.0]]]).values)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[2.0]"


def test_numpy_can_be_blocked() -> None:
    assert (
        subprocess.run([sys.executable, "-c", f"{BLOCK}import numpy"], capture_output=True, check=False).returncode != 0
    )
