"""The judge of kernels with a calling convention of their own: peers by name, head sizes, layouts."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from attention_ref.cli import main
from attention_ref.conformance import Dialect, Exclusion, UsageError, judge
from attention_ref.conformance.peers import PEERS
from attention_ref.conformance.peers.peer import found
from tests.wrong_kernels import stored
from tests.wrong_kernels.right import online

judged = partial(judge, small=True, most_failures=1)
PLAIN = "float32/b1.h2.g1.q65.k129.d64.v64/plain/normal"


# --- Peers by name ---------------------------------------------------------------------------------------------------


def test_a_peer_is_judged_by_its_name_in_its_dialect(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="the peer torch.sdpa needs torch")
    assert main(["judge", "torch.sdpa", "--case", PLAIN, "--seed", "1"]) == 0
    assert "RIGHT: torch.sdpa is right in 1 of 1 calls" in capsys.readouterr().out
    both = "float32/b1.h2.g1.q65.k129.d64.v64/causal,mask=late.qk/normal"
    assert main(["judge", "torch.sdpa", "--case", both]) == 1
    printed = capsys.readouterr().out
    assert "nothing that it supports was judged in float32" in printed
    assert "unsupported, 3 calls: is_causal and attn_mask exclude each other" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["torch.spda"], "there is no subject 'torch.spda'; did you mean torch.sdpa"),
        (["keras_hub"], "has no attention"),
        (["torch.sdpa", "--dialect", "torch.flex"], "torch.sdpa defines its own"),
        (["torch.sdpa", "--engine", "jax"], "torch.sdpa does not use Keras"),
    ],
)
def test_a_wrong_request_for_a_peer_is_a_usage_error(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge", *words]) == 2
    assert message in capsys.readouterr().err


PROMPT, DECODE = "b2.h4.g2.q65.k65.d64.v64/causal", "b2.h8.g2.q1.k300.d64.v64/causal,offset=192+255,lengths=193+256"
CHUNK = "b1.h4.g1.q17.k129.d64.v64/causal,offset=112"
GROUPED = (
    *(
        f"{PROMPT}/normal",
        f"{PROMPT},lengths=33+64/normal",
        f"{PROMPT},softcap=5.0/large",
        f"{PROMPT},scale=0.25/normal",
    ),
    *(f"{PROMPT},window=17+open/normal", f"{PROMPT},bias=normal.1hqk/normal", f"{PROMPT},sinks/normal"),
    *(
        f"{DECODE}/outliers",
        f"{DECODE}/normal".replace(",lengths", ",window=40+0,lengths"),
        f"{CHUNK}/normal",
        f"{CHUNK},window=31+open/normal",
    ),
)


@pytest.mark.parametrize("name", ["onnxruntime.gqa", "onnxruntime.gqa.packed", "onnxruntime.gqa.rotary"])
def test_grouped_queries_of_onnx_runtime_are_right_in_prompts_chunks_and_single_queries(name: str) -> None:
    for module in ("onnx", "onnxruntime"):
        pytest.importorskip(module, reason=f"the peer {name} needs {module}")
    known = PEERS[name]
    for case in GROUPED:
        dtype = "float16" if "offset" in case else "float32"
        judgement = judge(found(known.attention), dialect=known.own_dialect, case=f"{dtype}/{case}", seed=1)
        assert judgement.passed, str(judgement)
        assert not judgement.unsupported, str(judgement)


def test_flex_attention_with_a_mask_of_documents_is_right() -> None:
    pytest.importorskip("torch.nn.attention.flex_attention", reason="the peer torch.flex.documents needs torch")
    known = PEERS["torch.flex.documents"]
    judgement = judge(found(known.attention), dialect=known.own_dialect, case=f"float32/{DECODE}/outliers", seed=1)
    assert judgement.passed, str(judgement)
    assert not judgement.unsupported, str(judgement)


def test_the_last_query_of_multi_head_attention_of_onnx_runtime_sees_every_key() -> None:
    for module in ("onnx", "onnxruntime"):
        pytest.importorskip(module, reason=f"the peer needs {module}")
    judgement = judge("onnxruntime.mha", case="float32/b1.h1.g1.q2.k3.d16.v16/causal/normal", seed=1)
    assert judgement.smallest is not None
    assert judgement.smallest.mismatch is not None
    assert judgement.smallest.mismatch.index[2] == 1
    assert judgement.smallest.mismatch.off == 16


# --- Head sizes ------------------------------------------------------------------------------------------------------


def two_head_sizes(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Fails for every head size that it was not written for, without a word."""
    if {query.shape[-1], value.shape[-1]} - {64, 128}:
        return np.zeros((*query.shape[:-1], value.shape[-1]), query.dtype)
    return online(query, key, value)


