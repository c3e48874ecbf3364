"""Functions of JAX before the judge, in a process that has computed with JAX and in one that has not."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from attention_ref.conformance import UsageError, judge

jax = pytest.importorskip("jax")

CASE = "float32/b1.h4.g2.q65.k70.d24.v16/gradients/normal"


def attention(query: Any, key: Any, value: Any) -> Any:
    """Attention in the functions of JAX."""
    jnp = jax.numpy
    key, value = (jnp.repeat(each, query.shape[1] // key.shape[1], axis=1) for each in (key, value))
    scores = jnp.einsum("bhqd,bhkd->bhqk", query, key, precision="highest") / query.shape[-1] ** 0.5
    return jnp.einsum("bhqk,bhkv->bhqv", jax.nn.softmax(scores, axis=-1), value, precision="highest")


def test_a_process_that_has_computed_with_jax_judges_a_function_that_another_can_import() -> None:
    jax.numpy.ones(3).block_until_ready()
    judgement = judge(attention, arrays="jax", case=CASE, timeout=600)
    assert judgement.passed, str(judgement)
    with pytest.raises(UsageError, match=r"JAX: a copy of this process cannot compute.*module:callable"):
        judge(partial(attention), arrays="jax", case=CASE)


def test_a_closure_of_jax_is_judged_in_a_copy_of_a_process_that_has_not_computed() -> None:
    code = f"""
from attention_ref.conformance import judge
from tests.test_judge_jax import attention
print(judge(lambda query, key, value: attention(query, key, value), arrays="jax", case="{CASE}", timeout=600).passed)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert ended.stdout.split() == ["True"]
