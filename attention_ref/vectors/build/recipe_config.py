"""Read the configuration of a layer from a recipe, where shared parts are written once.

A configuration is written as `attention_ref.spec.records` reads it from JSON, with these additions:

    the file's `config`    is the base of the `config` of every case: tables are merged key by key, unless that of the
                           case has another `type`
    "none"                 stands for None, and "open" for an unlimited side of a window
    model                  may be given in a block, a stack or a model, and applies to all parts
    block, layers, each    in a stack: a block, the number of copies, and a list of changes of each
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attention_ref.spec.operations import OPERATIONS
from attention_ref.spec.records import from_json

_NONE = ("none", "open")


def configured(operation: str, shared: Mapping[str, Any], changes: Mapping[str, Any]) -> Any:
    """Return the configuration of a case from that of its file and its changes; None if the operation has none."""
    record = OPERATIONS[operation].record
    if record is None:
        return None
    table = merged(shared, changes)
    model = table.get("model")
    if operation == "Block":
        table = _block(table, table.pop("model", None))
    if operation == "Transformer":
        table.pop("model", None)
        table |= {name: _stack(table[name], model) for name in ("encoder_stack", "decoder_stack") if table.get(name)}
    return from_json(record, table)


def merged(shared: Any, change: Any) -> Any:
    """Merge a change into a table: nested tables are merged, other values replaced; "none" and "open" become None."""
    if isinstance(change, str) and change in _NONE:
        return None
    if isinstance(change, list):
        return [merged(None, item) for item in change]
    if not isinstance(change, Mapping):
        return change
    kept = shared if isinstance(shared, Mapping) and change.get("type") in (None, shared.get("type")) else {}
    plain = {name: merged(None, value) for name, value in kept.items() if name not in change}
    return plain | {name: merged(kept.get(name), value) for name, value in change.items()}


def _stack(table: dict[str, Any], model: int | None) -> dict[str, Any]:
    table = {"embedding": {}, **table}
    block, layers = table.pop("block"), table.pop("layers", 1)
    each = table.pop("each", [{}] * layers)
    return {**table, "blocks": [_block(merged(block, changes), model) for changes in each]}


def _block(table: dict[str, Any], model: int | None) -> dict[str, Any]:
    parts = ("attention", "cross_attention", "feedforward")
    return {**table, **{name: _sized(table[name], model) for name in parts if table.get(name)}}


def _sized(part: dict[str, Any], model: int | None) -> dict[str, Any]:
    """Return a part of a block with its model size, which a mixture of experts has in each of its networks."""
    if part.get("type") != "MixtureConfig":
        return {"model": model, **part}
    return part | {name: {"model": model, **part[name]} for name in ("expert", "shared") if part.get(name)}
