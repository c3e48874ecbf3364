"""Recipes: cases as people write them, and how they become the inputs of a call.

A recipe is `recipes/<operation>/<profile>.toml`: `sizes` that its cases share, and a `[[case]]` each with

    name, hunts, seen      the end of its id, the bug that it hunts, and where that bug was seen
    sizes                  what differs from the shared sizes, by the letters of the shape legend
    options                the scalar options of the call
    clauses, dtypes        what cannot be derived from the inputs (see features.py), and a limit of what is derived
    gradient               false where the gradients of an attention are left out
    exact_scores           true where every score is exact in float32, so that only the softmax rounds
    query, key, mask, ...  a table for every array that is optional or is not simply hashed (see fill.py)

A `shape` is written with the letters of the legend, `"b1qk"`; `b` stands for all leading sizes
and a digit for itself. What is configured or has parameters says more, see layer_recipes.py.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from attention_ref.spec import Array
from attention_ref.spec.records import Record
from attention_ref.vectors.build.hashed_inputs import filled, seeded

_ARRAYS = {
    "attention": {"query": "bhqd", "key": "bgkd", "value": "bgkv"},
    "additive_attention": {"query": "bhqd", "key": "bgke", "value": "bgkv", "score_kernel": "a"},
    "multiplicative_attention": {"query": "bhqd", "key": "bgke", "value": "bgkv"},
}
_SHAPES = {"sinks": "h", "key_lengths": "b", "query_offset": "b", "query_kernel": "da", "key_kernel": "ea"}
_SHAPES |= {"score_kernel": "de"}
_OPTIONAL = ("mask", "bias", "sinks", "key_lengths", "query_offset", "dropout_mask")
_KERNELS = ("score_kernel", "query_kernel", "key_kernel")
_DTYPES = {"mask": "bool", "dropout_mask": "bool", "key_lengths": "integer", "query_offset": "integer"}
_SAME_AS = {"g": "h", "v": "d", "e": "d", "a": "d"}


@dataclass(frozen=True)
class Recipe:
    """One case before its truth is known."""

    id: str
    operation: str
    hunts: str
    inputs: Mapping[str, Array]
    options: Mapping[str, Any] = field(default_factory=dict)
    clauses: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    dtypes: tuple[str, ...] | None = None
    gradient: bool = True
    exact_scores: bool = False
    config: Record | None = None
    parameters: Mapping[str, Array] = field(default_factory=dict)
    chunks: tuple[tuple[int, ...], ...] = ()
    taps: bool = True


def names() -> list[tuple[str, str]]:
    """Give the operation and the profile of every recipe file."""
    found = []
    for folder in resources.files("attention_ref.vectors.build").joinpath("recipes").iterdir():
        if folder.is_dir():
            files = (entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
            found += [(folder.name, file.removesuffix(".toml")) for file in files]
    return sorted(found)


def load(operation: str, profile: str) -> dict[str, Any]:
    """Read a recipe file as it is written."""
    path = resources.files("attention_ref.vectors.build").joinpath("recipes", operation, f"{profile}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def cases(operation: str, profile: str, seed: int = 0) -> Iterator[Recipe]:
    """Give the cases of a recipe file with their inputs filled; the seed 0 is that of the vectors."""
    from attention_ref.vectors.build import layer_recipes  # it makes recipes, so it needs this module

    document = load(operation, profile)
    for table in document["case"]:
        case_id = f"{operation}/{profile}/{table['name']}"
        if operation in _ARRAYS:
            yield _recipe(operation, case_id, document["sizes"], table, seed)
        else:
            yield layer_recipes.recipe(operation, case_id, document, table, seed)


def _recipe(
    operation: str, case_id: str, shared_sizes: Mapping[str, Any], table: Mapping[str, Any], seed: int
) -> Recipe:
    sizes = {**shared_sizes, **table.get("sizes", {})}
    shapes = {**_ARRAYS[operation]}
    given = [name for name in (*_OPTIONAL, *_KERNELS) if name in table and name not in shapes]
    shapes |= {name: table[name].get("shape", _SHAPES.get(name)) for name in given}
    inputs = {
        name: filled(seeded(case_id, seed), name, sized(letters, sizes), _DTYPES.get(name, "real"), table.get(name, {}))
        for name, letters in shapes.items()
    }
    return Recipe(
        **described(operation, case_id, table),
        inputs=inputs,
        gradient=table.get("gradient", True),
        exact_scores=table.get("exact_scores", False),
    )


def described(operation: str, case_id: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Give what every recipe says of its case beside arrays."""
    return {
        "id": case_id,
        "operation": operation,
        "hunts": table["hunts"],
        "options": {name: _option(value) for name, value in table.get("options", {}).items()},
        "clauses": tuple(table.get("clauses", ())),
        "seen": tuple(table.get("seen", ())),
        "dtypes": tuple(table["dtypes"]) if "dtypes" in table else None,
    }


def sized(letters: str, sizes: Mapping[str, Any]) -> list[int]:
    """Give the shape that letters stand for."""
    shape: list[int] = []
    for letter in letters:
        size = int(letter) if letter.isdigit() else sizes.get(letter, sizes.get(_SAME_AS.get(letter, letter)))
        shape += size if isinstance(size, list) else [size]
    return shape


def _option(value: Any) -> Any:
    """TOML has no null: an open side of a window is written "open"."""
    return tuple(None if side == "open" else side for side in value) if isinstance(value, list) else value
