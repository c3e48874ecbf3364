"""The table of the functions that are steps of the operations: their arguments, by which their calls are checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attention_ref.spec.arguments import Argument, Operation
from attention_ref.spec.config import RelativeBias, Rotary

_QUERY_LENGTH, _KEY_LENGTH = (Argument(name, "count", range="[0, inf)") for name in ("query_length", "key_length"))
_QUERY_OFFSET = Argument("query_offset", "integer", "...", 0)


def _step(
    name: str,
    module: str,
    *positional: Argument,
    named: tuple[Argument, ...] = (),
    record: type[Any] | None = None,
) -> Operation:
    return Operation(name, module, group="", positional=positional, named=named, record=record)


FUNCTIONS: Mapping[str, Operation] = {
    function.name: function
    for function in (
        _step("causal_mask", "masks", _QUERY_LENGTH, _KEY_LENGTH, named=(_QUERY_OFFSET,)),
        _step("window_mask", "masks", _QUERY_LENGTH, _KEY_LENGTH, Argument("window", "pair"), named=(_QUERY_OFFSET,)),
        _step("length_mask", "masks", Argument("key_lengths", "integer", "..."), _KEY_LENGTH),
        _step(
            "rotary_frequencies",
            "positions",
            Argument("dimension", "count", range="[2, inf)"),
            Argument("config", "record"),
            record=Rotary,
        ),
        _step("rotary_amplitude", "positions", Argument("config", "record"), record=Rotary),
        _step("alibi_slopes", "positions", Argument("heads", "count", range="[1, inf)")),
        _step(
            "relative_bucket",
            "positions",
            Argument("distances", "integer", "..."),
            Argument("config", "record"),
            record=RelativeBias,
        ),
        *(
            _step(name, "primitives", Argument("x", "real", "..."))
            for name in ("relu", "relu_squared", "gelu", "gelu_tanh", "quick_gelu", "silu")
        ),
        _step(
            "clipped",
            "primitives",
            Argument("array", "real", "..."),
            Argument("limit", "number", range="(0, inf)"),
            named=(Argument("one_sided", "flag", default=False),),
        ),
        _step(
            "dropout",
            "primitives",
            Argument("array", "real", "..."),
            Argument("dropout_mask", "bool", "...", None),
            Argument("rate", "number", range="[0, 1)"),
        ),
        _step(
            "count_without",
            "embedding",
            Argument("tokens", "integer", "bq"),
            Argument("skipped", "count"),
            Argument("starts", "integer", "(b)"),
        ),
    )
}
"""The functions by name."""
