"""The JSON Schemas of vectors and recipes: the files in `schema/`, with the arguments of every operation filled in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attention_ref.spec.arguments import Argument
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import OPERATIONS
from attention_ref.vectors.bugs import bugs

Schema = dict[str, Any]


def schema(name: str) -> Schema:
    """Return a JSON Schema: `"vectors"` for the generated files, `"recipe"` for their sources.

    Example:
        >>> schema("vectors")["required"]
        ['format_version', 'spec', 'operation', 'profile', 'cases']
    """
    path = Path(__file__).parent / "schema" / f"{name}.json"
    found: Schema = json.loads(path.read_text(encoding="utf-8"))
    (_fill_recipe if name == "recipe" else _fill_vectors)(found)
    return found


def _fill_vectors(found: Schema) -> None:
    found["properties"]["operation"]["enum"] = list(OPERATIONS)
    case = found["$defs"]["case"]["properties"]
    case["bug"]["enum"] = list(bugs())
    case["dtypes"]["items"]["enum"] = list(DTYPES)
    case["inputs"]["properties"] = {argument.name: _array(argument) for argument in _arguments() if argument.is_array}
    case["options"]["properties"] = _options(None)
    results = (result.name for operation in OPERATIONS.values() for result in operation.results if result.axes)
    case["expected"]["properties"] = {name: {"$ref": "#/$defs/result"} for name in results}


def _fill_recipe(found: Schema) -> None:
    case = found["properties"]["case"]["items"]["properties"]
    case["bug"]["enum"] = list(bugs())
    case["dtypes"]["items"]["enum"] = list(DTYPES)
    case["options"]["properties"] = _options("open")
    case |= {argument.name: _filling(argument) for argument in _arguments() if argument.is_array}


def _arguments() -> Iterator[Argument]:
    for operation in OPERATIONS.values():
        yield from operation.arguments.values()


def _array(argument: Argument) -> Schema:
    """Return the schema of an array in the vectors."""
    kinds = ("integer", "real") if argument.kind == "embedded" else (argument.kind,)
    references = [{"$ref": f"#/$defs/{kind}"} for kind in kinds]
    return references[0] if len(references) == 1 else {"anyOf": references}


def _filling(argument: Argument) -> Schema:
    """Return the schema of an array in a recipe: masks are hashed or written, integers per batch row are written."""
    if argument.kind == "bool":
        return {"$ref": "#/$defs/boolean"}
    filled = {"$ref": "#/$defs/fill"}
    return {"allOf": [filled, {"required": ["values"]}]} if argument.is_per_row else filled


def _options(is_open: str | None) -> dict[str, Schema]:
    """Return the schemas of the options; an unlimited side of a pair is written as `is_open`."""
    options = {argument.name: _option(argument, is_open) for argument in _arguments()}
    return {name: option for name, option in options.items() if option}


def _option(argument: Argument, is_open: str | None) -> Schema:
    """Return the schema of an option, or an empty schema if an argument is not an option."""
    if argument.kind == "flag" and argument.is_data:
        return {"type": "boolean"}
    if argument.kind == "choice":
        return {"enum": list(argument.choices)}
    if argument.kind == "pair":
        side = {"anyOf": [{"type": "integer", **_bounds(argument)}, {"const": is_open}]}
        return {"description": "left and right", "type": "array", "minItems": 2, "maxItems": 2, "items": side}
    kinds = {"number": "number", "count": "integer"} | ({"integer": "integer"} if "(" in argument.axes else {})
    return {"type": kinds[argument.kind], **_bounds(argument)} if argument.kind in kinds else {}


def _bounds(argument: Argument) -> Schema:
    """Return a range in JSON Schema; a bound that is an array size is left out."""
    if not argument.range:
        return {}
    low, high = argument.range[1:-1].split(", ")
    lowest = {"minimum" if argument.range[0] == "[" else "exclusiveMinimum": low}
    highest = {"maximum" if argument.range[-1] == "]" else "exclusiveMaximum": high}
    ends = (lowest | highest).items()
    return {name: int(end) for name, end in ends if end.lstrip("-").isdigit()}
