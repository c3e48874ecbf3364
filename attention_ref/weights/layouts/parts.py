"""The common parts of the configurations of several families."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from attention_ref.spec.architecture import HeadConfig, ModelConfig
from attention_ref.spec.config import Rotary, RotaryScaling
from attention_ref.spec.positions import yarn_range
from attention_ref.weights.layouts.config_keys import ABSENT, MOST_LAYERS, Key, Keys, Values
from attention_ref.weights.layouts.layout import Architecture

DECODER, ENCODER = "decoder_stack", "encoder_stack"
BLOCK = f"{DECODER}.blocks.0"
TIED = "head.tied"
MASKS = {
    r"attn\.(masked_)?bias": "the causal mask, which is computed",
    r"attention\.(masked_)?bias": "the causal mask, which is computed",
    r"rotary_emb\.inv_freq": "the rotary frequencies, which are computed",
    r"position_ids": "the numbers 0, 1, 2, ...",
}
"""Tensors that older files contain beside the parameters."""

SCALINGS = {
    "linear": {"factor": "factor"},
    "llama3": {
        "factor": "factor",
        "original_length": "original_max_position_embeddings",
        "low_frequency_factor": "low_freq_factor",
        "high_frequency_factor": "high_freq_factor",
    },
    "yarn": {
        "factor": "factor",
        "original_length": "original_max_position_embeddings",
        "slow_rotations": "beta_slow",
        "fast_rotations": "beta_fast",
        "attention_factor": "attention_factor",
        "truncate": "truncate",
    },
    "dynamic": {"factor": "factor"},
    "longrope": {
        "factor": "factor",
        "original_length": "original_max_position_embeddings",
        "attention_factor": "attention_factor",
        "short_factors": "short_factor",
        "long_factors": "long_factor",
    },
}
"""The kinds of rotary scaling, their fields in `RotaryScaling` and their keys in `rope_parameters`."""


SMALLEST_RAMP = 0.001
"""The width of yarn's ramp in place of 0; narrower ones are computed in several ways."""


def count(stack: str) -> Callable[[ModelConfig], Any]:
    """The number of blocks of a stack."""

    def blocks(config: ModelConfig) -> Any:
        found = getattr(config, stack)
        return len(found.blocks) if found is not None else ABSENT

    return blocks


def layers(stack: str, default: Any = ABSENT) -> Key:
    """The key with the number of blocks of a stack."""
    return Key(count(stack), default, smallest=1, largest=MOST_LAYERS)


def biases(projections: bool, output: bool | None = None) -> dict[str, Any]:
    """The biases of query, key and value, and that of the output."""
    names = ("query_bias", "key_bias", "value_bias")
    return {**dict.fromkeys(names, projections), "output_bias": projections if output is None else output}


def attention_names(query: str, key: str, value: str, output: str) -> dict[str, str]:
    """The projections of an attention by name."""
    return {"query": query, "key": key, "value": value, "output": output}


def rotary(
    rope: Mapping[str, Any],
    head_size: int,
    length: int | None,
    theta: Any = None,
    fraction: float | None = None,
    *,
    interleaved: bool = False,
) -> Rotary:
    """The rotary positions of `rope_parameters`, or of the older `rope_scaling`.

    Arguments:
        rope: that object.
        head_size: d.
        length: `max_position_embeddings`, from which a scaling starts that names no other length.
        theta: of an older file, which has it beside it, or the family's own.
        fraction: how much of each head is rotated where the object does not say it; None for a family that rotates all.
        interleaved: as in `Rotary`.

    Raises:
        ValueError: for a key or a kind that we do not compute.
    """
    left = {name: value for name, value in rope.items() if value is not None}
    older = left.pop("type", "default")
    kind = left.pop("rope_type", older)
    base = left.pop("rope_theta", 10000.0 if theta is None else theta)
    part = left.pop("partial_rotary_factor", 1.0 if fraction is None else fraction)
    if fraction is None and part != 1.0:
        raise ValueError(f"partial_rotary_factor is {part}; this family rotates whole heads")
    scaling = None
    if kind in SCALINGS:
        names = SCALINGS[kind]
        if "original_length" in names:
            left.setdefault("original_max_position_embeddings", length)
            if left["original_max_position_embeddings"] is None:
                raise ValueError(f"rope_type {kind} needs original_max_position_embeddings")
        _fill(kind, left, length)
        known = {ours: left.pop(theirs) for ours, theirs in names.items() if theirs in left}
        known = {ours: tuple(given) if isinstance(given, list) else given for ours, given in known.items()}
        if kind == "dynamic":
            known["original_length"] = length
        scaling = RotaryScaling(kind=kind, **known)
    elif kind != "default":
        raise ValueError(f"rope_type is {kind!r}; supported are default, {', '.join(SCALINGS)}")
    if left:
        raise ValueError(f"rope_parameters: {', '.join(sorted(map(str, left)))} not supported with rope_type {kind}")
    dimension = int(head_size * part)
    if dimension < 2 or dimension % 2:
        raise ValueError(
            f"partial_rotary_factor is {part} of heads of {head_size}; {dimension} components are not pairs"
        )
    rotated = None if dimension == head_size else dimension
    code = Rotary(base=base, dimension=rotated, interleaved=interleaved, scaling=scaling)
    _check_ramp(code, dimension)
    return code


