"""`attention-ref doctor`: show installed versions and which backends can run, without importing them."""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from attention_ref import __version__, backends
from attention_ref.commands import named_subjects
from attention_ref.commands.command import CONFORMS, command, show, takes_json

PACKAGES = ("numpy", "torch", "tensorflow", "keras", "jax", "onnx", "onnxruntime", "ml_dtypes")
VARIABLES = (
    "KERAS_BACKEND",
    "JAX_ENABLE_X64",
    "JAX_PLATFORMS",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "NVIDIA_TF32_OVERRIDE",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    takes_json(command(commands, "doctor", run))


def run(options: argparse.Namespace) -> int:
    """Print the installed versions and which backends can run."""
    found = examine()
    show(json.dumps(found, indent=1) if options.json else describe(found))
    return CONFORMS


def examine() -> dict[str, Any]:
    """Return the data that the command prints."""
    from attention_ref.spec import VERSION

    return {
        "attention_ref": __version__,
        "spec": VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "gpus": len([*Path("/dev").glob("nvidia[0-9]*")]),
        "packages": {name: _version(name) for name in PACKAGES},
        "engine": backends.engine() if _version("keras") else None,
        "variables": {name: os.environ.get(name) for name in VARIABLES},
        "subjects": {name: named_subjects.missing(name) for name in named_subjects.names()},
    }


def describe(found: dict[str, Any]) -> str:
    """Format the data of `examine` as text."""
    lines = [
        f"attention_ref  {found['attention_ref']}, specification {found['spec']}",
        f"Python         {found['python']}",
        f"platform       {found['platform']}, {found['processors']} processors, {found['gpus']} NVIDIA GPUs",
        f"Keras engine   {found['engine'] or 'Keras is not installed'}",
        "",
        *_section("Packages", {name: version or "not installed" for name, version in found["packages"].items()}),
        *_section("Environment", {name: value or "not set" for name, value in found["variables"].items()}),
        *_section("Subjects", {name: _readiness(packages) for name, packages in found["subjects"].items()}),
    ]
    return "\n".join(lines).rstrip()


def _section(title: str, rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows), default=0)
    return [title, *(f"  {name:{width}}  {value}" for name, value in rows.items()), ""]


def _readiness(packages: tuple[str, ...]) -> str:
    return f"needs {' and '.join(packages)}" if packages else "can run"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
