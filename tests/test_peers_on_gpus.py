"""Peers that need a GPU: their dialects and wrappers, tested on stand-ins with the libraries' signatures."""

from __future__ import annotations

import pytest

from attention_ref.conformance import judge
from attention_ref.conformance.peers import PEERS
from attention_ref.conformance.peers.peer import found
from tests import stand_ins

pytest.importorskip("torch", reason="the libraries are PyTorch's")

PLAIN, CHUNK = "b1.h4.g2.q65.k129.d64.v64/plain/normal", "b1.h4.g2.q65.k129.d64.v64/causal,offset=64/outliers"
PROMPT, WINDOW = "b1.h3.g1.q129.k129.d128.v128/causal/normal", "b1.h2.g2.q65.k65.d64.v64/causal,window=17+open/normal"
RAGGED = "b2.h2.g1.q7.k300.d64.v64/causal,offset=122+250,lengths=129+257/normal"
TAIL = "b2.h2.g2.q1.k257.d64.v64/lengths=33+256/normal"
DECODE = "b2.h8.g2.q1.k300.d128.v128/causal,offset=192+255,lengths=193+256/normal"
CAPPED = "b1.h2.g2.q1.k65.d64.v64/scale=0.25,softcap=5.0/normal"
MASKED, BIASED = "b1.h2.g2.q65.k64.d64.v64/mask=late.qk/normal", "b1.h2.g2.q65.k64.d64.v64/bias=normal.1hqk/normal"
DENSE = (PLAIN, CHUNK, PROMPT, WINDOW, CAPPED)
CASES = {
    "flash_attn": DENSE,
    "flash_attn.qkvpacked": ("b1.h3.g3.q129.k129.d128.v128/causal/normal", WINDOW),
    "flash_attn.varlen": (*DENSE, RAGGED, TAIL),
    "flash_attn.varlen.paged": (*DENSE, RAGGED, TAIL, DECODE),
    "flash_attn.varlen.qkvpacked": ("b2.h3.g3.q129.k129.d128.v128/causal/normal", WINDOW),
    "flash_attn.kvcache": (*DENSE, RAGGED, TAIL),
    "flash_attn.paged": (*DENSE, RAGGED, TAIL, DECODE),
    "xformers": (PLAIN, CHUNK, PROMPT, MASKED, BIASED),
    "xformers.packed": (PLAIN, CHUNK, PROMPT, RAGGED, TAIL),
    "flashinfer.prefill": (*DENSE, RAGGED, TAIL),
    "flashinfer.prefill.paged": (*DENSE, RAGGED, TAIL),
    "flashinfer.decode": (TAIL, DECODE, CAPPED),
    "flashinfer.paged": (TAIL, DECODE, CAPPED),
}


@pytest.mark.parametrize("name", CASES)
def test_calls_are_translated_into_the_signature_of_a_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins.install(monkeypatch)
    known = PEERS[name]
    for case in CASES[name]:
        judgement = judge(found(known.attention), dialect=known.own_dialect, case=f"bfloat16/{case}", seed=1)
        assert judgement.passed, str(judgement)
        assert not judgement.unsupported, str(judgement)


def test_every_peer_of_a_stand_in_is_tested() -> None:
    modules = {"flash_attn", "xformers", "flashinfer"}
    assert {name for name, known in PEERS.items() if modules & set(known.modules)} == set(CASES)
