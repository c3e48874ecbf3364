"""Keys of `config.json`, for every family: without effect where we say so, with the defaults of `transformers`, and
computed as it computes them, or refused, whatever their values.

All keys with all values that come to mind are tried by `python -m tests.checkpoint_evidence keys`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("safetensors")

from attention_ref.weights import layouts
from attention_ref.weights.layouts.config_keys import ABSENT, COMMON, Key, NoEffect
from attention_ref.weights.layouts.t5 import AS_TIED
from tests.checkpoint_evidence import NOT_CHANGED, alternatives, attributes, verdict_of
from tests.families import FAMILIES
from tests.families.family import Family
from tests.families.peer import config_of, peer_class

BY_TYPE = {peer_class(family).config_class.model_type: family for family in FAMILIES[::-1]}
FORMS = {"return_dict", "output_hidden_states", "output_attentions", "is_encoder_decoder", "chunk_size_feed_forward"}
"""Keys that change what kind of object `transformers` returns, or how it calls its parts."""


def given(model_type: str) -> dict[str, Any]:
    """Return everything that may be in a file of a family."""
    return attributes(config_of(BY_TYPE[model_type]))


def changed(model_type: str, keys: Mapping[str, Any]) -> tuple[str, str]:
    """Return what comes out of a family's model with other keys."""
    family = BY_TYPE[model_type]
    return verdict_of(replace(family, options={**family.options, **keys}))


def accepted(model_type: str, name: str, values: Iterable[Any]) -> Iterator[Any]:
    """Yield those values of a key that the configuration class takes."""
    for value in values:
        try:
            config_of(BY_TYPE[model_type], **{name: value})
        except Exception:  # noqa: BLE001  # whatever it raises
            continue
        yield value


@pytest.mark.parametrize("model_type", layouts.FILES)
def test_keys_without_effect(model_type: str) -> None:
    """All of them at once have other values, and the answers are the same."""
    known = {**COMMON, **layouts.family(model_type).keys}
    others = {
        name: other
        for name, value in given(model_type).items()
        if isinstance(known.get(name), NoEffect) and name not in FORMS | NOT_CHANGED and not name.startswith("_")
        for other in [*accepted(model_type, name, alternatives(value))][:1]
    }
    assert len(others) >= 4
    verdict, text = changed(model_type, others)
    assert verdict == "agrees", text


@pytest.mark.parametrize("model_type", layouts.FILES)
def test_defaults(model_type: str) -> None:
    """A file without a key means what it means to `transformers`."""
    theirs = peer_class(BY_TYPE[model_type]).config_class().to_dict()
    for name, key in layouts.family(model_type).keys.items():
        if isinstance(key, Key) and key.default not in (ABSENT, None, AS_TIED) and theirs.get(name) is not None:
            assert key.read(theirs[name]) == key.default, name


def left_alone(family: Family) -> Iterator[str]:
    """Yield the keys that random configurations of a family do not vary."""
    model_type = peer_class(family).config_class.model_type
    same = [each for each in FAMILIES if peer_class(each).config_class.model_type == model_type]
    groups = [group for each in same for name, group in each.varied.items() if name.startswith("*")]
    varied = {name for each in same for name in each.varied} | {
        key for group in groups for each in group for key in each
    }
    for name, key in layouts.family(model_type).keys.items():
        if isinstance(key, Key) and name not in varied | NOT_CHANGED:
            yield name


@pytest.mark.parametrize("model_type", layouts.FILES)
def test_keys_that_random_configurations_leave_alone(model_type: str) -> None:
    """Each with another value, by itself: computed as `transformers` computes it, or refused."""
    values, verdicts = given(model_type), []
    for name in left_alone(BY_TYPE[model_type]):
        for other in [*accepted(model_type, name, alternatives(values.get(name)))][:1]:
            verdict, text = changed(model_type, {name: other})
            assert verdict != "WRONG", f"{name} = {other!r}: {text}"
            verdicts.append(verdict)
    assert "agrees" in verdicts or len(verdicts) < 3
