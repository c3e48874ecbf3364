"""Examine a checkpoint without reading its tensors: its architecture, and every reason why it cannot be read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from attention_ref.spec.architecture import HeadConfig, ModelConfig
from attention_ref.spec.errors import reject, shape_text
from attention_ref.weights import layouts
from attention_ref.weights.layouts.config_keys import read_keys
from attention_ref.weights.layouts.layout import (
    Architecture,
    Layout,
    Source,
    best_prefix,
    current_name,
    reason_unused,
    sources,
)
from attention_ref.weights.tensors import OPERATION, Tensors, is_file, open_checkpoint, path_text, read_json

CONFIG = "config.json"
FLOATS = ("F64", "F32", "F16", "BF16")
LARGEST_CONFIG = 16_000_000
MOST_PROBLEMS = 1000
"""How many problems one error lists."""
Array = np.ndarray[Any, Any]


@dataclass
class Checkpoint:
    """The properties of a checkpoint.

    `sources` are the tensors that are read, `unused` those that are not, with the reason, `problems` all that is wrong,
    and `names` the name in the file of each tensor by its present name.
    """

    path: Path
    keys: dict[str, Any]
    tensors: Tensors
    layout: Layout
    architecture: str
    config: ModelConfig | None = None
    sources: list[Source] = field(default_factory=list)
    unused: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> Array:
        """Read a tensor by its present name."""
        return self.tensors.read(self.names[name])

    def require_readable(self) -> ModelConfig:
        """The configuration of a checkpoint without problems; with some, one error that lists them all."""
        if self.problems or self.config is None:
            left = len(self.problems) - MOST_PROBLEMS
            more = [f"and {left} more"] if left > 0 else []
            lines = "\n    ".join(["", *self.problems[:MOST_PROBLEMS], *more])
            rule = "every key and every tensor of a checkpoint must be understood"
            reject(OPERATION, rule, f"{self.path}, a {self.layout.name} checkpoint with{lines}")
        return self.config


def examine(path: str | PathLike[str]) -> Checkpoint:
    """Examine a checkpoint.

    Raises:
        SpecificationError: for a folder that is not a checkpoint of a known family, and for a damaged file.
    """
    folder = Path(path_text("weights.read", path))
    try:
        return _examined(folder)
    except OSError as error:
        return reject(OPERATION, f"{folder}: its files must be readable", error)


def _examined(folder: Path) -> Checkpoint:
    keys = _read_config(folder)
    layout, architecture = _recognise(folder, keys)
    checkpoint = Checkpoint(folder, keys, open_checkpoint(folder), layout, architecture)
    checkpoint.names = {current_name(layout, name): name for name in checkpoint.tensors}
    values, problems = read_keys(layout.keys, _renamed(layout, keys, checkpoint.problems))
    checkpoint.problems += problems
    try:
        checkpoint.layout = layout.numbered(values)
        known = layout.architectures[architecture]
        config = layout.configure(values, _kind(known, checkpoint.names))
    except (ValueError, TypeError, AttributeError, ArithmeticError, IndexError, KeyError) as error:
        if not problems:  # else it follows from them
            checkpoint.problems.append(f"{CONFIG}: {error}")
        return checkpoint
    _match(checkpoint, known, config)
    return checkpoint


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    if not is_file(file):
        reject(OPERATION, f"{folder}: a checkpoint is a folder with {CONFIG}", "a path without it")
    return read_json(file, LARGEST_CONFIG)


def _recognise(folder: Path, keys: Mapping[str, Any]) -> tuple[Layout, str]:
    name = keys.get("model_type")
    if not isinstance(name, str) or name not in layouts.FILES:
        reject(OPERATION, f"{folder / CONFIG}: model_type must be one of {', '.join(layouts.FILES)}", f"{name!r:.200}")
    layout = layouts.family(name)
    given: Any = keys.get("architectures")
    known = ", ".join(layout.architectures)
    is_one = isinstance(given, list) and len(given) == 1 and isinstance(given[0], str)
    if not is_one or given[0] not in layout.architectures:
        reject(OPERATION, f"{folder / CONFIG}: architectures of {name} must be one of {known}", f"{given!r:.200}")
    return layout, given[0]


def _renamed(layout: Layout, keys: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    renamed = {name: value for name, value in keys.items() if name not in layout.aliases}
    for old, new in layout.aliases.items():
        if old in keys and renamed.setdefault(new, keys[old]) != keys[old]:
            problems.append(f"{old} is {keys[old]!r:.80} and {new}, the same key, {renamed[new]!r:.80}")
    return renamed


def _kind(architecture: Architecture, names: Mapping[str, str]) -> str:
    """The kind of the head; `none` where the file may lack it and does."""
    table = architecture.table if isinstance(architecture.table, dict) else {}
    modules = [entry for entry in table.values() if isinstance(entry, str)]
    has_head = any(name.startswith(f"{module}.") for module in modules for name in names)
    return architecture.kind if has_head or not architecture.optional else "none"


def _match(checkpoint: Checkpoint, architecture: Architecture, config: ModelConfig) -> None:
    """Find every parameter among the tensors and a reason for every other tensor."""
    layout, names = checkpoint.layout, checkpoint.names
    prefix = best_prefix(architecture, layout, config, names)
    tied = _tied(layout, architecture, config, prefix)
    if any(_has_both(checkpoint, pair) and not _are_equal(checkpoint, *pair) for pair in tied.items()):
        # the file has a projection of its own, whatever config.json says; transformers reads it so too
        config, tied = replace(config, head=_untied(config)), {}
    checkpoint.config = config
    checkpoint.sources = sources(layout, architecture, config, prefix)
    behind = {prefix + copy: prefix + original for copy, original in layout.duplicates.items()}
    copies = {**layout.duplicates, **behind, **tied}  # those of a head have no prefix
    for copy, original in copies.items():
        if copy in names and original not in names:
            names[original] = names[copy]
    for source in checkpoint.sources:
        checkpoint.problems += _problems_of(checkpoint, source)
    used = {checkpoint.names[source.name] for source in checkpoint.sources if source.name in names}
    for name, stored in names.items():
        if stored not in used:
            _explain(checkpoint, architecture, prefix, name, copies)


def _problems_of(checkpoint: Checkpoint, source: Source) -> list[str]:
    if source.name not in checkpoint.names:
        return [f"{source.name} {shape_text(source.shape)} is missing"]
    tensor = checkpoint.tensors[checkpoint.names[source.name]]
    if tensor.shape != source.shape:
        return [f"{source.name} is {shape_text(tensor.shape)}, must be {shape_text(source.shape)}"]
    return [] if tensor.dtype in FLOATS else [f"{source.name} is of dtype {tensor.dtype}, must be a floating one"]


def _explain(
    checkpoint: Checkpoint, architecture: Architecture, prefix: str, name: str, copies: Mapping[str, str]
) -> None:
    """Explain why a tensor is not read."""
    layout, original = checkpoint.layout, copies.get(name)
    computed = {f"{prefix}{end}": values for end, values in layout.computed.items()}
    reason = reason_unused(layout, architecture, name)
    if original is not None and original in checkpoint.names:
        if _are_equal(checkpoint, name, original):
            checkpoint.unused[name] = f"a copy of {original}"
        else:
            checkpoint.problems.append(f"{name} differs from {original}, of which it must be a copy")
    elif name in computed:
        tensor = checkpoint.tensors[checkpoint.names[name]]
        is_table = len(tensor.shape) == 2 and math.prod(tensor.shape) > 0 and tensor.dtype in FLOATS
        if is_table and _is_close(checkpoint.read(name), computed[name](tensor.shape)):
            checkpoint.unused[name] = "computed from the configuration, with the same result"
        else:
            checkpoint.problems.append(f"{name} differs from what the configuration says")
    elif reason is not None:
        checkpoint.unused[name] = reason
    else:
        text = shape_text(checkpoint.tensors[checkpoint.names[name]].shape)
        checkpoint.problems.append(f"{name} {text} is not known for this family")


def _untied(config: ModelConfig) -> HeadConfig | None:
    return replace(config.head, tied=False) if config.head is not None else None


def _has_both(checkpoint: Checkpoint, pair: tuple[str, str]) -> bool:
    return set(pair) <= set(checkpoint.names)


def _tied(layout: Layout, architecture: Architecture, config: ModelConfig, prefix: str) -> dict[str, str]:
    """The name of a projection that is tied, and of the token embedding whose copy it is."""
    if config.head is None or not config.head.tied:
        return {}
    bare = replace(config, head=_untied(config))
    found = {ours: source.name for source in sources(layout, architecture, bare, prefix) for ours in source.ours}
    stack = "decoder" if config.decoder_stack is not None and not config.shared_embedding else "encoder"
    return {found["head.kernel"]: found[f"{stack}.embedding.token"]}


def _are_equal(checkpoint: Checkpoint, one: str, other: str) -> bool:
    first, second = checkpoint.tensors[checkpoint.names[one]], checkpoint.tensors[checkpoint.names[other]]
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return False
    ours, theirs = (checkpoint.read(name).reshape(-1).view(np.uint8) for name in (one, other))  # bit by bit
    return np.array_equal(ours, theirs)


def _is_close(stored: Array, computed: Array) -> bool:
    """Whether two tables of sines and cosines agree to the precision in which one was stored."""
    unit = 2.0**-8 if stored.dtype.name == "bfloat16" else float(np.finfo(stored.dtype).eps)
    # angles of up to the length of the table, computed in float32 by the library that stored them
    tolerance = max(2 * unit, stored.shape[0] * float(np.finfo(np.float32).eps))
    return stored.shape == computed.shape and bool(np.abs(stored.astype(np.float64) - computed).max() <= tolerance)
