"""Recipes: cases as written by hand, and their conversion to calls.

A recipe is `recipes/<operation>/<profile>.toml`: `sizes` that its cases share, and a `[[case]]` each with

    name, catches          the end of its id, and the bug that it catches
    bug, references        the kind of that bug (see vectors/bugs.toml), and references to reports of it
    sizes                  changes of the shared sizes, by the letters of the shape legend
    options                the scalar options of the call
    clauses, dtypes        clauses that cannot be derived (see attention_clauses.py), and a limit of the dtypes
    gradient               for attention false to leave gradients out; for a layer true to include them
    exact_scores           true if every score is exact in float32, so that only the softmax rounds; in a mixture of
                           experts if every logit is, so that scores may be equal
    query, key, mask, ...  a table for every array that is optional or not simply hashed (see hashed_inputs.py)
    config, parameters     of a layer: changes of the file's `config`, and tables of some parameters
    chunks                 the number of new positions of each batch row in each call, for a layer with a cache
    taps                   false to leave out the intermediates of a layer
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from attention_ref.spec.operations import ATTENTIONS, OPERATIONS
from attention_ref.vectors.build import recipe_arrays
from attention_ref.vectors.build.hashed_inputs import seeded
from attention_ref.vectors.build.recipe_config import configured
from attention_ref.vectors.call import Call


@dataclass(frozen=True)
class Recipe:
    """One case without expected results."""

    id: str
    call: Call
    catches: str
    clauses: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    dtypes: tuple[str, ...] | None = None
    gradient: bool = True
    exact_scores: bool = False
    taps: bool = True
    bug: str = ""


def names() -> list[tuple[str, str]]:
    """Return the operation and the profile of every recipe file."""
    found = []
    for folder in resources.files("attention_ref.vectors.build").joinpath("recipes").iterdir():
        if folder.is_dir():
            files = (entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
            found += [(folder.name, file.removesuffix(".toml")) for file in files]
    return sorted(found)


def load(operation: str, profile: str) -> dict[str, Any]:
    """Read a recipe file."""
    path = resources.files("attention_ref.vectors.build").joinpath("recipes", operation, f"{profile}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def cases(operation: str, profile: str, seed: int = 0) -> Iterator[Recipe]:
    """Return the cases of a recipe file with their inputs filled; seed 0 is the seed of the vectors."""
    document = load(operation, profile)
    for table in document["case"]:
        yield _recipe(operation, f"{operation}/{profile}/{table['name']}", document, table, seed)


def _recipe(operation: str, case_id: str, document: Mapping[str, Any], table: Mapping[str, Any], seed: int) -> Recipe:
    hashed = seeded(case_id, seed)
    config = configured(operation, document.get("config", {}), table.get("config", {}))
    sizes = {**recipe_arrays.sizes_of(config), **document["sizes"], **table.get("sizes", {})}
    is_layer = OPERATIONS[operation].is_layer
    parameters = recipe_arrays.parameters(hashed, config, table.get("parameters", {})) if is_layer else {}
    call = Call(
        operation,
        inputs=recipe_arrays.inputs(operation, hashed, config, sizes, table),
        options={name: _option(value) for name, value in table.get("options", {}).items()},
        config=config,
        parameters=parameters,
        chunks=tuple(map(tuple, table.get("chunks", ()))),
    )
    return Recipe(
        id=case_id,
        call=call,
        catches=table["catches"],
        clauses=tuple(table.get("clauses", ())),
        references=tuple(table.get("references", ())),
        dtypes=tuple(table["dtypes"]) if "dtypes" in table else None,
        gradient=table.get("gradient", operation in ATTENTIONS),
        exact_scores=table.get("exact_scores", False),
        taps=table.get("taps", True),
        bug=table["bug"],
    )


def _option(value: Any) -> Any:
    """Convert a TOML value: TOML has no null, so an unlimited side of a window is written "open"."""
    return tuple(None if side == "open" else side for side in value) if isinstance(value, list) else value
