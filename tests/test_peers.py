"""The verdicts of the kit on released libraries agree with independent measurements.

Measured with torch 2.13.0 on the CPU, keras 3.15.1, keras-hub 0.32.0, jax 0.10.2, flax 0.12.8, onnx 1.23.2,
onnxruntime 1.31.1, transformers 5.23.0 and x-transformers 2.31.10.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from attention_ref import vectors
from attention_ref.backends import engine
from attention_ref.conformance import check_subject
from attention_ref.conformance.diagnosis import diagnose_subject
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.peers import PEERS, onnx_model, peer

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras itself
LEAKS = "0 times the NaN of a padded value"
MEAN = "hidden keys get a large negative score, so that an empty row is the mean of the values"
SWALLOWS = "with few keys the CPU kernel gives 0 for a query that is NaN"
SOFTMAX_OF_NOTHING = "the softmax of -inf alone"
PART = ("lse", "padding", "window")  # of the profiles, for libraries that are slow to start on every shape


@dataclass(frozen=True)
class Measured:
    """`fails`: the clauses that explain every failure, with the reason; `lacks`: those that cannot be expressed."""

    fails: dict[str, str]
    lacks: frozenset[str]
    dtypes: tuple[str, ...] = ("float32",)
    profiles: tuple[str, ...] | None = None


def clause_ids(names):
    return frozenset(f"attention.{name}" for name in names.split())


def measured_as(lacks, *, dtypes=("float32",), profiles=None, **fails):
    named = {f"attention.{name.replace('_', '-')}": reason for name, reason in fails.items()}
    return Measured(named, clause_ids(lacks), dtypes, profiles)


BOTH = ("float64", "float32")
NUMBERS = "softcap sinks dropout weights log-sum-exp"
LAYER = "softcap order sinks dropout log-sum-exp non-finite"
FAST = "value-size bias finite-bias exclusion heads " + LAYER
KERAS_LAYER = "bias finite-bias exclusion query-offset " + LAYER
KERAS_OPS = "query-offset window key-lengths " + NUMBERS
MEASURED = {
    "torch.sdpa": measured_as("query-offset window key-lengths " + NUMBERS, dtypes=BOTH, non_finite=SWALLOWS),
    "torch.sdpa.math": measured_as(
        "query-offset window key-lengths " + NUMBERS,
        dtypes=BOTH,
        precision="the root of the scale multiplies query and key",
    ),
    "torch.sdpa.flash": measured_as(
        "value-size query-offset window key-lengths order " + NUMBERS, dtypes=BOTH, non_finite=SWALLOWS
    ),
    "torch.sdpa.lower_right": measured_as("window key-lengths " + NUMBERS, non_finite=SWALLOWS),
    "torch.flex": measured_as("sinks dropout weights", profiles=PART, key_lengths=LEAKS),
    "torch.nested": measured_as(
        "empty-axis",
        profiles=("core", "padding"),
        precision="the root of the scale multiplies query and key",
        key_lengths="an error for a single key of size 1",
    ),
    "torch.mha": measured_as(
        "value-size heads weights " + LAYER, key_lengths=LEAKS, empty_axis="an error for no keys beside a mask"
    ),
    "torch.mha.weights": measured_as(
        "value-size heads " + LAYER, dtypes=BOTH, key_lengths=LEAKS, empty_row=SOFTMAX_OF_NOTHING
    ),
    "torch.mha.eval": measured_as("weights " + FAST, key_lengths=LEAKS, empty_row=SOFTMAX_OF_NOTHING),
    "torch.mha.eval.weights": measured_as(FAST, key_lengths=LEAKS, empty_row=SOFTMAX_OF_NOTHING),
    "keras.ops": measured_as(KERAS_OPS, empty_row=MEAN),
    "keras.mha": measured_as("heads weights " + KERAS_LAYER, empty_row=MEAN, key_lengths=LEAKS),
    "keras.mha.scores": measured_as("heads " + KERAS_LAYER, key_lengths=LEAKS),
    "keras.gqa": measured_as("value-size weights " + KERAS_LAYER, empty_row=MEAN, key_lengths=LEAKS),
    "keras.gqa.scores": measured_as("value-size " + KERAS_LAYER, key_lengths=LEAKS),
    "keras.attention": measured_as(
        "bias finite-bias exclusion query-offset window heads softcap order sinks dropout log-sum-exp",
        empty_row=MEAN,
        key_lengths="padded keys lose 1e9, which is little beside infinity",
    ),
    "jax.sdpa": measured_as("value-size query-offset sinks", profiles=PART, empty_row=MEAN, key_lengths=LEAKS),
    "flax.linen": measured_as("sinks log-sum-exp", profiles=PART[1:], empty_row=MEAN, key_lengths=LEAKS),
    "flax.nnx": measured_as("value-size sinks log-sum-exp", profiles=PART[1:], empty_row=MEAN, key_lengths=LEAKS),
    "onnx.reference": measured_as(
        "batch sinks dropout log-sum-exp",
        dtypes=BOTH,
        scale="its root is taken, in float32: NaN below 0",
        precision="the root of the scale multiplies query and key",
        key_lengths=LEAKS,
        visibility="causality of a mask with one row for all queries is that of the first query",
    ),
    "onnxruntime": measured_as("batch window empty-axis sinks dropout log-sum-exp", key_lengths=LEAKS),
    "onnxruntime.mha": measured_as(
        "batch query-offset window empty-axis heads softcap sinks dropout weights log-sum-exp",
        causal="the last query sees every key, where there are more keys than queries",
        empty_row="-inf alone is NaN; where padding hides every key, hidden keys get a large negative score",
        exclusion="a row of -inf is NaN",
        key_lengths=LEAKS,
        scale="0 stands for the default",
    ),
    "transformers.eager": measured_as("softcap sinks dropout log-sum-exp", empty_row=MEAN, key_lengths=LEAKS),
    "transformers.eager.gemma2": measured_as("sinks dropout log-sum-exp", empty_row=MEAN, key_lengths=LEAKS),
    "transformers.eager.gpt_oss": measured_as(
        "batch value-size finite-bias empty-axis softcap dropout log-sum-exp precision hygiene"
    ),
    "transformers.sdpa": measured_as(
        NUMBERS,
        dtypes=BOTH,
        causal="a single query sees every key",
        batch="an error for no batch rows with grouped heads",
        empty_axis="an error for no queries",
        empty_row="beside a bias, hidden keys get the lowest finite score",
        key_lengths=LEAKS,
        non_finite=SWALLOWS,
    ),
    "x_transformers": measured_as(
        "dropout log-sum-exp",
        order="the bias comes before softcap",
        exclusion="a row of -inf is NaN",
        empty_row="the mean of the values where a window or a length empties a row together with -inf",
        key_lengths=LEAKS,
    ),
    "x_transformers.flash": measured_as(
        NUMBERS,
        dtypes=BOTH,
        key_lengths=LEAKS,
        exclusion="-inf and the lowest number together are NaN",
        non_finite=SWALLOWS,
    ),
}
NOT_ON = {  # what an engine of Keras does otherwise
    ("keras.ops", "jax"): measured_as("value-size", empty_row=MEAN),
    ("keras.ops", "torch"): measured_as(KERAS_OPS, empty_row=MEAN, non_finite=SWALLOWS),
}
ATTENTIONS = [name for name, known in PEERS.items() if known.attention and name in MEASURED]
ALL = [pytest.param(n, marks=pytest.mark.engine) if PEERS[n].runs_on == "keras" else n for n in ATTENTIONS]


def measured(name):
    if PEERS[name].runs_on != "keras":
        return MEASURED[name]
    found = NOT_ON.get((name, engine()), MEASURED[name])
    return replace(found, profiles=("mask", "padding")) if engine() == "jax" else found


def subject(name):
    for module in PEERS[name].modules:
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


@pytest.mark.parametrize("name", ALL)
def test_no_peer_is_blamed_for_a_precision_that_it_does_not_have(name):
    report = check_subject(subject(name), operations=["attention"], dtypes=BOTH, cases="attention/core/[lv]a*")
    assert [f"{each.case.id} in {each.dtype}" for each in report.failures] == []
    assert {each.verdict for each in report.results} >= {"passed"} or name == "transformers.eager.gpt_oss"


def test_gradients_of_torch_sdpa_are_within_a_budget_that_admits_a_stored_log_sum_exp():
    """It recomputes the weights from a rounded log-sum-exp, 44 times the budget without it where scores are large."""
    report = check_subject(subject("torch.sdpa"), profiles=["grad"], dtypes=["float64"])
    passed = {each.case.id for each in report.results if each.verdict == "passed"}
    assert passed >= {"attention/grad/core/large-scores", "attention/grad/mask/hidden-large-scores"}
    assert [each.case.id for each in report.failures if not each.case.is_optional] == []


def test_torch_flex_has_no_backward_pass_on_the_cpu():
    report = check_subject(subject("torch.flex"), profiles=["grad"], cases="attention/grad/core/plain")
    assert all("does not support backward on CPU" in each.reason for each in report.results)


BLOCKS = {  # the clauses of which every failure lists one
    "torch.encoder_layer": set(),
    # the fast path gives NaN for a mask of finite numbers, and for a row that sees no key
    "torch.encoder_layer.eval": {"attention.bias", "attention.empty-row"},
    "keras_hub": {"attention.empty-row"},  # the mean of the values
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.engine) if PEERS[n].runs_on == "keras" else n for n in BLOCKS]
)
def test_blocks_are_those_of_the_paper(name):
    report = check_subject(subject(name), operations=["Block"])
    assert bool(report.failures) == bool(BLOCKS[name])
    assert [each.case.id for each in report.failures if not BLOCKS[name] & set(each.case.clauses)] == []
    passed = {each.case.id.rpartition("/")[2] for each in report.results if each.verdict == "passed"}
    assert passed >= {"post", "post-dropout", "post-cross", "pre", "key-lengths", "memory-rules"}


def test_an_encoder_layer_of_torch_gives_nan_for_a_mask_of_numbers_in_evaluation():
    torch = pytest.importorskip("torch")
    layer = torch.nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True)
    array, mask = torch.ones(2, 3, 8), torch.ones(3, 3)
    assert layer.train()(array, src_mask=mask).isfinite().all()
    with torch.no_grad():
        assert layer.eval()(array, src_mask=mask).isnan().any()


def worst(name, case):
    [result] = check_subject(subject(name), cases=case, dtypes=["float32"]).results
    return result


@pytest.mark.parametrize("name", [pytest.param("keras.ops", marks=pytest.mark.engine), "jax.sdpa"])
def test_empty_row_is_the_mean_of_the_values(name):
    result = worst(name, "attention/mask/all-false")
    row, head, _, column = result.mismatch.index

    assert result.mismatch.got == pytest.approx(result.case.call.inputs["value"][row, head, :, column].mean(), rel=1e-6)


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


def keras_layers():
    """Return the output of Keras' layers in float64 and the expected output, by layer and code path."""
    keras = pytest.importorskip("keras", reason="the peers keras.* need keras")
    query, key, value = (keras.ops.convert_to_tensor(array[:, 0, :, :3], "float64") for array in arrays())
    options = {"use_bias": False, "dtype": "float64"}
    layers = {
        "mha": keras.layers.MultiHeadAttention(1, 3, **options),
        "gqa": keras.layers.GroupQueryAttention(3, 1, 1, **options),
    }
    for name, layer in layers.items():
        layer.build(*[(1, None, 3)] * 3)
        layer.set_weights([np.eye(3).reshape(weight.shape) for weight in layer.weights])
        yield f"{name} fused", layer(query, value, key)
        yield f"{name} scores", layer(query, value, key, return_attention_scores=True)[0]
    yield "attention", keras.layers.Attention(dtype="float64")([query * 3**-0.5, value, key])


