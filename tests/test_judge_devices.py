"""Several copies of a subject at a time, and arrays on a device."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest

from attention_ref.cli import main
from attention_ref.conformance import UsageError, judge
from tests.wrong_kernels import right
from tests.wrong_kernels.planted import MISTAKES

judged = partial(judge, small=True)
CASE = "float32/b1.h4.g2.q65.k70.d24.v16/mask=random.bhqk/normal"


def test_several_copies_are_asked_for_the_same_calls_as_one() -> None:
    both = [judged(right.base_two, seed=1, jobs=jobs) for jobs in (1, 2)]
    assert all(judgement.passed for judgement in both), str(both[1])
    one, several = ({outcome.scenario.id for outcome in judgement.outcomes} for judgement in both)
    assert one == several
    wrong = judged(MISTAKES["the partial last tile is dropped"].planted(), seed=1, jobs=2, most_failures=2)
    assert wrong.reasons == ("it returns wrong numbers",)
    assert wrong.smallest is not None
    with pytest.raises(UsageError, match="jobs are 1 or more"):
        judged(right.base_two, jobs=0)


def test_copies_that_hang_or_end_are_all_ended() -> None:
    def hanging(*_: Any) -> Any:
        while True:
            pass

    judgement = judged(hanging, jobs=2, timeout=1)
    assert judgement.reasons == ("it does not return within 1 s",)


@pytest.mark.parametrize("kind", ["torch", "jax"])
def test_a_device_that_is_missing_is_one_plain_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(kind)
    if kind == "torch" and __import__("torch").cuda.is_available():
        pytest.skip("there is such a device")
    subject = "attention_ref.torch:attention" if kind == "torch" else "jax.nn:dot_product_attention"
    assert main(["judge", subject, "--arrays", kind, "--device", "cuda", "--case", CASE]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"attention-ref: {kind} has no device cuda: .", line)


def test_a_device_is_chosen_for_torch_and_jax_only() -> None:
    with pytest.raises(UsageError, match="for torch and jax only"):
        judge(right.base_two, device="cuda", case=CASE)


def test_storage_on_a_device_is_used_again_with_other_contents() -> None:
    """The device "cpu" is treated as any other: its arrays are copies, and overwritten where they lie."""
    torch = pytest.importorskip("torch")
    kept: dict[Any, Any] = {}

    def attention(query: Any, key: Any, value: Any) -> Any:
        repeats = query.shape[1] // key.shape[1]
        return torch.nn.functional.scaled_dot_product_attention(
            query, key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        )

    def replaying(query: Any, key: Any, value: Any) -> Any:
        place = (query.data_ptr(), key.data_ptr(), query.shape)
        if place not in kept:
            kept[place] = attention(query, key, value), query, key
        return kept[place][0]

    def scaling(query: Any, key: Any, value: Any) -> Any:
        return attention(query.mul_(0.5), key, value)

    on = partial(judge, arrays="torch", device="cpu", small=True, most_failures=1, seed=2)
    assert on(attention).passed
    assert on(replaying).reasons == (
        "it returns the results of an earlier call whose arguments lay in the same storage",
    )
    assert on(scaling).reasons == ("it changes its argument query",)
