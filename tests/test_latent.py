"""Latent attention is what its absorbed form computes, and behind a cache what one call computes."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref.conformance import Case, cases
from attention_ref.conformance.budget import budget, compare
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.spec import LatentAttentionConfig, Norm, Rotary, RotaryScaling, SpecificationError
from attention_ref.spec.records import from_json, to_json

CASES = {case.id.rpartition("/")[2]: case for case in cases("LatentAttention", "core")}


def within_budget(got: np.ndarray, case: Case) -> bool:
    expected = case.expected["output"]
    return compare(got, expected.values, budget(expected.roundings, "float64")).error_ratio.max(initial=0) <= 1


def make(arrays: Framework, array: np.ndarray) -> Any:
    return arrays.make(array, {"b": "bool", "i": "int64", "f": "float64"}[array.dtype.kind])


def built(room: ModuleType, arrays: Framework, case: Case) -> Any:
    """Return the layer of a case, in float64."""
    options = {"dtype": "float64"} if room.__name__.endswith("keras") else {}
    parameters = {name: make(arrays, array) for name, array in case.call.parameters.items()}
    return room.LatentAttention(case.call.config, parameters, **options)


class Keeping:
    """A tap that keeps every intermediate."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __call__(self, name: str, array: Any) -> None:
        self.values[name] = array


@pytest.mark.parametrize("name", ["plain", "query-latent", "halves", "layer-norm"])
def test_the_absorbed_form_is_the_same(name: str, room: ModuleType, room_arrays: Framework) -> None:
    """Queries times the key kernel attend to the latents as to one head, whose values are the latents."""
    case = CASES[name]
    config, parameters, tap = case.call.config, case.call.parameters, Keeping()
    built(room, room_arrays, case)(make(room_arrays, case.call.inputs["array"]), tap=tap)
    query, latent, key = (room_arrays.read(tap.values[part]) for part in ("query", "latent", "rotary_key"))
    content, turned = query[..., : config.content_size], query[..., config.content_size :]
    absorbed = np.einsum("bhqc,rhc->bhqr", content, parameters["key.kernel"])
    arrays = (np.concatenate([absorbed, turned], -1), np.concatenate([latent, key], -1), latent)
    scale = (config.content_size + config.rotary_size) ** -0.5
    heads = room.attention(*(make(room_arrays, array) for array in arrays), scale=scale)
    values = np.einsum("bhqr,rhv->bqhv", room_arrays.read(heads), parameters["value.kernel"])
    assert within_budget(np.einsum("bqhv,hvm->bqm", values, parameters["output.kernel"]), case)


@pytest.mark.engine
@pytest.mark.parametrize("name", ["rules", "given-positions"])
def test_a_chunk_at_a_time_is_one_call(name: str, room: ModuleType, room_arrays: Framework) -> None:
    """With what the vectors do not give behind a cache: a mask, a bias and positions."""
    case = CASES[name]
    layer = built(room, room_arrays, case)
    given, outputs, cache = dict(case.call.inputs), [], None
    array, length = given.pop("array"), case.call.inputs["array"].shape[1]
    lengths = given.pop("key_lengths", np.full(len(array), length))
    for start, stop in ((0, 1), (1, length)):
        options = {part: given[part][..., start:stop, :stop] for part in ("mask", "bias") if part in given}
        options |= {part: given[part][:, start:stop] for part in ("positions",) if part in given}
        options["key_lengths"] = np.clip(lengths - start, 0, stop - start)
        options = {part: make(room_arrays, each) for part, each in options.items()}
        chunk = make(room_arrays, array[:, start:stop])
        output, cache = layer(chunk, cache=cache, return_cache=True, **options)
        outputs.append(room_arrays.read(output))
    assert within_budget(np.concatenate(outputs, axis=1), case)
    config = case.call.config
    shapes = [tuple(part.shape) for part in (cache.latent, cache.key)]
    assert shapes == [(len(array), 1, length, config.latent_size), (len(array), 1, length, config.rotary_size)]


SIZES: dict[str, Any] = {"model": 8, "heads": 2, "latent_size": 4, "content_size": 4, "rotary_size": 2, "value_size": 3}
CONFIG = LatentAttentionConfig(**SIZES, norm=Norm("rms", eps=1e-6))
YARN = Rotary(interleaved=True, scaling=RotaryScaling(kind="yarn", factor=4.0))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rotary_size": 3}, "rotary_size must be even"),
        ({"content_size": 0}, "content_size must be above 0"),
        ({"query_latent_size": 0}, "query_latent_size must be above 0"),
        ({"rotary": Rotary(dimension=2)}, "rotary must have no dimension of its own"),
        ({"mscale": 1.0}, "mscale needs a scaling of rotary"),
        ({"mscale": -1.0, "rotary": YARN}, "mscale must be at least 0"),
        ({"mscale": 1.0, "rotary": YARN, "scale": 1.0}, "scale and mscale exclude each other"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
    ],
)
def test_a_bad_configuration_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecificationError, match=text):
        replace(CONFIG, **changes)


def test_a_configuration_is_what_its_json_says() -> None:
    config = replace(CONFIG, query_latent_size=5, mscale=0.7, rotary=YARN, latent_bias=True)
    assert from_json(LatentAttentionConfig, to_json(config)) == config
    assert config.rotary.interleaved
    assert CONFIG.rotary == Rotary(interleaved=True)


def test_a_cache_of_another_layer_is_refused(room: ModuleType, room_arrays: Framework) -> None:
    case = CASES["plain"]
    layer, array = built(room, room_arrays, case), make(room_arrays, case.call.inputs["array"])
    _, cache = layer(array, return_cache=True)
    with pytest.raises(SpecificationError, match="cache must be the LatentCache that a layer returned"):
        layer(array, cache=room.Cache(cache.latent, cache.key, cache.lengths))
    with pytest.raises(SpecificationError, match="cache must be that of a layer of the same configuration and batch"):
        layer(array, cache=cache._replace(key=cache.latent))
