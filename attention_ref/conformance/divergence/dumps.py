"""Read recorded tensors: safetensors, and the nested JSON that the model debugger of `transformers` writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attention_ref.conformance.divergence.dump_recorder import DumpRecorder
from attention_ref.conformance.errors import UsageError

ORDER = "order"
"""The key of the metadata of a safetensors file with the names of its tensors in order, as a JSON list."""

_PRINTED_DIGITS = 5  # of PyTorch's printed tensors, 1.2345e-01
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|inf|nan)", re.IGNORECASE)


def read_dump(path: str) -> DumpRecorder:
    """Read a file of recorded tensors.

    Raises:
        UsageError: for a file of another kind, and for one that cannot be read.
    """
    file = Path(path)
    if file.suffix not in (".safetensors", ".json"):
        raise UsageError(f"{path}: tensors are read from a .safetensors or a .json file")
    if not file.is_file():
        raise UsageError(f"{path} does not exist")
    if file.suffix == ".safetensors":
        return DumpRecorder(_read_safetensors(file), path)
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(tree, dict) or "children" not in tree:
        raise UsageError(f"{path} is not the tree of the model debugger of transformers: it has no children")
    is_printed: list[bool] = []
    tensors = dict(_tensors(tree, file.parent, is_printed))
    return DumpRecorder(tensors, path, _PRINTED_DIGITS if any(is_printed) else None)


def read_arrays(path: str) -> dict[str, np.ndarray]:
    """Read all arrays of a safetensors file, integers too.

    Raises:
        UsageError: for a file that cannot be read.
    """
    return _read_safetensors(Path(path))


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    """Read tensors in the order of the metadata; without it, in the order of their names, numbers by value."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            order = json.loads((opened.metadata() or {}).get(ORDER, "null"))
            names = list(opened.keys())
            names.sort(key=order.index if isinstance(order, list) and {*order} >= {*names} else _natural)
            return {name: opened.get_tensor(name) for name in names}
    except (OSError, SafetensorError, ValueError) as error:
        raise UsageError(f"{file} is not a complete safetensors file: {error}") from error


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _tensors(node: Mapping[str, Any], folder: Path, is_printed: list[bool]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the inputs and outputs of the modules without children, which alone have their outputs in the file."""
    path = str(node.get("module_path", "")).partition(".")[2]
    if path and not node.get("children"):
        inputs = node.get("inputs")
        given = [*inputs.get("args", []), *inputs.get("kwargs", {}).values()] if isinstance(inputs, dict) else []
        for name, entry in ((f"{path}.input", given[0] if given else None), *_named(path, node.get("outputs"))):
            array = _array(entry, folder, is_printed)
            if array is not None:
                yield name, array
    for child in node.get("children", []):
        yield from _tensors(child, folder, is_printed)


def _named(path: str, outputs: Any) -> list[tuple[str, Any]]:
    parts = outputs if isinstance(outputs, list) else [outputs]
    return [(f"{path}[{i}]" if i else path, part) for i, part in enumerate(parts)]


def _array(entry: Any, folder: Path, is_printed: list[bool]) -> np.ndarray | None:
    """Read one tensor; None unless it has real numbers and is printed without an ellipsis."""
    if not isinstance(entry, dict) or "value" not in entry or "float" not in str(entry.get("dtype")):
        return None
    shape = tuple(int(size) for size in re.findall(r"\d+", str(entry.get("shape"))))
    value = entry["value"]
    dtype = str(entry["dtype"]).removeprefix("torch.")
    if isinstance(value, str):
        return next(iter(_read_safetensors(folder / value).values()))
    text = "\n".join(value).partition("tensor(")[2].rpartition("]")[0]
    numbers = [float(number) for number in _NUMBER.findall(text)]
    if "..." in text or len(numbers) != int(np.prod(shape)):
        return None
    is_printed.append(True)
    return np.array(numbers, np.float64 if dtype == "float64" else np.float32).reshape(shape)