def _check_ramp(code: Rotary, dimension: int) -> None:
    """Reject a ramp that other programs compute backwards, and so otherwise than we do."""
    scaling = code.scaling
    if scaling is not None and scaling.kind == "llama3" and scaling.low_frequency_factor <= 0:
        raise ValueError(f"low_freq_factor is {scaling.low_frequency_factor}; it must be above 0")
    if scaling is not None and scaling.kind == "yarn":
        first, last = yarn_range(dimension, code.base, scaling)
        if first > last or 0 < last - first < SMALLEST_RAMP:
            rule = "rope_parameters: yarn needs a base, original_max_position_embeddings, beta_fast and beta_slow"
            raise ValueError(f"{rule} whose ramp goes up; it goes from pair {first:.4g} to {last:.4g}")


def _fill(kind: str, rope: dict[str, Any], length: int | None) -> None:
    """Add what a kind of scaling computes from other keys.

    Raises:
        ValueError: where the length is missing that it is computed from.
    """
    if kind == "dynamic" and length is None:
        raise ValueError("rope_type dynamic needs max_position_embeddings")
    if kind == "yarn":
        # DeepSeek's keys; one of them alone has no effect
        parts = [rope.pop(name, None) for name in ("mscale", "mscale_all_dim")]
        if all(parts) and "attention_factor" not in rope:
            amplitudes = [0.1 * part * math.log(rope["factor"]) + 1.0 if rope["factor"] > 1 else 1.0 for part in parts]
            rope["attention_factor"] = amplitudes[0] / amplitudes[1]
    if kind == "longrope" and "factor" not in rope:
        if length is None:
            raise ValueError("rope_type longrope needs a factor or max_position_embeddings")
        rope["factor"] = length / rope["original_max_position_embeddings"]


def length_of(config: ModelConfig) -> Any:
    """`max_position_embeddings` of our configuration, where what is computed depends on it."""
    stack = config.decoder_stack
    rotary = stack.blocks[0].attention.rotary if stack is not None else None
    is_dynamic = rotary is not None and rotary.scaling is not None and rotary.scaling.kind == "dynamic"
    return rotary.scaling.original_length if is_dynamic else ABSENT  # type: ignore[union-attr]


def rope_of(config: ModelConfig, block: int = 0) -> Any:
    """`rope_parameters` of our configuration."""
    stack = config.decoder_stack
    attention = stack.blocks[block].attention if stack is not None else None
    if attention is None or attention.rotary is None:
        return ABSENT
    code = attention.rotary
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": code.base}
    if code.dimension is not None:
        rope["partial_rotary_factor"] = code.dimension / attention.sizes.head
    if code.scaling is not None and code.scaling.kind in SCALINGS:
        fields = SCALINGS[code.scaling.kind].items()
        rope |= {"rope_type": code.scaling.kind}
        given = {theirs: getattr(code.scaling, ours) for ours, theirs in fields}
        rope |= {theirs: value for theirs, value in given.items() if value is not None}
    return rope


ROPE: Keys = {
    "rope_parameters": Key(rope_of, default=None),
    "rope_scaling": Key(lambda config: ABSENT, default=None),
    "rope_theta": Key(lambda config: ABSENT, default=None),
    "partial_rotary_factor": Key(lambda config: ABSENT, default=None),
}
"""The keys of rotary positions; a file has the first, or the others."""


def partial_rope_of(config: ModelConfig) -> Any:
    """`rope_parameters` of a family that rotates a part of each head, which is always present."""
    rope = rope_of(config)
    return rope if rope is ABSENT else {"partial_rotary_factor": 1.0, **rope}


PARTIAL_ROPE: Keys = {**ROPE, "rope_parameters": Key(partial_rope_of, default=None)}
"""The keys of rotary positions of a part of each head."""


def rotary_of(
    values: Values, head_size: int, *, theta: Any = None, fraction: Any = None, interleaved: bool = False
) -> Rotary:
    """The rotary positions of the keys `ROPE`, with the family's own base, fraction and pairs."""
    beside = {"partial_rotary_factor": values.partial_rotary_factor}
    rope = {**beside, **one_rope(values)}
    theta = theta if values.rope_theta is None else values.rope_theta
    return rotary(rope, head_size, values.max_position_embeddings, theta, fraction, interleaved=interleaved)


def one_rope(values: Values) -> Mapping[str, Any]:
    """The object with the rotary positions: `rope_parameters`, or `rope_scaling` of an older file.

    Raises:
        ValueError: for both, if they differ: libraries then read the second alone.
    """
    newer, older = values.rope_parameters or {}, values.rope_scaling or {}
    if newer and older and newer != older:
        raise ValueError(f"rope_scaling is {older!r:.80} and rope_parameters, its present name, {newer!r:.80}")
    return newer or older


def decoder_head(values: Values, kind: str, **language: Any) -> HeadConfig | None:
    """The head of a decoder: scores of the vocabulary, or of classes at the last place, or none."""
    if kind == "language":
        return HeadConfig(kind="language", size=values.vocab_size, tied=values.tie_word_embeddings, **language)
    return HeadConfig(kind="classifier", size=values.num_labels, place="last") if kind == "classifier" else None


def decoder_classes(name: str, prefix: str, head: str = "lm_head", causal: str = "ForCausalLM") -> dict[str, Any]:
    """The classes of a decoder: its stack alone, the language model, the classifier.

    Arguments:
        name: what their names begin with.
        prefix: of the stack's tensors within the others.
        head: the projection of the language model.
        causal: what the name of the language model ends with.
    """
    return {
        f"{name}{causal}": Architecture("language", {"head": head}, prefix),
        f"{name}ForSequenceClassification": Architecture("classifier", {"head": "score"}, prefix),
        f"{name}Model": Architecture("none"),
    }
