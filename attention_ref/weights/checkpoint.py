"""Read and write the checkpoints of released models: a folder with `config.json` and safetensors files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.errors import reject
from attention_ref.spec.parameters import parameters
from attention_ref.spec.records import to_json
from attention_ref.weights import layouts
from attention_ref.weights.examination import CONFIG, examine
from attention_ref.weights.layouts.config_keys import read_keys, write_keys
from attention_ref.weights.layouts.layout import Architecture, Layout, sources
from attention_ref.weights.tensors import INDEX, WHOLE, numpy_dtype, path_text, write_tensors
from attention_ref.weights.tree import check

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]


def read(
    path: str | PathLike[str], dtype: Any = None, *, progress: Progress | None = None
) -> tuple[ModelConfig, dict[str, Array]]:
    """Read a checkpoint as `transformers` saves it.

        config, params = weights.read("path/to/gpt2")
        model = attention_ref.numpy.Transformer(config, params)
        logits = model(tokens)

    Nothing is guessed: every key of `config.json` is read, known to have no effect, or an error; every tensor is read,
    a copy of one that is, computed, or known to be of no use.

    Arguments:
        path: the folder. Nothing in it is executed.
        dtype: of the parameters: float64, float32, float16 or bfloat16; as they are stored when None.
        progress: is called with how many tensors are read and how many there are.

    Returns:
        The configuration, and the parameters by name.

    Raises:
        SpecificationError: one error with all that is wrong with the checkpoint.
    """
    checkpoint = examine(path)
    config = checkpoint.require_readable()
    wanted = None if dtype is None else _dtype(dtype)
    params: dict[str, Array] = {}
    tree = parameters(config)
    for done, source in enumerate(checkpoint.sources, start=1):
        arrays = source.rule.read(checkpoint.read(source.name), source.parameters)
        for name, array in zip(source.ours, arrays, strict=True):
            if source.row is None:
                params[name] = np.array(array, dtype=wanted, order="C")
            else:
                _set_row(params, name, tree[name].shape, source.row, np.asarray(array, dtype=wanted))
        if progress is not None:
            progress(done, len(checkpoint.sources))
    return config, {name: params[name] for name in tree}


def _set_row(params: dict[str, Array], name: str, shape: tuple[int, ...], row: int, array: Array) -> None:
    """Set one row of a parameter, whose rows are tensors of their own in the file."""
    whole = params.setdefault(name, np.empty(shape, array.dtype))
    if whole.dtype != array.dtype:
        rule = f"the tensors of {name} must have one dtype, or dtype be given"
        reject("weights.read", rule, f"{whole.dtype.name} and {array.dtype.name}")
    whole[row] = array


def write(
    path: str | PathLike[str],
    config: ModelConfig,
    params: Mapping[str, Any],
    family: str,
    *,
    keys: Mapping[str, Any] | None = None,
    shard_bytes: int | None = None,
) -> None:
    """Write a checkpoint that `transformers` loads; the exact inverse of `read`, bit by bit.

        weights.write("path/to/folder", model.config, params, "gpt2")

    Arguments:
        path: the folder, which is made and must not contain a checkpoint.
        config: the model.
        params: its parameters, NumPy arrays.
        family: the `model_type` to write it as.
        keys: more of `config.json`, such as `eos_token_id`; none of them may contradict the configuration.
        shard_bytes: how large a file may become, in bytes, above 0; what does not fit is written to further files with
            an index, as `transformers` does. A tensor is never split. One file when None.

    Raises:
        SpecificationError: for parameters that are not those of the configuration, and for a configuration that the
            family cannot express.
    """
    folder = Path(path_text("weights.write", path))
    if shard_bytes is not None and not (type(shard_bytes) is int and shard_bytes > 0):
        reject("weights.write", "shard_bytes must be an integer above 0, or None", repr(shard_bytes))
    check(config, params)
    layout = _family(family)
    given = dict(keys or {})
    given = given if layout.sharing is None else {**layout.sharing(config, params, given), **given}
    name, written = _express(layout, config, given)
    layout = layout.numbered(read_keys(layout.keys, written)[0])
    present = [file for file in (CONFIG, WHOLE, INDEX) if (folder / file).exists()]
    if present:
        reject("weights.write", f"{folder} must not contain a checkpoint", ", ".join(present))
    architecture = layout.architectures[name]
    tensors = {}
    for source in sources(layout, architecture, config, architecture.prefix):
        arrays = [np.asarray(params[ours])[... if source.row is None else source.row] for ours in source.ours]
        tensors[source.name] = source.rule.write(arrays, source.parameters)
    for name, original in architecture.fillers.items():
        if original in tensors and name not in tensors:
            tensors[name] = tensors[original].copy()
    folder.mkdir(parents=True, exist_ok=True)
    dtypes = {array.dtype.name for array in tensors.values()}
    written |= {"dtype": max(dtypes, key=lambda dtype: np.dtype(_dtype(dtype)).itemsize)}
    write_tensors(folder, tensors, shard_bytes)
    (folder / CONFIG).write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _express(layout: Layout, config: ModelConfig, keys: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class that has this configuration, and its `config.json`."""
    nearest: list[str] | None = None
    for name, architecture in layout.architectures.items():
        written = write_keys(layout.keys, config)
        written |= {key: value for key, value in keys.items() if key not in written or written[key] is None}
        written |= {"model_type": layout.name, "architectures": [name]}
        if architecture.kind in NEEDS:
            written |= NEEDS[architecture.kind]
        differences = _differences(layout, architecture, config, written)
        if not differences:
            return name, written
        if nearest is None or len(differences) < len(nearest):
            nearest = differences
    lines = "\n    ".join(["", *(nearest or [])[:12]])
    return reject(
        "weights.write", f"the family {layout.name} must be able to express the configuration", f"instead:{lines}"
    )


