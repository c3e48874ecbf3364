"""What the kit says of released libraries is what was measured of them by other means.

Measured with torch 2.13.0 on the CPU, keras 3.15.1, jax 0.10.2, onnx 1.23.2 and onnxruntime 1.31.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from attention_ref import vectors
from attention_ref.conformance import check_subject
from attention_ref.conformance.arrays import arrays_of
from attention_ref.conformance.peers import PEERS, onnx_model, peer

LEAKS = "0 times the NaN of a padded value"
MEAN = "hidden keys get a large negative score, so that an empty row is the mean of the values"
SWALLOWS = "with few keys the CPU kernel gives 0 for a query that is NaN"
PART = ("mask", "lse", "padding", "window")  # of the profiles, for libraries that are slow to start on every shape


@dataclass(frozen=True)
class Measured:
    """`fails`: the clauses that explain every failure, with the reason; `lacks`: those that cannot be expressed."""

    fails: dict[str, str]
    lacks: frozenset[str]
    dtypes: tuple[str, ...] = ("float64", "float32")
    profiles: tuple[str, ...] | None = None


def clause_ids(names):
    return frozenset(f"attention.{name}" for name in names.split())


OF_ANY_ENGINE = "query-offset window key-lengths softcap sinks dropout weights log-sum-exp"
KERAS = {
    "tensorflow": Measured({"attention.empty-row": MEAN}, clause_ids(OF_ANY_ENGINE), ("float32",)),
    "jax": Measured({"attention.empty-row": MEAN}, clause_ids(OF_ANY_ENGINE + " value-size"), ("float32",), PART),
    "torch": Measured(
        {"attention.empty-row": MEAN, "attention.non-finite": SWALLOWS}, clause_ids(OF_ANY_ENGINE), ("float32",)
    ),
}
MEASURED = {
    "torch.sdpa": Measured(
        {"attention.non-finite": SWALLOWS},
        clause_ids("window key-lengths softcap sinks dropout weights log-sum-exp"),
    ),
    "torch.flex": Measured({"attention.key-lengths": LEAKS}, clause_ids("sinks dropout weights"), ("float32",), PART),
    "jax.sdpa": Measured(
        {"attention.empty-row": MEAN, "attention.key-lengths": LEAKS},
        clause_ids("value-size query-offset softcap sinks dropout weights"),
        ("float32",),
        PART,
    ),
    "onnx.reference": Measured(
        {
            "attention.scale": "its root is taken, in float32: NaN below 0",
            "attention.precision": "the root of the scale multiplies query and key",
            "attention.key-lengths": LEAKS,
            "attention.visibility": "causality of a mask with one row for all queries is that of the first query",
        },
        clause_ids("batch sinks dropout log-sum-exp"),
    ),
    "onnxruntime": Measured(
        {"attention.key-lengths": LEAKS},
        clause_ids("batch window empty-axis sinks dropout log-sum-exp"),
    ),
}


ALL = [pytest.param(name, marks=pytest.mark.engine) if name == "keras.ops" else name for name in PEERS]


def measured(name):
    if name == "keras.ops":
        return KERAS[pytest.importorskip("keras").backend.backend()]
    return MEASURED[name]


def subject(name):
    for module in {PEERS[name][0], *(["onnx"] if name == "onnxruntime" else [])}:
        pytest.importorskip(module, reason=f"the peer {name} needs {module}")
    return peer(name)


@cache
def report_on(name):
    expected = measured(name)
    profiles = expected.profiles or vectors.profiles("attention")  # all but gradients
    return check_subject(subject(name), operations=["attention"], profiles=profiles, dtypes=expected.dtypes)


@pytest.mark.parametrize("name", ALL)
def test_failures_are_those_that_were_measured(name):
    fails = measured(name).fails.keys()
    report = report_on(name)
    decisive = [each for each in report.failures if "attention.hygiene" not in each.case.clauses]

    assert [f"{each.case.id} in {each.dtype}" for each in decisive if not fails & set(each.case.clauses)] == []
    assert {each.id for each in report.clauses if each.verdict == "fails"} >= fails


@pytest.mark.parametrize("name", ALL)
def test_what_a_library_lacks_is_unsupported(name):
    expected = measured(name)
    clauses = report_on(name).clauses
    unsupported = {each.id for each in clauses if each.verdict == "unsupported"}

    assert unsupported >= expected.lacks & {each.id for each in clauses}
    if expected.profiles is None:
        assert unsupported == expected.lacks


def test_torch_sdpa_loses_accuracy_backwards_where_scores_are_large():
    report = check_subject(subject("torch.sdpa"), profiles=["grad"], dtypes=["float64"])
    failed = {each.case.id for each in report.failures if not each.case.is_optional}

    assert failed == {
        "attention/grad/core/large-scores",
        "attention/grad/lse/large-negative-scores",
        "attention/grad/mask/hidden-large-scores",
    }
    assert max(each.share for each in report.failures if each.case.id in failed) > 20


def test_torch_flex_has_no_backward_pass_on_the_cpu():
    report = check_subject(subject("torch.flex"), profiles=["grad"], cases="attention/grad/core/plain")
    assert all("does not support backward on CPU" in each.reason for each in report.results)


def worst(name, case):
    [result] = check_subject(subject(name), cases=case, dtypes=["float32"]).results
    return result


@pytest.mark.parametrize("name", [pytest.param("keras.ops", marks=pytest.mark.engine), "jax.sdpa"])
def test_empty_row_is_the_mean_of_the_values(name):
    result = worst(name, "attention/mask/all-false")
    row, head, _, column = result.mismatch.index

    assert result.mismatch.got == pytest.approx(result.case.inputs["value"][row, head, :, column].mean(), rel=1e-6)


@pytest.mark.parametrize("name", ["torch.sdpa", "onnx.reference"])
def test_empty_row_is_zero(name):
    assert worst(name, "attention/mask/all-false").verdict == "passed"


def test_jax_excludes_a_whole_row_to_nan():
    assert np.isnan(worst("jax.sdpa", "attention/bias/excluding-a-row").mismatch.got)


def test_unknown_peer_is_named():
    with pytest.raises(ValueError, match=r"no peer 'torch.sdp'.*torch.sdpa"):
        peer("torch.sdp")


# An adapter names what its library refuses or spoils. When a library learns it, these fail and the adapter can follow.


def arrays(query_length=3, key_length=4, dtype="float64"):
    generator = np.random.default_rng(0)
    shapes = ((1, 2, query_length, 8), (1, 2, key_length, 8), (1, 2, key_length, 8))
    return [generator.normal(size=shape).astype(dtype) for shape in shapes]


def truth(query, key, value):
    scores = query @ np.swapaxes(key, -2, -1) / np.sqrt(query.shape[-1])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights @ value / weights.sum(axis=-1, keepdims=True)


def test_torch_sdpa_refuses_a_mask_of_one_axis():
    torch = pytest.importorskip("torch", reason="the peer torch.sdpa needs torch")
    given = [torch.from_numpy(array) for array in arrays()]
    with pytest.raises(IndexError):
        torch.nn.functional.scaled_dot_product_attention(*given, attn_mask=torch.ones(4, dtype=torch.bool))


def test_onnx_reference_refuses_no_keys():
    evaluator = pytest.importorskip("onnx.reference", reason="the peer onnx.reference needs onnx").ReferenceEvaluator
    attention = onnx_model.adapter(lambda model, inputs: evaluator(model).run(None, inputs))
    with pytest.raises(ValueError, match="zero-size array"):
        attention(*arrays(key_length=0))


def test_onnxruntime_spoils_float64():
    pytest.importorskip("onnx", reason="the peer onnxruntime needs onnx")
    runtime = pytest.importorskip("onnxruntime", reason="the peer onnxruntime needs onnxruntime")

    def run(model, inputs):
        return runtime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, inputs)

    assert np.abs(onnx_model.adapter(run)(*arrays()) - truth(*arrays())).max() > 1e-10


def test_jax_spoils_float64():
    jax = pytest.importorskip("jax", reason="the peer jax.sdpa needs jax")
    with jax.enable_x64(True):
        given = [jax.numpy.asarray(np.swapaxes(array, 1, 2)) for array in arrays()]
        output = np.swapaxes(np.asarray(jax.nn.dot_product_attention(*given)), 1, 2)

    assert output.dtype == np.float64
    assert np.abs(output - truth(*arrays())).max() > 1e-10


def test_keras_spoils_float64():
    keras = pytest.importorskip("keras", reason="the peer keras.ops needs keras")
    own = arrays_of("keras")
    given = [keras.ops.convert_to_tensor(np.swapaxes(array, 1, 2), "float64") for array in arrays()]
    output = keras.ops.dot_product_attention(*given)

    assert (
        own.dtype(output) == "float32" or np.abs(np.swapaxes(own.read(output), 1, 2) - truth(*arrays())).max() > 1e-10
    )
