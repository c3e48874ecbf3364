"""Every law catches an attention that breaks it, by a small call that is written to a file and tried again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attention_ref.numpy as right
from attention_ref.conformance import LAWS, LawReport, Subject, UsageError, check_laws, replay_law
from attention_ref.spec.config import AttentionConfig
from attention_ref.spec.operations import ATTENTIONS
from tests.wrong_attentions import GALLERY, RightAttention, WrongAttention
from tests.wrong_layers.record import configured, patched, without

pytest.importorskip("hypothesis")
pytestmark = pytest.mark.bare


class LaterKeysPreferred(WrongAttention):
    """A bias of distance that nobody asked for."""

    def scaled(self, scores, scale):
        return super().scaled(scores, scale) + np.arange(scores.shape[-1])


class CentredOverTheBatch(WrongAttention):
    """Batch rows know each other."""

    def scaled(self, scores, scale):
        return super().scaled(scores - scores.mean(axis=0), scale)


WRONG = {
    "key-permutation": "LaterKeysPreferred",
    "key-shift": "SoftmaxMissing",
    "duplicate-keys": "LogSumExpInBits",
    "sink-is-a-key": "SinksDropped",
    "grouped-heads": "HeadsTiled",
    "batch-independence": "CentredOverTheBatch",
    "batch-axes": "FourAxesOnly",
    "head-independence": "ScaleByModelSize",
    "query-independence": "SoftmaxOverTheMatrix",
    "cache": "OffsetIgnored",
    "hidden-keys": "MaskInverted",
    "future-independence": "CausalDropped",
    "outside-the-window": "WindowOneSided",
    "padding-independence": "PaddingTimesZero",
    "padding-is-absence": "LengthInclusive",
    "causal-is-a-mask": "CausalStrict",
    "window-is-a-mask": "WindowExclusive",
    "lengths-are-a-mask": "PaddingOnTheLeft",
    "rules-together": "LastRuleWins",
    "mask-is-a-bias": "ExclusionByArithmetic",
    "empty-row": "LogSumExpFinite",
    "constant-shift": "MaximumMissing",
    "default-scale": "ScaleByHeadSize",
    "scale": "ScaleNotReplaced",
    "softcap-bound": "SoftcapIgnored",
    "additive-bound": "AdditiveWithoutTanh",
    "kernels-first": "MultiplicativeKernelTransposed",
    "linear-in-values": "QueryAdded",
    "within-values": "MeanOnEmptyRows",
    "weights-sum": "WeightsAfterDropout",
    "weights-give-output": "DropoutNotScaled",
    "dropout-complement": "DropoutRenormalised",
}
LARGEST = 24
"""Numbers in query, key and value of the largest counterexample; most have 3 to 12."""


def test_every_law_has_a_wrong_attention() -> None:
    assert set(WRONG) == {law.id for law in LAWS if set(law.operations) & set(ATTENTIONS)}
    assert set(WRONG_LAYERS) == {
        (law.id, "MultiHeadAttention") for law in LAWS if "MultiHeadAttention" in law.operations
    }


@pytest.mark.parametrize("law", WRONG)
def test_a_law_catches_a_wrong_attention(law: str, tmp_path: Path) -> None:
    wrong = next(each for each in (*GALLERY, LaterKeysPreferred, CentredOverTheBatch) if each.__name__ == WRONG[law])
    report = broken(wrong.function(), wrong.operation, law, tmp_path)
    calls = report.counterexample(report.failures[0])["calls"]
    arrays = [calls[0]["inputs"][name] for name in ("query", "key", "value")]
    assert sum(len(array["values"]) for array in arrays) <= LARGEST
    check_replay(report, tmp_path, wrong.function(), getattr(RightAttention(), wrong.operation))


def broken(function: Callable[..., Any], operation: str, law: str, folder: Path) -> LawReport:
    report = check_laws(function, operation, laws=(law,), dtypes=("float64",), save=folder)
    (result,) = report.results
    assert result.verdict == "fails"
    assert result.law.statement in str(report)
    assert result.outcome.fault is None or law == "batch-axes"
    return report


def check_replay(report: LawReport, folder: Path, wrong: Callable[..., Any], good: Callable[..., Any]) -> None:
    """The file breaks the law again on what is wrong, and not on what is right."""
    (path,) = folder.iterdir()
    again = replay_law(wrong, path)
    assert not again.passed
    assert failure_of(again) == failure_of(report)
    replay_law(good, path).raise_for_failures()


def failure_of(report: LawReport) -> dict[str, Any]:
    found = dict(report.counterexample(report.failures[0])["failure"])
    return {name: value for name, value in found.items() if name not in ("where", "budget", "error_ratio")}


def _mean_of_the_batch(config: AttentionConfig, parameters: dict[str, np.ndarray]) -> Callable[..., Any]:
    layer = right.MultiHeadAttention(config, parameters)
    return lambda query, **options: layer(query - query.mean(axis=0), **options)


def _squared(array: np.ndarray, positions: np.ndarray, config: Any) -> np.ndarray:
    return ROTATE(array, np.asarray(positions) ** 2, config)


ROTATE, MHA = right.rotate, "MultiHeadAttention"
_ALIBI = configured(MHA, AttentionConfig, lambda config: replace(config, alibi=True))
WRONG_LAYERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("future-independence", MHA): configured(MHA, AttentionConfig, lambda config: replace(config, causal=False)),
    ("padding-independence", MHA): without(MHA, "key_lengths"),
    ("batch-independence", MHA): _mean_of_the_batch,
    ("cache", MHA): patched(
        MHA,
        right.multihead,
        "count_from",
        lambda offsets, length: np.arange(length) + 0 * np.asarray(offsets)[..., None],
    ),
    ("rotary-offset", MHA): patched(MHA, right.multihead.codes, "rotate", _squared),
    ("key-permutation", MHA): _ALIBI,
    ("head-permutation", MHA): _ALIBI,
}


@pytest.mark.parametrize(("law", "operation"), WRONG_LAYERS, ids=lambda name: name)
def test_a_law_catches_a_wrong_layer(law: str, operation: str, tmp_path: Path) -> None:
    wrong = WRONG_LAYERS[law, operation]
    report = broken(wrong, operation, law, tmp_path)
    check_replay(report, tmp_path, wrong, right.MultiHeadAttention)


def test_a_function_that_raises_is_broken_with_its_exception() -> None:
    def raises(*_: np.ndarray) -> np.ndarray:
        raise RuntimeError("out of order")

    report = check_laws(raises, laws=("key-shift",), dtypes=("float32",), examples=3)
    assert "it raises RuntimeError: out of order" in str(report)
    assert report.failures[0].outcome.trial.calls[0].inputs["query"].size == 1


def test_a_function_that_does_not_repeat_itself_is_told_so() -> None:
    calls: list[int] = []

    def noisy(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
        calls.append(1)
        return RightAttention().attention(query, key, value) + (len(calls) == 9)

    report = check_laws(noisy, laws=("key-shift",), dtypes=("float64",), examples=50)
    assert not report.passed
    assert "the same call returned different results" in str(report)


def test_a_missing_option_is_unsupported_and_one_mistake_breaks_its_own_laws() -> None:
    def attention(query: np.ndarray, key: np.ndarray, value: np.ndarray, *, mask: Any = None) -> np.ndarray:
        visible = (
            mask if mask is None else np.where(mask.any(axis=-1, keepdims=True), mask, True)
        )  # the mean where empty
        return RightAttention().attention(query, key, value, mask=visible)

    report = check_laws(attention, dtypes=("float64",), examples=15)
    reasons = {result.law.id: result.reason for result in report.results if result.verdict == "unsupported"}
    assert reasons["cache"] == "no argument causal, query_offset"
    assert [result.law.id for result in report.failures] == ["empty-row"]


def test_the_same_seed_tries_the_same_calls_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ratios = [
        check_laws(RightAttention().attention, laws=("key-shift",), dtypes=("float32",), examples=20, seed=seed)
        .results[0]
        .error_ratio
        for seed in (1, 1, 2)
    ]
    assert ratios[0] == ratios[1] != ratios[2]
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_data_too(tmp_path: Path) -> None:
    wrong = next(each for each in GALLERY if each.__name__ == "CausalDropped")
    report = check_laws(wrong.function(), laws=("future-independence", "scale"), dtypes=("float32",), examples=10)
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert [law["verdict"] for law in data["laws"]] == ["fails", "holds"]
    path = tmp_path / "case.json"
    path.write_text(json.dumps(data["laws"][0]["counterexample"]))
    assert not replay_law(Subject("wrong", "numpy", {"attention": wrong.function()}), path).passed


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 3}'])
def test_a_file_that_is_no_counterexample_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text(text)
    with pytest.raises(UsageError, match=r"case\.json"):
        replay_law(RightAttention().attention, tmp_path / "case.json")


def test_names_that_do_not_exist_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    function = RightAttention().attention
    for options in ({"laws": ("key-permutatoin",)}, {"dtypes": ("float8",)}, {"op": "rotate"}):
        with pytest.raises(UsageError):
            check_laws(function, **options)
    monkeypatch.setattr("attention_ref.conformance.laws.search.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="hypothesis"):
        check_laws(function, laws=("key-shift",))