NEEDS: Mapping[str, Mapping[str, Any]] = {"causal": {"is_decoder": True}}
"""Keys that a kind of class needs beside those of its configuration."""


def _differences(layout: Layout, architecture: Architecture, config: ModelConfig, written: dict[str, Any]) -> list[str]:
    values, problems = read_keys(layout.keys, written)
    kinds = (architecture.kind, "none") if architecture.optional else (architecture.kind,)
    for kind in kinds:
        try:
            made = layout.configure(values, kind)
        except (ValueError, TypeError, AttributeError, ArithmeticError, IndexError) as error:
            problems.append(str(error))
            continue
        if made.head is not None and config.head is not None and made.head.tied and not config.head.tied:
            # a head of its own in the file is read as one, whatever its config.json says
            made = replace(made, head=replace(made.head, tied=False))
        if made == config and not problems:
            return []
        problems += _compare(to_json(config), to_json(made), "")
    return problems


def _compare(ours: Any, theirs: Any, path: str) -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        names = dict.fromkeys([*ours, *theirs])
        return [line for name in names for line in _compare(ours.get(name), theirs.get(name), f"{path}.{name}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = zip(ours, theirs, strict=True)
        return [line for i, (our, their) in enumerate(pairs) for line in _compare(our, their, f"{path}[{i}]")]
    return [] if ours == theirs else [f"{path[1:]} is {ours!r:.80}, the family has {theirs!r:.80}"]


def _family(name: str) -> Layout:
    if name not in layouts.FILES:
        reject("weights.write", f"the family must be one of {', '.join(layouts.FILES)}", repr(name))
    return layouts.family(name)


def _dtype(dtype: Any) -> np.dtype[Any]:
    if str(dtype) == "bfloat16":
        return numpy_dtype("BF16")
    found = np.dtype(dtype)
    if found.name not in ("float64", "float32", "float16", "bfloat16"):
        reject("weights.read", "dtype must be float64, float32, float16 or bfloat16", found.name)
    return found
