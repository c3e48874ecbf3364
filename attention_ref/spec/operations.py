"""The table of operations: every argument with its axes, kind, range and default, and every result.

Everything that depends on the arguments of an operation is derived from this table: cases and their clauses, laws and
their examples, calling conventions, levels and reports. To add an option to `attention`, add its row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.arguments import Argument, Kind, Operation, Result, Stage
from attention_ref.spec.config import (
    Activation,
    AttentionConfig,
    BlockConfig,
    FeedForwardConfig,
    LatentAttentionConfig,
    MixtureConfig,
    RelativeBias,
    Rotary,
    Sinusoid,
)

_TAP = Argument("tap", "tap", default=None)

# --- Attention -------------------------------------------------------------------------------------------------------

_QUERY = Argument("query", "real", "bhqd")
_VALUE = Argument("value", "real", "bgkv")


def _row(
    name: str, kind: Kind, axes: str, default: Any, stage: Stage, hides: str, clause: str, profile: str, **facts: Any
) -> Argument:
    clause = f"attention.{clause}"
    return Argument(name, kind, axes, default, stage, hides=hides, clause=clause, profile=profile, **facts)


# fmt: off
#         name            kind       axes    default stage        hides    clause          profile    what else holds
_VISIBILITY = (
    _row("mask",         "bool",    "bhqk", None,  "visibility", "False", "mask",         "mask",    broadcasts=True),
    _row("bias",         "real",    "bhqk", None,  "score",      "-inf",  "bias",         "bias",    broadcasts=True),
    _row("causal",       "flag",    "",     False, "visibility", "True",  "causal",       "causal"),
    _row("query_offset", "integer", "(b)",  0,     "visibility", "",      "query-offset", "cache",
         modifies=("causal", "window")),
    _row("window",       "pair",    "",     None,  "visibility", "any",   "window",       "window",  range="[0, inf)"),
    _row("key_lengths",  "integer", "(b)",  None,  "visibility", "any",   "key-lengths",  "padding", range="[0, k]"),
)
_SCORES = (
    _row("scale",        "number",  "",     None,  "score",      "",      "scale",        "core", range="(-inf, inf)"),
    _row("softcap",      "number",  "",     None,  "score",      "",      "softcap",      "softcap", range="(0, inf)"),
    _row("sinks",        "real",    "h",    None,  "weights",    "",      "sinks",        "sinks"),
)
_DROPOUT = (
    _row("dropout",      "number",  "",     0.0,   "weights",    "",      "dropout",      "dropout",
         range="[0, 1)", needs=("dropout_mask",)),
    _row("dropout_mask", "bool",    "bhqk", None,  "weights",    "",      "dropout",      "dropout",
         broadcasts=True, needs=("dropout",), modifies=("dropout",)),
)
_RETURN_WEIGHTS = _row("return_weights", "flag", "", False, "result", "", "weights", "weights")
_RETURN_LOG_SUM_EXP = _row("return_log_sum_exp", "flag", "", False, "result", "", "log-sum-exp", "lse")
# fmt: on

_WEIGHTS = Result("weights", "bhqk", asked_by="return_weights")
_ATTENDED = (
    Result("output", "bhqv"),
    _WEIGHTS,
    Result("log_sum_exp", "bhq", asked_by="return_log_sum_exp", precision="arithmetic"),
)
_SHARED = (*_DROPOUT, _RETURN_WEIGHTS, _RETURN_LOG_SUM_EXP, _TAP)

_ATTENTION = Operation(
    "attention",
    module="attention",
    group="attention",
    positional=(_QUERY, Argument("key", "real", "bgkd"), _VALUE),
    named=(*_VISIBILITY, *_SCORES, *_SHARED),
    results=_ATTENDED,
)
_ADDITIVE_ATTENTION = Operation(
    "additive_attention",
    module="attention",
    group="additive",
    positional=(_QUERY, Argument("key", "real", "bgke"), _VALUE),
    named=(
        Argument("score_kernel", "real", "a", stage="score"),
        Argument("query_kernel", "real", "da", None, "score", without="da", clause="additive.kernels"),
        Argument("key_kernel", "real", "ea", None, "score", without="ea", clause="additive.kernels"),
        *_VISIBILITY,
        *_SHARED,
    ),
    results=_ATTENDED,
)
_MULTIPLICATIVE_ATTENTION = Operation(
    "multiplicative_attention",
    module="attention",
    group="multiplicative",
    positional=(_QUERY, Argument("key", "real", "bgke"), _VALUE),
    named=(
        Argument("score_kernel", "real", "de", None, "score", without="de", clause="multiplicative.kernel"),
        *_VISIBILITY,
        *_SHARED,
    ),
    results=_ATTENDED,
)

# --- Positions -------------------------------------------------------------------------------------------------------

_LIKE = Argument("like", "like", default=1.0)
_LENGTHS = (
    Argument("query_length", "count", range="[0, inf)"),
    Argument("key_length", "count", range="[0, inf)"),
)
_OFFSET = Argument("query_offset", "integer", "(b)", 0, clause="positions.offset")

_SINUSOIDAL_POSITIONS = Operation(
    "sinusoidal_positions",
    module="positions",
    group="positions",
    positional=(
        Argument("positions", "integer", "..."),
        Argument("size", "count", range="[2, inf)"),
        Argument("config", "record", default=Sinusoid()),
    ),
    named=(_LIKE,),
    results=(Result("output", "...m"),),
    record=Sinusoid,
)
_ROTATE = Operation(
    "rotate",
    module="positions",
    group="positions",
    positional=(
        Argument("array", "real", "bhqd"),
        Argument("positions", "integer", "(b)q"),
        Argument("config", "record"),
    ),
    results=(Result("output", "bhqd"),),
    record=Rotary,
)
_ALIBI_BIAS = Operation(
    "alibi_bias",
    module="positions",
    group="positions",
    positional=(Argument("heads", "count", range="[1, inf)"), *_LENGTHS),
    named=(_OFFSET, _LIKE),
    results=(Result("output", "bhqk"),),
)
_RELATIVE_BIAS = Operation(
    "relative_bias",
    module="positions",
    group="positions",
    positional=(Argument("table", "real", "uh"), *_LENGTHS, Argument("config", "record")),
    named=(_OFFSET,),
    results=(Result("output", "bhqk"),),
    record=RelativeBias,
)

# --- Linear maps, normalisations, activations ------------------------------------------------------------------------

_ARRAY = Argument("array", "real", "...m")
_GAIN = Argument("gain", "real", "m")
_EPS = Argument("eps", "number", range="[0, inf)", clause="norms.eps")
_GAIN_OFFSET = Argument("gain_offset", "number", default=0.0, range="(-inf, inf)", clause="norms.gain-offset")

_LINEAR = Operation(
    "linear",
    module="primitives",
    group="linear",
    positional=(_ARRAY, Argument("kernel", "real", "mf"), Argument("bias", "real", "f", None)),
    named=(Argument("inputs", "count", default=1, range="[1, inf)"),),
    results=(Result("output", "...f"),),
)
_LAYER_NORM = Operation(
    "layer_norm",
    module="primitives",
    group="norms",
    positional=(_ARRAY, _GAIN, Argument("bias", "real", "m", None)),
    named=(_EPS, _GAIN_OFFSET),
    results=(Result("output", "...m"),),
)
_RMS_NORM = Operation(
    "rms_norm",
    module="primitives",
    group="norms",
    positional=(_ARRAY, _GAIN),
    named=(_EPS, _GAIN_OFFSET),
    results=(Result("output", "...m"),),
)
_ACTIVATE = Operation(
    "activate",
    module="primitives",
    group="activations",
    positional=(Argument("array", "real", "..."), Argument("name", "choice", choices=get_args(Activation))),
    results=(Result("output", "..."),),
)

# --- Layers ----------------------------------------------------------------------------------------------------------

_MASK = Argument("mask", "bool", "bhqk", None, broadcasts=True, clause="attention.mask")
_BIAS = Argument("bias", "real", "bhqk", None, broadcasts=True, clause="attention.bias")
_POSITIONS = Argument("positions", "integer", "(b)q", None, clause="multihead.positions")
_KEY_LENGTHS = Argument("key_lengths", "integer", "b", None, range="[0, inf)", clause="attention.key-lengths")
_CACHE = Argument("cache", "cache", default=None)
_RETURN_CACHE = Argument("return_cache", "flag", default=False, stage="result", clause="multihead.cache")
_CACHE_RESULT = Result("cache", "", asked_by="return_cache")

_MULTI_HEAD_ATTENTION = Operation(
    "MultiHeadAttention",
    module="multihead",
    group="multihead",
    positional=(
        Argument("query", "real", "bqm"),
        Argument("key", "real", "bkc", None, clause="multihead.cross"),
        Argument("value", "real", "bkc", None, clause="multihead.value"),
    ),
    named=(
        *(_MASK, _BIAS, _KEY_LENGTHS, _POSITIONS),
        Argument("query_offset", "integer", "(b)", None, clause="attention.query-offset"),
        *(_CACHE, Argument("memory", "cache", default=None), _RETURN_WEIGHTS, _RETURN_CACHE, _TAP),
    ),
    results=(Result("output", "bqm"), _WEIGHTS, _CACHE_RESULT),
    record=AttentionConfig,
    is_layer=True,
)
_LATENT_ATTENTION = Operation(
    "LatentAttention",
    module="latent",
    group="latent",
    positional=(Argument("array", "real", "bqm"),),
    named=(*(_MASK, _BIAS, _KEY_LENGTHS, _POSITIONS), *(_CACHE, _RETURN_WEIGHTS, _RETURN_CACHE, _TAP)),
    results=(Result("output", "bqm"), _WEIGHTS, _CACHE_RESULT),
    record=LatentAttentionConfig,
    is_layer=True,
)
_FEED_FORWARD = Operation(
    "FeedForward",
    module="feedforward",
    group="feedforward",
    positional=(_ARRAY,),
    named=(_TAP,),
    results=(Result("output", "...m"),),
    record=FeedForwardConfig,
    is_layer=True,
)
_MIXTURE_OF_EXPERTS = Operation(
    "MixtureOfExperts",
    module="experts",
    group="mixture",
    positional=(_ARRAY,),
    named=(_TAP,),
    results=(Result("output", "...m"),),
    record=MixtureConfig,
    is_layer=True,
)
_BLOCK = Operation(
    "Block",
    module="block",
    group="block",
    positional=(Argument("array", "real", "bqm"), Argument("memory", "real", "bkc", None)),
    named=(
        *(_MASK, _BIAS, _KEY_LENGTHS, _POSITIONS),
        Argument("memory_mask", "bool", "bhqk", None, broadcasts=True, clause="block.memory-rules"),
        Argument("memory_lengths", "integer", "b", None, range="[0, k]", clause="block.memory-rules"),
        *(_CACHE, _RETURN_CACHE, _TAP),
    ),
    results=(Result("output", "bqm"), _CACHE_RESULT),
    record=BlockConfig,
    is_layer=True,
)
_TRANSFORMER = Operation(
    "Transformer",
    module="model",
    group="model",
    positional=(Argument("source", "embedded", "bq"), Argument("target", "embedded", "bt", None)),
    named=(
        replace(_KEY_LENGTHS, name="lengths"),
        replace(_KEY_LENGTHS, name="target_lengths"),
        _MASK,
        Argument("types", "integer", "bq", None, clause="model.types"),
        _POSITIONS,
        _TAP,
    ),
    results=(Result("output", "bqn"),),
    record=ModelConfig,
    is_layer=True,
)

# --- The table -------------------------------------------------------------------------------------------------------

OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        *(_ATTENTION, _ADDITIVE_ATTENTION, _MULTIPLICATIVE_ATTENTION),
        *(_SINUSOIDAL_POSITIONS, _ROTATE, _ALIBI_BIAS, _RELATIVE_BIAS),
        *(_LINEAR, _LAYER_NORM, _RMS_NORM, _ACTIVATE),
        *(_MULTI_HEAD_ATTENTION, _LATENT_ATTENTION, _FEED_FORWARD, _MIXTURE_OF_EXPERTS, _BLOCK, _TRANSFORMER),
    )
}
"""The operations of the specification, by the names that every backend exports."""

ATTENTION = OPERATIONS["attention"]
ATTENTIONS = tuple(name for name, operation in OPERATIONS.items() if operation.module == "attention")
"""The attention functions, which differ in how they score keys."""
