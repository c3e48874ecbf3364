"""Profiles select cases; claims of a subject; the level that it reaches; gradients."""

from __future__ import annotations

import numpy as np
import pytest

from attention_ref import conformance
from attention_ref.conformance import UsageError, check
from attention_ref.conformance.case import cases
from tests.wrong_attentions import RightAttention

RIGHT = RightAttention()


def attention(query, key, value, *, mask=None, bias=None, causal=False, query_offset=0, key_lengths=None, scale=None):
    """Attention as an encoder and a decoder need it."""
    options = {"mask": mask, "bias": bias, "causal": causal, "query_offset": query_offset}
    return RIGHT.attention(query, key, value, **options, key_lengths=key_lengths, scale=scale)


@pytest.mark.parametrize(
    ("profiles", "dtypes", "groups"),
    [
        (["core"], {"float64", "float32"}, {"core"}),
        (["float16"], {"float16"}, None),
        (["causal", "mask", "bfloat16", "float64"], {"bfloat16", "float64"}, {"causal", "mask"}),
    ],
    ids=["group", "dtype", "both"],
)
def test_profiles_choose_groups_and_dtypes(profiles, dtypes, groups):
    report = check(RIGHT.attention, profiles=profiles)

    assert {result.dtype for result in report.results} == dtypes
    found = {result.case.profile for result in report.results}
    assert found == groups if groups else len(found) > 10


def test_model_is_every_layer():
    report = check(lambda config, parameters: lambda *arrays: arrays[0], op="Block", profiles=["model"])
    assert {result.case.profile for result in report.results} == {"core", "cache", "empty", "pairs"}


def test_an_unknown_profile_is_told_with_those_that_there_are():
    with pytest.raises(UsageError, match=r"no profile 'gradients'; did you mean .*grad.*\n.*float16"):
        check(attention, profiles=["gradients"])


def test_what_is_claimed_must_be_supported():
    with pytest.raises(UsageError, match=r"no profile to claim 'windows'.*window"):
        check(attention, claims=["windows"])

    kept, broken = (check(attention, profiles=["core", "window"], claims=[claim]) for claim in ("core", "window"))
    assert kept.passed
    assert not broken.passed
    assert {result.case.profile for result in broken.failures} == {"window"}
    assert broken.failures[0].reason == "it claims window, but this is unsupported: no argument window"


def test_not_implemented_is_unsupported():
    def unfinished(query, key, value):
        raise NotImplementedError("not on the CPU")

    report = check(unfinished, cases="attention/core/plain")
    assert {(result.verdict, result.reason) for result in report.results} == {("unsupported", "not on the CPU")}
    assert not report.passed


def test_a_level_is_reached_when_all_of_it_passes():
    level = check(attention).level
    assert (level.number, level.name) == (3, "masks")
    assert level.lacks[0].startswith("grad (")

    level = check(lambda query, key, value: attention(query, key, value, scale=1.0)).level
    assert (level.number, level.name) == (0, "none"), "the default scale is another"
    assert check(attention, profiles=["causal"]).level is None, "too little was run"


# Gradients


def torch():
    return pytest.importorskip("torch", reason="autograd needs a framework")


def test_cases_of_gradients_derive_from_the_others():
    [case] = [case for case in cases("attention", "grad") if case.id == "attention/grad/causal/square"]
    [source] = [case for case in cases("attention", "causal") if case.id == "attention/causal/square"]

    assert case.clauses == ("attention.gradients", *source.clauses)
    assert list(case.expected) == ["query", "key", "value"]
    assert case.expected["key"].values.shape == source.call.inputs["key"].shape
    assert case.cotangents["output"].shape == source.expected["output"].values.shape


def test_expected_gradients_are_those_of_differences():
    """The truth comes from a tape; here it comes from the quotients of the output's differences."""
    [case] = [case for case in cases("attention", "grad") if case.id == "attention/grad/core/plain"]
    step = 2.0**-20
    for name, expected in case.expected.items():
        for index in [(0, 0, 0, 0), (1, 1, 2, 3)]:
            moved = []
            for sign in (1, -1):
                inputs = {each: array.copy() for each, array in case.call.inputs.items()}
                inputs[name][index] += sign * step
                moved.append(np.sum(case.cotangents["output"] * RIGHT.attention(**inputs)))
            assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(expected.values[index], abs=1e-8)


def test_without_autograd_gradients_are_unsupported():
    report = check(attention, profiles=["grad"])
    assert {result.verdict for result in report.results} == {"unsupported"}
    assert any(result.reason.startswith("NumPy has no automatic differentiation") for result in report.results)


@pytest.mark.parametrize(
    ("gradient", "reason"),
    [
        (lambda *_, cotangent: None, "its gradients are None instead of a dictionary of query, key, value"),
        (lambda *_, cotangent: {"query": cotangent}, "nothing for key, value"),
        (
            lambda query, key, value, *, cotangent: {"query": query[:1], "key": key, "value": value},
            "query has the shape",
        ),
    ],
    ids=["none", "one", "shape"],
)
def test_gradients_of_the_wrong_kind_are_told(gradient, reason):
    report = check(attention, gradient=gradient, cases="attention/grad/core/plain")
    assert all(reason in result.reason for result in report.failures)
    assert len(report.failures) == 2


def test_a_gradient_that_is_cut_off_is_found():
    torch()

    def detached(query, key, value):
        scores = query @ key.detach().mT / query.shape[-1] ** 0.5
        return scores.softmax(dim=-1) @ value

    report = check(detached, arrays="torch", cases="attention/grad/core/plain")
    [first, _] = report.failures
    assert (first.mismatch.array, first.mismatch.got) == ("key", 0)


def test_an_output_without_a_gradient_is_a_failure():
    torch()
    report = check(lambda query, key, value: query.detach(), arrays="torch", cases="attention/grad/core/plain")
    assert all("does not require grad" in result.reason for result in report.failures)
    assert len(report.failures) == 2


def test_profiles_of_the_kit_are_listed():
    from attention_ref.conformance import listings

    assert listings.listed_profiles()["attention/grad"] == f"{len(cases('attention', 'grad'))} cases"
    assert "cotangent of output" in listings.explain("attention/grad/core/plain")
    assert listings.data("attention/grad/core/plain")["id"] == "attention/core/plain"
    assert conformance.ATTENTIONS