@pytest.mark.engine
def test_keras_layers_spoil_float64_on_these_paths():
    pytest.importorskip("keras", reason="the layers are those of Keras")
    own, expected = framework("keras"), truth(*(array[:, 0, :, :3] for array in arrays()))
    found = {name: np.abs(own.read(output) - expected).max() > 1e-10 for name, output in keras_layers()}
    scores, attention = engine() == "tensorflow", engine() == "torch"
    assert found == {
        "mha fused": True,
        "gqa fused": True,
        "mha scores": scores,
        "gqa scores": scores,
        "attention": attention,
    }


@pytest.mark.engine
def test_keras_mha_refuses_values_of_another_size_on_jax():
    keras = pytest.importorskip("keras", reason="the peer keras.mha needs keras")
    query, key, _ = (keras.ops.convert_to_tensor(array[:, 0], "float32") for array in arrays())
    layer = keras.layers.MultiHeadAttention(2, 4, value_dim=3)
    if engine() != "jax":
        assert layer(query, key).shape == (1, 3, 8)
        return
    with pytest.raises(TypeError, match="cannot reshape"):
        layer(query, key)


@pytest.mark.engine
def test_keras_refuses_a_mask_of_one_axis_on_torch():
    keras = pytest.importorskip("keras", reason="the peer keras.ops needs keras")
    given = [keras.ops.convert_to_tensor(np.swapaxes(array, 1, 2), "float32") for array in arrays()]
    mask = keras.ops.convert_to_tensor(np.ones(4, bool))
    if engine() != "torch":
        assert keras.ops.dot_product_attention(*given, mask=mask).shape == (1, 3, 2, 8)
        return
    with pytest.raises(IndexError):
        keras.ops.dot_product_attention(*given, mask=mask)


def test_keras_spoils_float64():
    keras = pytest.importorskip("keras", reason="the peer keras.ops needs keras")
    own = framework("keras")
    given = [keras.ops.convert_to_tensor(np.swapaxes(array, 1, 2), "float64") for array in arrays()]
    output = keras.ops.dot_product_attention(*given)

    assert (
        own.dtype(output) == "float32" or np.abs(np.swapaxes(own.read(output), 1, 2) - truth(*arrays())).max() > 1e-10
    )


def test_deviations_of_a_released_library_are_named() -> None:
    pytest.importorskip("torch")
    found = diagnose_subject(peer("torch.mha.weights"))
    assert {finding.deviation for finding in found.findings} == {"empty-row.nan", "padding.times-zero"}
