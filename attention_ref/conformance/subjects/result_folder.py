"""Subjects that have run elsewhere: a folder with the results of each case in a file.

    DIR/attention/core/plain.float32.npz      DIR/<case id>.<dtype>.<npz, safetensors or json>

A file holds an array for each result, by its name: `output` and, where the case asks for them, `weights` and
`log_sum_exp`; for a case of gradients one for each input. Intermediates may stand beside them, as `tap.<name>`. A JSON
file holds an answer, as `protocol` describes it, without an id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from attention_ref.conformance.case import Case, all_cases
from attention_ref.conformance.errors import SubjectError, Unsupported, UsageError, reject
from attention_ref.conformance.outcome import Answer, result_dtype
from attention_ref.conformance.subjects import protocol
from attention_ref.conformance.subjects.base_subject import BaseSubject

TAP = "tap."
"""What the names of intermediates begin with."""

_SAFETENSORS = {
    "F64": ("float64", "<f8"),
    "F32": ("float32", "<f4"),
    "F16": ("float16", "<f2"),
    "BF16": ("bfloat16", "<u2"),
}


@dataclass(frozen=True)
class ResultFolderSubject(BaseSubject):
    """A folder of results, with its files by case id and dtype."""

    files: Mapping[str, Path]

    option: ClassVar[str] = "--outputs"

    def answer(self, case: Case, dtype: str) -> Answer:
        """Read the file of a case; it is unsupported where there is none."""
        if (file := self.files.get(f"{case.id}.{dtype}")) is None:
            raise Unsupported(f"no file in {self.name}")
        return _answer(file, case, dtype)


def folder(path: str | Path, operations: Iterable[str] | None = None) -> ResultFolderSubject:
    """Return a folder of results as a subject. What has no file is unsupported.

    Arguments:
        path: of the folder.
        operations: whose results are there; by default those that a file belongs to.

    Raises:
        UsageError: when there is no such folder, and for a file in it that belongs to no case.
    """
    files = _files(Path(path))
    chosen = list(operations or dict.fromkeys(name.partition("/")[0] for name in files))
    return ResultFolderSubject(str(path), "files", chosen, files, timeout=None)


def _files(path: Path) -> dict[str, Path]:
    """Give every file by case id and dtype."""
    if not path.is_dir():
        raise UsageError(f"there is no folder {path}")
    files: dict[str, Path] = {}
    for file in sorted(file for file in path.rglob("*") if file.suffix in _READERS or file.suffix == ".json"):
        name = file.relative_to(path).with_suffix("").as_posix()
        if name in files:
            raise UsageError(f"{file} and {files[name]} are results of one case")
        files[name] = file
    if not files:
        raise UsageError(f"{path} holds no results: no file {path}/<case id>.<dtype>.npz, .safetensors or .json")
    known = {f"{case.id}.{dtype}" for case in all_cases() for dtype in case.dtypes}
    if unexpected := [name for name in files if name not in known]:
        try:
            reject("case and dtype", unexpected[0], known)
        except UsageError as error:
            more = f"\n  it is one of {len(unexpected)} such files" if len(unexpected) > 1 else ""
            raise UsageError(f"{files[unexpected[0]]} is unexpected: {error}{more}") from None
    return files


def _answer(file: Path, case: Case, dtype: str) -> Answer:
    if not file.is_file():
        raise SubjectError(f"{file} is not a file")  # reading a pipe would wait for its writer
    try:
        if file.suffix == ".json":
            return protocol.answer(json.dumps(json.loads(file.read_bytes())), case, dtype)
        arrays = _READERS[file.suffix](file)
    except protocol.ProtocolError:
        raise SubjectError(f"{file} holds no answer") from None
    except (SubjectError, Unsupported):
        raise
    except Exception as error:
        raise SubjectError(f"{file} cannot be read: {type(error).__name__}: {error}") from error
    if missing := [name for name in case.expected if name not in arrays]:
        raise SubjectError(f"{file} lacks {', '.join(missing)}; it has {', '.join(arrays) or 'nothing'}")
    results = {
        name: _read(name, *arrays[name], expected.values.shape, result_dtype(name, dtype))
        for name, expected in case.expected.items()
    }
    taps = {
        name: _read(TAP + name, *arrays[TAP + name], tap.values.shape, arrays[TAP + name][1])
        for name, tap in case.taps.items()
        if TAP + name in arrays
    }
    return Answer(results, taps, ())


def _read(name: str, values: np.ndarray, found: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if values.shape != shape:
        raise SubjectError(f"{name} has the shape {values.shape} instead of {shape}")
    if found != dtype:
        raise SubjectError(f"{name} has the dtype {found} instead of {dtype}")
    return values.astype(np.float64)


def _npz(file: Path) -> dict[str, tuple[np.ndarray, str]]:
    """Read NumPy's archive. It stores bfloat16, which NumPy does not know, as two bytes without a type."""
    with np.load(file, allow_pickle=False) as archive:
        return {name: _typed(archive[name]) for name in archive.files}


def _typed(array: np.ndarray) -> tuple[np.ndarray, str]:
    if array.dtype == np.dtype("V2"):
        return _bfloat16(array.view(np.uint16)), "bfloat16"
    return array, str(array.dtype.name)


def _safetensors(file: Path) -> dict[str, tuple[np.ndarray, str]]:
    """Read a safetensors file: the length of the header in 8 bytes, the header as JSON, and the bytes of the arrays."""
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header: Mapping[str, Any] = json.loads(data[8:start])
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    return {name: _tensor(data[start:], entry) for name, entry in tensors.items()}


def _tensor(data: bytes, entry: Mapping[str, Any]) -> tuple[np.ndarray, str]:
    """Read a tensor; of one that is no result, such as integers, only shape and dtype matter."""
    dtype, stored = _SAFETENSORS.get(entry["dtype"], (str(entry["dtype"]), ""))
    if not stored:
        return np.zeros(entry["shape"]), dtype
    first, last = entry["data_offsets"]
    array = np.frombuffer(data[first:last], stored).reshape(entry["shape"])
    return (_bfloat16(array) if dtype == "bfloat16" else array), dtype


def _bfloat16(bits: np.ndarray) -> np.ndarray:
    """Widen the upper halves of float32 numbers."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


_READERS: Mapping[str, Callable[[Path], dict[str, tuple[np.ndarray, str]]]] = {
    ".npz": _npz,
    ".safetensors": _safetensors,
}