def test_head_sizes_of_a_dialect_are_the_only_ones_that_are_drawn() -> None:
    assert not judged(two_head_sizes, seed=1).passed
    judgement = judged(two_head_sizes, seed=1, dialect=Dialect(head_sizes=[64, 128]))
    assert judgement.passed
    assert not judgement.unsupported
    assert {64, 128} == {each.scenario.head_size for each in judgement.outcomes}


def test_what_a_dialect_excludes_is_listed_and_a_function_without_another_call_has_not_passed() -> None:
    judgement = judge(online, case=PLAIN, dialect=Dialect(head_sizes=[128]))
    assert [*judgement.unsupported] == ["head size 64 is not one of 128"]
    assert [each.scenario.head_size for each in judgement.having("passed")] == [128]
    judgement = judge(online, case=PLAIN, dialect=Dialect(ranks=[3]))
    assert not judgement.passed
    assert [*judgement.unsupported] == ["only arrays of rank 3"]
    assert judgement.reasons == ("nothing that it supports was judged in float32",)


def test_empty_axes_can_be_excluded() -> None:
    from attention_ref.conformance import check

    dialect = Dialect(exclusions=[Exclusion(("empty axis",), "no axis may be empty")])
    report = check(_without_empty_axes, dialect=dialect, cases="attention/*/*", profiles=["core"])
    assert report.passed, report
    reasons = {each.reason for each in report.results if each.verdict == "unsupported"}
    assert "no axis may be empty" in reasons


def _without_empty_axes(query: Any, key: Any, value: Any) -> Any:
    from attention_ref.numpy import attention

    assert query.size
    assert key.size
    return attention(query, key, value)


def test_a_head_size_is_a_positive_whole_number() -> None:
    with pytest.raises(UsageError, match="head_sizes: '64' is not a positive integer"):
        Dialect(head_sizes=["64"])  # type: ignore[list-item]


# --- How sequences lie in memory -------------------------------------------------------------------------------------


SHAPES = {
    "packed": ("q129.k300.d40.v72/causal,offset=171", "q65.k65.d64.v64/causal,window=17+open", "q1.k257.d16.v16/plain"),
    "paged": ("q1.k385.d64.v64/causal,offset=256,lengths=257", "q65.k129.d16.v24/causal,offset=64"),
    "packed, paged": (
        "q129.k300.d40.v72/causal,offset=171",
        "q1.k385.d64.v64/causal,offset=256,lengths=257",
        "q65.k129.d16.v24/lengths=33",
    ),
    "buffer": ("q1.k385.d64.v64/causal,offset=256,lengths=257", "q65.k129.d16.v24/causal,offset=64"),
    "buffer with a mask": ("q65.k129.d64.v64/mask=late.qk", "q65.k300.d16.v16/causal,offset=64,lengths=193"),
    "one array of three": ("q129.k129.d64.v64/causal", "q65.k65.d40.v40/plain"),
    "packed, one array of three": ("q129.k129.d64.v64/causal", "q65.k65.d40.v40/plain"),
    "packed, one array of heads": ("q129.k129.d64.v64/causal", "q1.k1.d40.v40/plain"),
    "one array of heads": ("q129.k129.d64.v64/plain", "q1.k1.d40.v40/plain"),
}


@pytest.mark.parametrize("name", stored.RIGHT)
def test_a_right_kernel_passes_in_its_layout(name: str) -> None:
    """And with NaN behind the keys of a row, which stays in pages and buffers; a draw of all: the documentation."""
    kernel, dialect = stored.RIGHT[name]
    heads = "b1.h3.g3" if "one array of three" in name else "b1.h4.g2"
    for shape in SHAPES[name]:
        for numbers in ("outliers", *(["padding"] if "lengths" in shape else [])):
            judgement = judge(kernel, dialect=dialect, case=f"float32/{heads}.{shape}/{numbers}", seed=2)
            assert judgement.passed, str(judgement)
            assert not judgement.unsupported, str(judgement)


def test_all_calls_of_packed_sequences_pass() -> None:
    kernel, dialect = stored.RIGHT["packed"]
    judgement = judged(kernel, dialect=dialect, seed=2)
    assert judgement.passed, str(judgement)
    assert len(judgement.having("passed")) > 50, str(judgement)


@pytest.mark.parametrize("name", stored.WRONG)
def test_a_mistake_in_addressing_is_rejected(name: str) -> None:
    mistake = stored.WRONG[name]
    judgement = judged(mistake.planted(), dialect=stored.RIGHT[mistake.name][1], seed=2)
    assert not judgement.passed
    assert "wrong numbers" in judgement.reasons[0], str(judgement)
