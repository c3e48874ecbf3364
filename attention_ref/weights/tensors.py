"""Read and write safetensors files strictly: a damaged or hostile file is one clear error, nothing of it is executed,
and nothing larger than the file is allocated.

The format: 8 bytes with the length of a header, little-endian; the header, a JSON object from each tensor's name to its
dtype, shape and place; then the tensors one after another, without a gap.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from attention_ref.spec.errors import reject

Array = np.ndarray[Any, Any]
OPERATION = "weights.read"
LARGEST_HEADER = 32_000_000
"""The largest header or index in bytes: that of 200 000 tensors. Parsed, it takes up to 20 times as much memory."""
LONGEST_NAME = 1000
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""The bytes of each dtype that is read; a checkpoint with any other one is quantised or complex."""
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


class Tensor(NamedTuple):
    """The location of a tensor: its dtype as named in the file, its shape, its file and its bytes in it."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int


class Tensors(Mapping[str, Tensor]):
    """The tensors of a checkpoint by name, none of them read yet; `read` reads one."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def read(self, name: str) -> Array:
        """Read one tensor as it is stored: a view of the memory-mapped file."""
        dtype, shape, file, start, end = self._tensors[name]
        if start == end:
            return np.zeros(shape, numpy_dtype(dtype))
        with file.open("rb") as opened:
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        if len(mapped) < end:
            _refuse(file, "the file must not change while it is read", f"{len(mapped)} bytes instead of {end}")
        count = (end - start) // SIZES[dtype]
        return np.frombuffer(mapped, numpy_dtype(dtype), count, start).reshape(shape)


def path_text(operation: str, path: Any) -> str:
    """Return a path as text.

    Raises:
        SpecificationError: for anything but a path.
    """
    try:
        return os.fsdecode(path)
    except TypeError:
        reject(operation, "path must be text or an os.PathLike object", type(path).__name__)


def open_checkpoint(folder: Path) -> Tensors:
    """Find the tensors of a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` names.

    Raises:
        SpecificationError: for a folder with neither, and for whatever is wrong with a file, which is named.
    """
    if is_file(folder / WHOLE):
        return Tensors(read_header(folder / WHOLE))
    if is_file(folder / INDEX):
        return Tensors(_read_shards(folder / INDEX))
    pickles = [name for name in PICKLES if is_file(folder / name)]
    if pickles:
        rule = "a pickle can execute anything while it is read, so only safetensors files are read; save it as one"
        reject(OPERATION, f"{folder / pickles[0]}: {rule}", pickles[0])
    return reject(OPERATION, f"{folder}: a checkpoint has {WHOLE} or {INDEX}", "a folder with neither")


def is_file(path: Path) -> bool:
    """Return whether a path is that of a regular file, or of a link to one, as in the cache of the hub."""
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def read_header(file: Path) -> dict[str, Tensor]:
    """Read and check the header of a safetensors file."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        prefix = opened.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > size - 8:
            _refuse(file, "the header must lie within the file", f"{size} bytes, of which a header of {length}")
        if length > LARGEST_HEADER:
            _refuse(file, f"a header has at most {LARGEST_HEADER} bytes", length)
        header = parse_json(file, opened.read(length))
    first = 8 + length
    header.pop("__metadata__", None)
    tensors = {name: _tensor(file, name, entry, first) for name, entry in header.items()}
    place = first
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != place:
            _refuse(file, "tensors lie one after another, without overlap or gap", f"{name} at {tensor.start - first}")
        place = tensor.end
    if place != size:
        _refuse(file, "the file must end with its last tensor", f"{size} bytes instead of {place}")
    return tensors


def read_json(file: Path, largest: int) -> dict[str, Any]:
    """Read a file with a JSON object of at most `largest` bytes."""
    size = file.stat().st_size
    if size > largest:
        _refuse(file, f"at most {largest} bytes are read", size)
    return parse_json(file, file.read_bytes())


def parse_json(file: Path, text: bytes) -> dict[str, Any]:
    """Parse a JSON object; a duplicate name is an error, and so is a name that cannot be printed."""

    def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        parsed = dict(pairs)
        if len(parsed) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            raise ValueError(f"{counts.most_common(1)[0][0]!r:.80} twice")
        return parsed

    try:
        parsed = json.loads(text.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        _refuse(file, "it must be a JSON object in UTF-8", str(error)[:200] or type(error).__name__)
    if not isinstance(parsed, dict):
        _refuse(file, "it must be a JSON object in UTF-8", type(parsed).__name__)
    for name in parsed:
        if len(name) > LONGEST_NAME or not name.isprintable():
            _refuse(file, f"names must be printable and of at most {LONGEST_NAME} characters", f"{name!r:.80}")
    return parsed


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a file's; bfloat16 is that of ml_dtypes."""
    if name == "BF16":
        if find_spec("ml_dtypes") is None:
            reject(
                OPERATION, 'bfloat16 needs ml_dtypes: python -m pip install "attention-ref[weights]"', "none installed"
            )
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(TYPES.get(name, "?"))


