"""The judge of gradients: right backward passes pass, wrong ones are rejected, whoever differentiates."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from attention_ref.conformance import UsageError, judge
from attention_ref.conformance.judge.scenarios import draw
from tests.wrong_kernels import backward, right
from tests.wrong_kernels.planted import BACKWARD_MISTAKES

judged = partial(judge, small=True, most_failures=1)


@pytest.mark.bare
@pytest.mark.long
@pytest.mark.parametrize("gradient", [backward.recomputing], ids=lambda each: each.__name__)  # others: the evidence
def test_a_right_backward_pass_passes(gradient: Callable[..., Any]) -> None:
    judgement = judged(backward.FORWARD[gradient], gradient=gradient, seed=1)
    assert judgement.passed, str(judgement)
    assert not judgement.unsupported
    assert any(outcome.scenario.gradients for outcome in judgement.outcomes)


@pytest.mark.bare
@pytest.mark.parametrize("name", list(BACKWARD_MISTAKES)[::5])  # all of them: python -m tests.judge_evidence
def test_a_wrong_backward_pass_is_rejected_by_the_options_that_show_its_mistake(name: str) -> None:
    mistake = BACKWARD_MISTAKES[name]
    judgement = judged(backward.FORWARD[mistake.kernel], gradient=mistake.planted(), seed=2)
    assert judgement.reasons == ("it returns wrong numbers",), str(judgement)
    assert judgement.smallest is not None
    options = judgement.smallest.scenario.id.split("/")[2]
    assert options.endswith("gradients")
    assert mistake.needed == "plain" or re.search(mistake.needed, options), str(judgement)


def test_the_gradients_of_torch_are_those_of_its_automatic_differentiation() -> None:
    torch = pytest.importorskip("torch")

    class Scaled(torch.autograd.Function):
        """Multiplies the query by the scale, and forgets it in the backward pass."""

        @staticmethod
        def forward(_: Any, query: Any) -> Any:
            return query / math.sqrt(query.shape[-1])

        @staticmethod
        def backward(_: Any, gradient: Any) -> Any:
            return gradient

    def attention(query: Any, key: Any, value: Any, *, scaled: Callable[..., Any]) -> Any:
        key, value = (each.repeat_interleave(query.shape[1] // key.shape[1], 1) for each in (key, value))
        return torch.softmax(scaled(query) @ key.transpose(-1, -2), -1) @ value

    def proper(query: Any, key: Any, value: Any) -> Any:
        return attention(query, key, value, scaled=lambda query: query / math.sqrt(query.shape[-1]))

    def forgetful(query: Any, key: Any, value: Any) -> Any:
        return attention(query, key, value, scaled=Scaled.apply)

    case = "float32/b1.h4.g2.q65.k70.d24.v16/gradients/normal"
    assert judge(proper, arrays="torch", case=case).passed
    judgement = judge(forgetful, arrays="torch", case=case)
    assert not judgement.passed
    assert judgement.failing is not None
    assert judgement.failing.mismatch is not None
    assert judgement.failing.mismatch.array == "query"
    assert judge(forgetful, arrays="torch", case=case.replace("gradients", "plain")).passed


@pytest.mark.parametrize("engine", ["jax", "tensorflow"])
def test_the_gradients_of_a_backend_are_judged(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Keras backend on every engine, in a process of its own."""
    pytest.importorskip("keras")
    pytest.importorskip(engine)
    monkeypatch.setenv("KERAS_BACKEND", engine)
    case = "float32/b1.h4.g2.q65.k70.d24.v16/causal,offset=5,bias=normal.1hqk,sinks,gradients/normal"
    judgement = judge("attention_ref.keras:attention", arrays="keras", case=case)
    assert judgement.passed, str(judgement)
    assert judgement.worst_error_ratio


def test_a_kernel_of_numpy_needs_a_function_of_its_gradients() -> None:
    with pytest.raises(UsageError, match="differentiates nothing"):
        judge(right.in_float64, gradients=True)


def test_gradients_that_are_not_returned_are_no_gradients() -> None:
    def lacking(query: np.ndarray, key: np.ndarray, _: np.ndarray, **__: Any) -> dict[str, Any]:
        return {"query": query, "key": key}

    judgement = judged(right.in_float64, gradient=lacking)
    (reason,) = judgement.reasons
    assert reason.startswith("its gradients are nothing for value")  # and for what else the call has
    assert " instead of a dictionary of query, key, value" in reason


@pytest.mark.bare
def test_a_backward_pass_that_refuses_everything_has_not_passed() -> None:
    def refusing(*_: np.ndarray, **__: Any) -> dict[str, Any]:
        raise NotImplementedError

    judgement = judged(right.base_two, gradient=refusing)
    assert judgement.reasons == ("nothing that it supports was judged in gradients of float32",)


def test_every_situation_is_asked_for_its_gradients() -> None:
    drawn = draw(1, None, ["float32"], "full", gradients=True)
    assert all(scenario.gradients for scenario in drawn)
    assert {scenario.keys for scenario in drawn} >= {1, 7, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, 1024, 2048}
    asked = frozenset[str]().union(*(scenario.options for scenario in drawn))
    assert asked >= {"causal", "window", "key_lengths", "mask", "bias", "sinks", "softcap", "scale", "dropout"}


def test_the_gradients_of_sinks_reach_a_layer_that_has_them_as_a_parameter() -> None:
    pytest.importorskip("x_transformers")
    judgement = judge("x_transformers", case="float32/b1.h4.g2.q9.k7.d16.v16/sinks,gradients/normal", seed=5)
    assert judgement.passed, str(judgement)
