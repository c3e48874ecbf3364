"""Kernels of PyTorch before the judge."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from attention_ref.conformance import judge


def test_a_released_kernel_is_judged_by_its_name() -> None:
    name = "torch.nn.functional:scaled_dot_product_attention"
    judgement = judge(name, small=True, most_failures=1, dialect="torch.sdpa", dtypes=["bfloat16"], seed=13)
    assert judgement.passed, str(judgement)
    assert set(judgement.unsupported) == {"is_causal and attn_mask exclude each other"}


def test_a_tensor_of_a_torch_kernel_is_not_to_be_changed() -> None:

    def scaling(query: Any, key: Any, value: Any) -> Any:
        return torch.softmax(query.mul_(0.25) @ key.transpose(-1, -2), -1) @ value

    judgement = judge(scaling, arrays="torch", case="bfloat16/b1.h1.g1.q7.k9.d16.v16/plain/normal")
    assert judgement.reasons == ("it changes its argument query",)
