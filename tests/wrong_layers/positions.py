"""Mistakes in positional codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attention_ref import numpy as right
from attention_ref.spec.config import RotaryScaling
from tests.wrong_layers.record import WrongLayer


def _as_variant(taken, variant):
    def sinusoidal_positions(positions, size, config, *, like):
        config = replace(config, variant=variant if config.variant == taken else config.variant)
        return right.sinusoidal_positions(positions, size, config, like=like)

    return sinusoidal_positions


def _without_offset(positions, size, config, *, like):
    return right.sinusoidal_positions(positions, size, replace(config, offset=0), like=like)


def _float32_angles(positions, size, config, *, like):
    steps = size // 2 - (config.variant == "tensor2tensor")
    frequencies = np.float32(config.base) ** (-np.arange(size // 2, dtype=np.float32) / np.float32(steps))
    angles = (positions[..., None] + config.offset).astype(np.float32) * frequencies
    pair = np.sin(angles), np.cos(angles)
    interleaved = np.stack(pair, axis=-1).reshape(*positions.shape, size)
    return (interleaved if config.variant == "interleaved" else np.concatenate(pair, axis=-1)).astype(like.dtype)


def _turned_back(array, positions, config):
    return right.rotate(array, -positions, config)


def _rotated_as(change):
    return lambda array, positions, config: right.rotate(array, positions, change(config))


def _without_scaling(kind):
    def change(config):
        is_dropped = isinstance(config.scaling, RotaryScaling) and config.scaling.kind == kind
        return replace(config, scaling=None if is_dropped else config.scaling)

    return _rotated_as(change)


def _truncated(config):
    is_yarn = config.scaling is not None and config.scaling.kind == "yarn"
    return replace(config, scaling=replace(config.scaling, truncate=True)) if is_yarn else config


def _alibi(heads, query_length, key_length, *, query_offset=0, like, slopes=None, sign=abs):
    slopes = right.alibi_slopes(heads) if slopes is None else slopes
    places = np.arange(query_length)[:, None] + np.asarray(query_offset)[..., None, None]
    distances = sign(np.arange(key_length) - places)
    return (-slopes[:, None, None] * distances[..., None, :, :]).astype(like.dtype)


def _alibi_for_earlier_keys(heads, query_length, key_length, *, query_offset=0, like):
    return _alibi(heads, query_length, key_length, query_offset=query_offset, like=like, sign=np.negative)


def _alibi_of_one_power(heads, query_length, key_length, *, query_offset=0, like):
    slopes = 2.0 ** (-8 * np.arange(1, heads + 1) / heads)
    return _alibi(heads, query_length, key_length, query_offset=query_offset, like=like, slopes=slopes)


def _alibi_from_0(heads, query_length, key_length, *, query_offset=0, like):
    offsets = np.zeros_like(query_offset)
    return _alibi(heads, query_length, key_length, query_offset=offsets, like=like)


def _relative_turned_round(table, query_length, key_length, config, *, query_offset=0):
    offsets = np.asarray(query_offset)[..., None, None]
    distances = np.arange(query_length)[:, None] + offsets - np.arange(key_length)
    return np.moveaxis(table[right.relative_bucket(distances, config)], -1, -3)


def _relative_both_ways(table, query_length, key_length, config, *, query_offset=0):
    config = replace(config, bidirectional=True)
    return right.relative_bias(table, query_length, key_length, config, query_offset=query_offset)


SINUSOID, ALIBI = "sinusoidal_positions", "alibi_bias"

MISTAKES = (
    WrongLayer(
        "Sines and cosines in two halves",
        "positions.interleaved",
        SINUSOID,
        _as_variant("interleaved", "concatenated"),
        slug="position.layout",
    ),
    WrongLayer(
        "Sines and cosines alternate",
        "positions.concatenated",
        SINUSOID,
        _as_variant("concatenated", "interleaved"),
        slug="position.layout",
    ),
    WrongLayer(
        "The other denominator",
        "positions.tensor2tensor",
        SINUSOID,
        _as_variant("tensor2tensor", "concatenated"),
        slug="position.denominator",
    ),
    WrongLayer("No offset", "positions.sinusoid-offset", SINUSOID, _without_offset, slug="position.offset-ignored"),
    WrongLayer(
        "Angles in float32",
        "positions.angles",
        SINUSOID,
        _float32_angles,
        ("float32",),
        pervasive=True,
        slug="position.low-precision",
    ),
    WrongLayer("The sign of the sine", "positions.rotary", "rotate", _turned_back, slug="rotary.reversed"),
    WrongLayer(
        "Neighbours are paired",
        "positions.rotary-halves",
        "rotate",
        _rotated_as(lambda c: replace(c, interleaved=True)),
        slug="rotary.pairing",
    ),
    WrongLayer(
        "Halves are paired",
        "positions.rotary-interleaved",
        "rotate",
        _rotated_as(lambda c: replace(c, interleaved=False)),
        slug="rotary.pairing",
    ),
    WrongLayer(
        "The whole head is rotated",
        "positions.rotary-partial",
        "rotate",
        _rotated_as(lambda c: replace(c, dimension=None)),
        slug="rotary.partial-ignored",
    ),
    WrongLayer(
        "No linear scaling",
        "positions.rotary-linear",
        "rotate",
        _without_scaling("linear"),
        slug="rotary.scaling-ignored",
    ),
    WrongLayer(
        "No NTK scaling", "positions.rotary-ntk", "rotate", _without_scaling("ntk"), slug="rotary.scaling-ignored"
    ),
    WrongLayer("No YaRN", "positions.rotary-yarn", "rotate", _without_scaling("yarn"), slug="rotary.scaling-ignored"),
    WrongLayer(
        "Rounded ends", "positions.rotary-truncate", "rotate", _rotated_as(_truncated), slug="rotary.ends-rounded"
    ),
    WrongLayer(
        "No dynamic scaling",
        "positions.rotary-dynamic",
        "rotate",
        _without_scaling("dynamic"),
        slug="rotary.scaling-ignored",
    ),
    WrongLayer(
        "No LongRoPE",
        "positions.rotary-longrope",
        "rotate",
        _without_scaling("longrope"),
        slug="rotary.scaling-ignored",
    ),
    WrongLayer(
        "No Llama 3 scaling",
        "positions.rotary-llama3",
        "rotate",
        _without_scaling("llama3"),
        slug="rotary.scaling-ignored",
    ),
    WrongLayer("Later keys are rewarded", "positions.alibi", ALIBI, _alibi_for_earlier_keys, slug="alibi.signed"),
    WrongLayer(
        "One formula for every head count", "positions.alibi-slopes", ALIBI, _alibi_of_one_power, slug="alibi.slopes"
    ),
    WrongLayer("The offset is ignored", "positions.offset", ALIBI, _alibi_from_0, slug="distance-bias.offset-ignored"),
    WrongLayer(
        "Distances turned round",
        "positions.relative",
        "relative_bias",
        _relative_turned_round,
        slug="relative-bias.reversed",
    ),
    WrongLayer(
        "A decoder with both directions",
        "positions.relative-one-sided",
        "relative_bias",
        _relative_both_ways,
        slug="relative-bias.direction",
    ),
)
