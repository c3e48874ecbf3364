"""Frozen records that check the types of their fields and turn into JSON and back.

A record is a frozen dataclass whose fields are booleans, integers, floats, strings from a fixed list, records, tuples
of these, or None where the annotation says so.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, Union, get_args, get_origin

from attention_ref.spec.errors import received_text, reject
from attention_ref.spec.numbers import is_finite


class Record:
    """The base of every configuration: checks the fields' types, then calls `_check`."""

    def __post_init__(self) -> None:
        for name, hint in hints(type(self)).items():
            value = getattr(self, name)
            if not _fits(value, hint):
                reject(type(self).__name__, f"{name} must be {_words(hint)}", received_text(value))
        self._check()

    def _check(self) -> None:
        """Check the rules between the fields."""

    def require(self, holds: bool, rule: str, received: object) -> None:
        """Reject the record unless the rule holds."""
        if not holds:
            reject(type(self).__name__, rule, received)

    def require_positive(self, *names: str) -> None:
        """Reject the record unless these fields are above 0."""
        for name in names:
            self.require(getattr(self, name) > 0, f"{name} must be above 0", getattr(self, name))

    def require_rate(self, name: str) -> None:
        """Reject the record unless this field is a rate."""
        rate = getattr(self, name)
        self.require(0 <= rate < 1, f"{name} must be at least 0 and below 1", rate)

    def require_order(self, low: str, high: str) -> None:
        """Reject the record unless one field is below the other."""
        received = f"{getattr(self, low)} and {getattr(self, high)}"
        self.require(getattr(self, low) < getattr(self, high), f"{low} must be below {high}", received)


_HINTS: dict[Any, Mapping[str, Any]] = {}
"""Those of each record, once read: annotations are text, and every record that is made reads them."""


def hints(record: type[Any]) -> Mapping[str, Any]:
    """Return the annotation of every field of a record."""
    if record not in _HINTS:
        annotations = typing.get_type_hints(record)
        _HINTS[record] = {field.name: annotations[field.name] for field in fields(record)}
    return _HINTS[record]


def to_json(value: Any) -> Any:
    """Turn a record into what `json.dumps` writes; fields that hold their default are left out.

    A record says what it is under `type`.
    """
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if not isinstance(value, Record):
        return value
    known: Any = value
    changed = {f.name: getattr(value, f.name) for f in fields(known) if getattr(value, f.name) != f.default}
    return {"type": type(value).__name__} | {name: to_json(item) for name, item in changed.items()}


def from_json(record: type[Any], data: Any, path: str = "") -> Any:
    """Make a record of what `json.loads` read.

    Raises:
        SpecificationError: for an unknown or missing key or a value of the wrong type, with the path to it.
    """
    where = path or record.__name__
    if not isinstance(data, dict):
        reject(where, f"a {record.__name__} must be a JSON object", repr(data))
    if data.get("type", record.__name__) != record.__name__:
        reject(where, f"type must be {record.__name__}", repr(data["type"]))
    known = hints(record)
    unknown = sorted(str(name) for name in set(data) - set(known) - {"type"})
    if unknown:
        reject(where, f"{record.__name__} has the keys {', '.join(known)}", ", ".join(unknown))
    required = {f.name for f in fields(record) if f.default is MISSING and f.default_factory is MISSING}
    missing = sorted(required - set(data))
    if missing:
        rule = f"{record.__name__} needs the keys {', '.join(sorted(required))}"
        reject(where, rule, f"none for {', '.join(missing)}")
    given = {name: value for name, value in data.items() if name != "type"}
    return record(**{name: _read(value, known[name], f"{where}.{name}") for name, value in given.items()})


def json_schema(record: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a record."""
    definitions: dict[str, Any] = {}
    reference = _schema(record, definitions)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **reference, "$defs": definitions}


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Record)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    alternatives = _alternatives(hint)
    if len(alternatives) > 1:
        return any(_fits(value, alternative) for alternative in alternatives)
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and _fit_items(value, get_args(hint))
    if hint is float:
        return isinstance(value, (int, float)) and is_finite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return isinstance(value, hint)


def _fit_items(values: tuple[Any, ...], items: tuple[Any, ...]) -> bool:
    if items[-1] is Ellipsis:
        return all(_fits(value, items[0]) for value in values)
    return len(values) == len(items) and all(map(_fits, values, items))


def _words(hint: Any) -> str:
    names = {int: "an integer of int64", float: "a finite number", bool: "True or False", type(None): "None"}
    texts = []
    for alternative in _alternatives(hint):
        if get_origin(alternative) is Literal:
            texts += list(get_args(alternative))
        elif get_origin(alternative) is tuple:
            items = get_args(alternative)
            inner = f"{_words(items[0])}, ..." if items[-1] is Ellipsis else ", ".join(map(_words, items))
            texts.append(f"a tuple ({inner})")
        else:
            texts.append(names.get(alternative) or f"a {alternative.__name__}")
    return " or ".join(texts)


def _read(value: Any, hint: Any, path: str) -> Any:
    alternatives = _alternatives(hint)
    records = [alternative for alternative in alternatives if _is_record(alternative)]
    if isinstance(value, dict) and records:
        if len(records) == 1:
            return from_json(records[0], value, path)
        named = {record.__name__: record for record in records}
        fitting = [name for name, record in named.items() if _has_keys_of(record, value)]
        kind = value.get("type", fitting[0] if len(fitting) == 1 else None)
        if not isinstance(kind, str) or kind not in named:
            reject(path, f"type must be {' or '.join(named)}", repr(kind))
        return from_json(named[kind], value, path)
    tuples = [alternative for alternative in alternatives if get_origin(alternative) is tuple]
    if isinstance(value, list) and tuples:
        items = get_args(tuples[0])
        inner = [items[0]] * len(value) if items[-1] is Ellipsis else list(items)
        if len(inner) == len(value):
            return tuple(_read(v, h, f"{path}[{i}]") for i, (v, h) in enumerate(zip(value, inner, strict=True)))
    if not _fits(value, hint):
        reject(path, f"it must be {_words(hint)}", received_text(value))
    return value


def _has_keys_of(record: type[Any], data: Mapping[str, Any]) -> bool:
    """Return whether data without a type can be a record: it has every key that the record needs and no other."""
    needed = {f.name for f in fields(record) if f.default is MISSING}
    return needed <= set(data) <= set(hints(record))


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    alternatives = _alternatives(hint)
    if len(alternatives) > 1:
        return {"anyOf": [_schema(alternative, definitions) for alternative in alternatives]}
    if _is_record(hint):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}  # a place first: records may hold themselves
            definitions[hint.__name__] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if get_origin(hint) is tuple:
        items = get_args(hint)
        if items[-1] is Ellipsis:
            return {"type": "array", "items": _schema(items[0], definitions)}
        inner = [_schema(item, definitions) for item in items]
        return {"type": "array", "prefixItems": inner, "items": False, "minItems": len(inner)}
    names = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}
    return {"type": names[hint]}


def _object(record: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {"type": {"const": record.__name__}}
    properties |= {name: _schema(hint, definitions) for name, hint in hints(record).items()}
    required = [f.name for f in fields(record) if f.default is MISSING]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
