"""Arrays of a request and its answer in files of safetensors, for which numbers in JSON would take too long."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from attention_ref.conformance.errors import SubjectError, UsageError
from attention_ref.conformance.frameworks.interface import numpy_dtype
from attention_ref.vectors.array_forms import kind_of

_TAGS = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_MEMORY = "/dev/shm"  # noqa: S108 - files in memory, in a folder of our own


def memory() -> str | None:
    """Return the folder of files in memory; None where the system has none."""
    return _MEMORY if os.path.isdir(_MEMORY) else None  # noqa: PTH112


class ArrayFiles:
    """The file that a request names, and the one that its answer is written to, in a folder that ends with this object.

    Arguments:
        parent: the folder in which that folder is made; None: memory, where the system has files in memory.

    Raises:
        UsageError: without the package safetensors.
    """

    def __init__(self, parent: str | None = None) -> None:
        if find_spec("safetensors") is None:
            raise UsageError("arrays in files need the package safetensors, which is not installed")
        folder = Path(tempfile.mkdtemp(dir=parent or memory()))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.request, self.answer = (folder / f"{name}.safetensors" for name in ("request", "answer"))

    @property
    def paths(self) -> dict[str, str]:
        """Both paths, as a request names them."""
        return {"request": str(self.request), "answer": str(self.answer)}

    def write(self, arrays: Mapping[str, np.ndarray], dtype: str) -> None:
        """Write the arrays of a request, real numbers in `dtype`; the answer to the one before is removed."""
        from safetensors.numpy import save_file

        self.answer.unlink(missing_ok=True)
        types = {"real": numpy_dtype(dtype), "bool": np.dtype(bool), "integer": np.dtype(np.int64)}
        save_file(
            {name: np.ascontiguousarray(each, types[kind_of(each)]) for name, each in arrays.items()}, self.request
        )

    def read(self, expected: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, np.ndarray]:
        """Read the arrays of an answer as float64, each with the shape and the dtype that it must have.

        Raises:
            SubjectError: if there is no such file, or it holds something else.
        """
        from safetensors import SafetensorError, deserialize

        try:
            found = dict(deserialize(self.answer.read_bytes()))
        except (OSError, SafetensorError) as error:
            raise SubjectError(f"the file of its answer cannot be read: {error}") from None
        results = {}
        for name, (shape, dtype) in expected.items():
            if name not in found:
                raise SubjectError(f"the file of its answer lacks {name}")
            tensor = found[name]
            if tuple(tensor["shape"]) != shape:
                raise SubjectError(f"{name} has the shape {tuple(tensor['shape'])} instead of {shape}")
            if tensor["dtype"] != _TAGS[dtype]:
                raise SubjectError(f"{name} has the dtype {tensor['dtype']} instead of {_TAGS[dtype]}")
            results[name] = _numbers(tensor["data"], dtype).reshape(shape)
        return results


def _numbers(data: bytes, dtype: str) -> np.ndarray:
    """Return the numbers as float64; bfloat16 is the upper half of a float32."""
    if dtype != "bfloat16":
        return np.frombuffer(data, dtype).astype(np.float64)
    return (np.frombuffer(data, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
