"""How a recipe says what a layer is: a configuration in TOML, with what it repeats left out.

A configuration is written as `attention_ref.spec.records` reads it from JSON, apart from this:

    the file's `config`    is what the `config` of a case changes: tables are merged, key by key, unless the case's
                           table names another `type`
    "none"                 stands for None, and "open" for an open side of a window
    model                  may stand in a block, a stack or a model, for all its parts
    block, layers, each    in a stack: a block, how many of it, and a list of what differs in each
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attention_ref.spec.operations import OPERATIONS
from attention_ref.spec.records import from_json

_NONE = ("none", "open")


def configured(operation: str, shared: Mapping[str, Any], changes: Mapping[str, Any]) -> Any:
    """Make the configuration of a case of what its file shares and what the case changes; None where it has none."""
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
    """Change a table: keys of tables inside are merged, other values replaced, "none" and "open" made None."""
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
    return {**table, **{name: {"model": model, **table[name]} for name in parts if table.get(name)}}