def write_tensors(folder: Path, tensors: Mapping[str, Array], shard_bytes: int | None) -> None:
    """Write the tensors of a checkpoint: one file, or several of at most `shard_bytes` each and their index."""
    shards = _shards(tensors, shard_bytes)
    if len(shards) == 1:
        _write_file(folder / WHOLE, tensors)
        return
    files = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    for file, shard in zip(files, shards, strict=True):
        _write_file(folder / file, {name: tensors[name] for name in shard})
    places = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
    size = sum(array.nbytes for array in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _shards(tensors: Mapping[str, Array], shard_bytes: int | None) -> list[list[str]]:
    """Fill one shard after another; a tensor larger than a shard has one of its own."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, array in tensors.items():
        if shards[-1] and shard_bytes is not None and filled + array.nbytes > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += array.nbytes
    return shards


def _write_file(file: Path, tensors: Mapping[str, Array]) -> None:
    """Write a safetensors file as `transformers` does."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, file, metadata={"format": "pt"})


def _read_shards(index: Path) -> dict[str, Tensor]:
    places: Any = read_json(index, LARGEST_HEADER).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        _refuse(index, "weight_map must name the file of each tensor", type(places).__name__)
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard or "\\" in shard or not shard.endswith(".safetensors"):
            _refuse(index, "a shard is a .safetensors file of the same folder", repr(shard))
        if not is_file(index.parent / shard):
            _refuse(index, "every shard must be there", f"no {shard!r:.80}")
        found = read_header(index.parent / shard)
        listed = {name for name, place in places.items() if place == shard}
        if listed != set(found):
            differing = ", ".join(f"{name!r:.80}" for name in sorted(listed ^ set(found))[:8])
            rule = f"{shard!r:.80} must contain the tensors that are listed for it"
            _refuse(index, rule, f"only in one of them: {differing}")
        tensors |= found
    return tensors


def _tensor(file: Path, name: str, entry: Any, first: int) -> Tensor:
    is_entry = isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}
    if not is_entry or not _are_sizes(entry["shape"]) or not _are_sizes(entry["data_offsets"], 2):
        _refuse(file, "a tensor has a dtype, a shape and two data_offsets", f"{name}: {str(entry)[:200]}")
    dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        _refuse(file, f"the dtype of a tensor must be one of {', '.join(SIZES)}", f"{name}: {str(dtype)[:200]}")
    if math.prod(size or 1 for size in shape) >= 2**56:
        _refuse(file, "a shape must be one that fits into memory", f"{name}: {list(shape)}"[:200])
    if end - start != math.prod(shape) * SIZES[dtype]:
        rule = "a tensor must have as many bytes as its dtype and shape need"
        _refuse(file, rule, f"{name}: {end - start} bytes for {dtype} {list(shape)}"[:200])
    return Tensor(dtype, shape, file, first + start, first + end)


def _are_sizes(value: Any, count: int | None = None) -> bool:
    is_list = isinstance(value, list) and len(value) <= 32 and count in (None, len(value))
    return is_list and all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**63 for size in value)


def _refuse(file: Path, rule: str, received: object) -> Any:
    reject(OPERATION, f"{file}: {rule}", received)
