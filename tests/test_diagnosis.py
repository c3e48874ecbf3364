"""A diagnosis names what a wrong attention computes, and never more than that."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_ref import cli
from attention_ref.conformance import UsageError, ask, check, diagnose
from attention_ref.conformance.case import all_cases
from attention_ref.conformance.diagnosis import DEVIATIONS, EVERY
from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Formula
from attention_ref.spec.clauses import clauses
from attention_ref.vectors import bugs
from tests.wrong_attentions import GALLERY, RightAttention, WrongAttention

pytestmark = pytest.mark.bare

SLUGS: dict[str, tuple[str, ...]] = {
    "AnyRuleShows": ("visibility.any-rule",),
    "BiasAsMask": ("bias.as-mask",),
    "CausalBottomRight": ("causal.bottom-right",),
    "CausalDropped": ("causal.ignored",),
    "CausalStrict": ("causal.excludes-self",),
    "DropoutKeepsRate": ("dropout.divided-by-rate",),
    "DropoutNotScaled": ("dropout.not-rescaled",),
    "DropoutRenormalised": ("dropout.renormalised",),
    "ElementwiseValues": ("value.elementwise",),
    "ExclusionByArithmetic": ("bias.all-excluded-nan",),
    "FourAxesOnly": ("raises.batch-axes",),
    "HeadsTiled": ("heads.tiled",),
    "LargeBiasHides": ("bias.large-hides",),
    "LastRuleWins": ("visibility.last-rule",),
    "LengthInclusive": ("padding.one-too-long",),
    "LengthsIgnored": ("padding.ignored",),
    "LogSumExpFinite": ("log-sum-exp.finite",),
    "LogSumExpShifted": ("log-sum-exp.without-maximum",),
    "MaskAdded": ("mask.added-as-number",),
    "MaskAlignedLeft": ("mask.aligned-left",),
    "MaskInverted": ("mask.inverted",),
    "MaximumMissing": ("softmax.no-max-subtraction",),
    "MaximumOfEverything": ("softmax.maximum-of-everything",),
    "MeanOnEmptyRows": ("empty-row.mean",),
    "NanOnEmptyRows": ("empty-row.nan",),
    "NanSwallowed": ("output.nan-replaced",),
    "NoKeysRaise": ("raises.no-keys",),
    "OffsetIgnored": ("causal.offset-ignored", "window.offset-ignored"),
    "OffsetOfFirstRow": ("offset.of-first-row",),
    "PaddingOnTheLeft": ("padding.left",),
    "PaddingTimesZero": ("padding.times-zero",),
    "QueryAdded": ("output.query-added", "raises.value-size"),
    "ScaleAfterBias": ("bias.before-scale",),
    "ScaleByHeadSize": ("scale.inverse-d",),
    "ScaleByModelSize": ("scale.model-size",),
    "ScaleMissing": ("scale.none",),
    "ScaleNotReplaced": ("scale.not-replaced",),
    "ScoresInHalf": ("precision.rounding",),
    "SinkCapped": ("sinks.capped",),
    "SinksDropped": ("sinks.ignored",),
    "SoftcapAfterBias": ("softcap.after-bias",),
    "SoftcapAfterMask": ("softcap.after-mask",),
    "SoftcapByAbsoluteValue": ("softcap.by-absolute-value",),
    "SoftcapIgnored": ("softcap.ignored",),
    "SoftmaxMissing": ("softmax.missing",),
    "SoftmaxOverQueries": ("softmax.over-queries",),
    "SoftmaxOverTheMatrix": ("softmax.over-everything",),
    "TwoAxesOnly": ("raises.four-axes", "raises.batch-axes"),
    "ValueSizeOfQuery": ("raises.value-size",),
    "WeightsAfterDropout": ("weights.after-dropout",),
    "WeightsAveraged": ("weights.averaged",),
    "WindowExclusive": ("window.left-one-too-narrow",),
    "WindowOneSided": ("window.right-ignored",),
}
"""The findings of a diagnosis in each wrong attention of the gallery; none in those that are not listed."""
WRONG = [wrong for wrong in GALLERY if wrong.operation == "attention"]
CALM = [wrong for wrong in WRONG if len(SLUGS.get(wrong.__name__, ())) == 1 and not wrong.pervasive]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_wrong_attention_is_diagnosed_with_its_slug_and_no_other(wrong: type[WrongAttention]) -> None:
    found = diagnose(wrong.function())
    assert tuple(finding.deviation for finding in found.findings) == SLUGS.get(wrong.__name__, ())


def test_a_right_attention_has_no_finding() -> None:
    found = diagnose(RightAttention().attention)
    assert found.conforms
    assert not found.findings
    assert not found.unexplained


def draw_pairs(count: int) -> list[tuple[type[WrongAttention], type[WrongAttention]]]:
    """Draw pairs of mistakes about different things, which do not replace the same step."""
    every = [
        (one, other)
        for one, other in combinations(CALM, 2)
        if _group(one) != _group(other) and not set(_steps(one)) & set(_steps(other))
    ]
    return [every[place] for place in np.random.default_rng(11).choice(len(every), count, replace=False)]


def _group(wrong: type[WrongAttention]) -> str:
    group = SLUGS[wrong.__name__][0].partition(".")[0]
    return "softmax" if group == "log-sum-exp" else group


def _steps(wrong: type[WrongAttention]) -> list[str]:
    return [name for name, step in vars(wrong).items() if callable(step)]


@pytest.mark.parametrize("pair", draw_pairs(8), ids=lambda pair: "-".join(each.__name__ for each in pair))
def test_two_mistakes_are_both_found(pair: tuple[type[WrongAttention], type[WrongAttention]]) -> None:
    both = type("Both", pair, {})
    found = diagnose(both.function())
    assert {finding.deviation for finding in found.findings} == {slug for each in pair for slug in SLUGS[each.__name__]}


def textbook(query: Any, key: Any, value: Any, mask: Any = None) -> Any:
    scores = query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -1e9)
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True) @ value


def length_before_heads(query: Any, key: Any, value: Any) -> Any:
    scores = np.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(query.shape[-1])
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("bhqk,bkhd->bqhd", exponentials / exponentials.sum(axis=-1, keepdims=True), value)


def lower_precision(query: Any, key: Any, value: Any) -> Any:
    halves = (array.astype(np.float16) if array.dtype == np.float32 else array for array in (query, key, value))
    return textbook(*halves).astype(query.dtype)


def single_precision(query: Any, key: Any, value: Any, *, causal: bool = False, query_offset: Any = 0) -> Any:
    arrays = (array.astype(np.float32) for array in (query, key, value))
    return RightAttention().attention(*arrays, causal=causal, query_offset=query_offset).astype(query.dtype)


@pytest.mark.parametrize(
    ("function", "slugs"),
    [
        (single_precision, {"softmax.low-precision"}),
        (textbook, {"dtype.promoted", "raises.grouped-heads", "raises.no-keys", "empty-row.mean"}),
        (length_before_heads, {"layout.heads-and-length-swapped"}),
        (lower_precision, {"softmax.low-precision", "raises.grouped-heads", "raises.no-keys"}),
    ],
)
def test_what_newcomers_write_is_diagnosed(function: Callable[..., Any], slugs: set[str]) -> None:
    assert {finding.deviation for finding in diagnose(function).findings} == slugs


def test_what_nothing_explains_is_said_to_be_unexplained() -> None:
    def noise(query: Any, key: Any, value: Any) -> Any:  # noqa: ARG001
        return np.random.default_rng(0).normal(size=(*query.shape[:-1], value.shape[-1])).astype(query.dtype)

    found = diagnose(noise)
    assert found.findings == ()
    assert set(found.unexplained) == set(found.wrong)
    assert "no known deviation explains it" in str(found).splitlines()[0]


def test_the_text_begins_with_the_verdict_and_names_correction_clause_and_example() -> None:
    text = str(diagnose(textbook)).splitlines()
    assert text[0] == "textbook is wrong in 26 of 90 cases in float64; 4 deviations explain all of them"
    assert "dtype.promoted: float32 inputs give float64 results" in text
    assert any("math.sqrt(d)" in line for line in text)


def test_every_deviation_has_a_slug_of_its_own_and_a_clause() -> None:
    of_attention = [deviation.slug for deviation in DEVIATIONS["attention"]]
    assert len(of_attention) == len(set(of_attention))
    assert {deviation.clause for deviation in EVERY} <= set(clauses())
    assert all(deviation.sentence() and deviation.correction for deviation in EVERY)


def test_a_sentence_keeps_the_letters_of_nan_and_true() -> None:
    sentences = {deviation.slug: deviation.sentence() for deviation in EVERY}
    assert sentences["mask.inverted"].startswith("True ")
    assert sentences["output.nan-replaced"].startswith("NaN ")
    assert sentences["empty-row.mean"].startswith("a query ")


def attention_of(formula: Formula) -> Any:
    """Return a formula as a function with the arguments and results of `attention`."""

    def attention(query: Any, key: Any, value: Any, **options: Any) -> Any:
        wanted = [name for name in ("weights", "log_sum_exp") if options.pop(f"return_{name}", False)]
        if "key_lengths" in options:
            options["key_lengths"] = np.asarray(options["key_lengths"])
        given = {name: item for name, item in options.items() if isinstance(item, np.ndarray)}
        arrays = {name: item for name, item in given.items() if item.dtype == query.dtype}
        options |= {name: array.astype(np.float64) for name, array in arrays.items()}
        found = formula(query.astype(np.float64), key.astype(np.float64), value.astype(np.float64), **options)
        dtypes = {"log_sum_exp": np.promote_types(query.dtype, np.float32)} if query.dtype.itemsize == 2 else {}
        results = [found[name].astype(dtypes.get(name, query.dtype)) for name in ("output", *wanted)]
        return results[0] if len(results) == 1 else tuple(results)

    return attention


def test_the_formula_without_a_deviation_is_right() -> None:
    assert diagnose(attention_of(Formula())).conforms


NAMED = [deviation for deviation in DEVIATIONS["attention"] if deviation.slug in bugs()]


@pytest.mark.parametrize("deviation", NAMED, ids=lambda deviation: deviation.slug)
def test_a_kind_of_bug_is_the_deviation_of_the_same_name(deviation: type[Deviation]) -> None:
    kind = [case.id for case in all_cases() if case.bug == deviation.slug and case.operation == "attention"]
    wrong = attention_of(deviation())
    assert any(check(wrong, cases=case, dtypes=("float64",)).failures for case in kind)


def test_what_takes_no_case_cannot_be_diagnosed() -> None:
    def nothing(query: Any, key: Any, value: Any) -> Any:
        raise NotImplementedError("not yet")

    with pytest.raises(UsageError, match="supports none of the cases"):
        diagnose(nothing)


def test_the_command_names_the_mistakes_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", f"{__name__}:textbook"]) == 1
    assert "4 deviations explain all of them" in capsys.readouterr().out
    assert cli.main(["diagnose", f"{__name__}:textbook", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["deviation"] == "dtype.promoted"


@pytest.mark.parametrize("words", [["check", "--quiet"], ["diagnose"], ["ask"]], ids=lambda words: words[0])
def test_a_command_takes_a_function_of_a_file(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "attention_of_a_file.py"
    path.write_text("from attention_ref.numpy import attention\n", encoding="utf-8")
    command, *options = words
    assert cli.main([command, f"{path}:attention", *options]) == 0
    assert cli.main([command, f"{tmp_path}/other.py:attention", *options]) == 2
    assert "there is no file" in capsys.readouterr().err


def test_a_function_is_asked_what_it_computes(capsys: pytest.CaptureFixture[str]) -> None:
    answers = ask(textbook)
    assert answers["a query whose keys are all hidden by the mask"] == "the mean of the values"
    assert cli.main(["ask", f"{__name__}:textbook", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answers


def test_questions_that_cannot_be_asked_come_last(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ask", f"{__name__}:textbook"]) == 0
    answered, *unasked = capsys.readouterr().out.strip().split("\n\n")
    assert "cannot be asked" not in answered
    assert unasked
    assert all(part.startswith("cannot be asked, for it has no ") for part in unasked)
    listed = [line.strip() for part in unasked for line in part.splitlines()[1:]]
    assert set(listed) == {question for question, answer in ask(textbook).items() if answer.startswith("cannot be")}
    assert len(listed) + len(answered.splitlines()) == len(ask(textbook))
