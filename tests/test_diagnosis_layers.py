"""A diagnosis names what a wrong layer, model or other operation computes, and finds nothing in right ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import attention_ref.numpy
from attention_ref import cli
from attention_ref.conformance import OPERATIONS, cases, check, diagnose, room
from attention_ref.conformance.case import all_cases
from attention_ref.conformance.diagnosis import EVERY, Explanation, diagnose_subject, explain_call
from attention_ref.conformance.diagnosis.operation_formula import OperationFormula
from attention_ref.spec.clauses import clauses
from attention_ref.spec.config import FeedForwardConfig
from attention_ref.spec.parameters import parameters as tree
from attention_ref.vectors.call import Call
from tests.test_diagnosis import SLUGS as OF_ATTENTION
from tests.wrong_attentions import GALLERY as ATTENTIONS
from tests.wrong_attentions.other_mistakes import OTHER_MISTAKES
from tests.wrong_layers import GALLERY, WrongLayer
from tests.wrong_layers.other_mistakes import MISTAKES
from tests.wrong_layers.record import Mistake

pytestmark = pytest.mark.bare

SLUGS = {
    "sinusoidal_positions: Sines and cosines in two halves": "position.layout",
    "sinusoidal_positions: Sines and cosines alternate": "position.layout",
    "sinusoidal_positions: The other denominator": "position.denominator",
    "sinusoidal_positions: Angles in float32": "position.low-precision",
    "rotate: The sign of the sine": "rotary.reversed",
    "rotate: Neighbours are paired": "rotary.pairing",
    "rotate: Halves are paired": "rotary.pairing",
    "rotate: The whole head is rotated": "rotary.partial-ignored",
    "rotate: No linear scaling": "rotary.scaling-ignored",
    "rotate: No NTK scaling": "rotary.scaling-ignored",
    "rotate: No YaRN": "rotary.scaling-ignored",
    "rotate: No Llama 3 scaling": "rotary.scaling-ignored",
    "alibi_bias: Later keys are rewarded": "alibi.signed",
    "alibi_bias: One formula for every head count": "alibi.slopes",
    "alibi_bias: The offset is ignored": "distance-bias.offset-ignored",
    "relative_bias: Distances turned round": "relative-bias.reversed",
    "relative_bias: A decoder with both directions": "relative-bias.direction",
    "linear: Sums in the inputs' dtype": "precision.rounding",
    "layer_norm: Squares in the inputs' dtype": "precision.rounding",
    "rms_norm: Squares in the inputs' dtype": "precision.rounding",
    "linear: Kernels output-first": "projection.transposed",
    "layer_norm: The mean is kept": "norm.rms-for-layer",
    "layer_norm: Variance over m - 1": "norm.unbiased-variance",
    "layer_norm: eps outside the root": "norm.eps-outside-root",
    "layer_norm: A default of eps": "norm.eps",
    "rms_norm: The dtype's eps": "norm.eps",
    "layer_norm: Mean of squares less square of mean": "precision.rounding",
    "layer_norm: Stored gains as they are": "norm.gain-offset-ignored",
    "rms_norm: Stored gains as they are": "norm.gain-offset-ignored",
    "rms_norm: The mean is subtracted": "norm.layer-for-rms",
    "activate: A leak": "relu.leaky",
    "activate: tanh for the exact form": "gelu.tanh-for-exact",
    "activate: The exact form for tanh": "gelu.exact-for-tanh",
    "activate: tanh for the sigmoid": "activation.gelu-tanh-for-quick-gelu",
    "activate: A scaled argument": "activation.quick-gelu-for-silu",
    "activate: A clipped line": "tanh.clipped",
    "activate: Infinity over infinity": "silu.overflow",
    "MultiHeadAttention: The output kernel by sizes, not heads": "projection.head-order",
    "MultiHeadAttention: Packed in another order": "projection.packed-order",
    "MultiHeadAttention: No biases": "projection.bias-missing",
    "MultiHeadAttention: Cross-attention is causal": "cross-attention.causal",
    "MultiHeadAttention: Value comes before key": "value.before-key",
    "MultiHeadAttention: Head i reads group i mod g": "heads.tiled",
    "MultiHeadAttention: The scale of m/h": "scale.model-over-heads",
    "MultiHeadAttention: Queries and keys not normalised": "query-key-norm.missing",
    "MultiHeadAttention: No rotation": "rotary.missing",
    "MultiHeadAttention: Keys of cross-attention are not rotated": "rotary.cross-keys-not-rotated",
    "MultiHeadAttention: A mask is ignored beside lengths": "mask.ignored-beside-lengths",
    "MultiHeadAttention: The window is ignored behind a cache": "window.ignored-behind-cache",
    "MultiHeadAttention: The window is one place wider behind a cache": "window.wider-behind-cache",
    "Block: The window is ignored behind a cache": "window.ignored-behind-cache",
    "Block: The window is one place wider behind a cache": "window.wider-behind-cache",
    "Transformer: The window is ignored behind a cache": "window.ignored-behind-cache",
    "Transformer: The window is one place wider behind a cache": "window.wider-behind-cache",
    "MultiHeadAttention: Given positions are ignored": "positions.ignored",
    "MultiHeadAttention: No bias of distance": "distance-bias.missing",
    "MultiHeadAttention: Positions start again": "rotary.offset",
    "FeedForward: The output kernel transposed": "projection.transposed",
    "FeedForward: Gate and input exchanged": "gate.exchanged",
    "FeedForward: No biases": "projection.bias-missing",
    "LatentAttention: No norm": "latent.norm-missing",
    "LatentAttention: The rotary key is normalised": "latent.rotary-key-normalised",
    "LatentAttention: Queries' latent not normalised": "latent.query-norm-missing",
    "LatentAttention: The shared key is not rotated": "latent.rotary-key-not-rotated",
    "LatentAttention: The first numbers are rotated": "latent.first-part-rotated",
    "LatentAttention: Halves are paired": "rotary.pairing",
    "LatentAttention: The scale of the content": "latent.scale-size",
    "LatentAttention: The scale of the rotary part": "latent.scale-size",
    "LatentAttention: The scale of the absorbed form": "latent.scale-size",
    "LatentAttention: mscale once": "latent.mscale-once",
    "LatentAttention: No mscale": "latent.mscale-missing",
    "LatentAttention: mscale of a factor below 1": "latent.mscale-of-small-factors",
    "LatentAttention: No biases": "projection.bias-missing",
    "LatentAttention: Positions start again": "rotary.offset",
    "MixtureOfExperts: The last of equal scores": "experts.ties-last",
    "MixtureOfExperts: A softmax for the sigmoid": "experts.softmax",
    "MixtureOfExperts: Weights that do not sum to 1": "experts.not-normalised",
    "MixtureOfExperts: The softmax over the chosen logits alone": "experts.normalised",
    "MixtureOfExperts: Weights are not scaled": "experts.scale-missing",
    "MixtureOfExperts: A router without its bias": "experts.router-bias-missing",
    "MixtureOfExperts: The bias of correction is ignored": "experts.correction-missing",
    "MixtureOfExperts: Experts of every group": "experts.groups-ignored",
    "MixtureOfExperts: Groups by their largest score": "experts.group-largest",
    "MixtureOfExperts: No shared expert": "experts.shared-missing",
    "MixtureOfExperts: A shared expert without its gate": "experts.shared-gate-missing",
    "Block: Pre for post": "norm.pre-for-post",
    "Block: Post for pre": "norm.post-for-pre",
    "Block: No second norm": "norm.output-missing",
    "Block: One branch after the other": "parallel.in-sequence",
    "Block: A norm for each branch": "norm.not-shared",
    "Block: Cross-attention is causal": "cross-attention.causal",
    "Block: The memory's padding is seen": "memory.padding-seen",
    "Block: The memory has the mask of the input": "memory.mask-of-input",
    "Block: Cross-attention begins at 0 again": "cross-attention.offset-ignored",
    "Transformer: Cross-attention begins at 0 again": "cross-attention.offset-ignored",
    "Block: The memory's mask is ignored": "memory.mask-ignored",
    "Transformer: The sequence is reversed": "embedding.reversed",
    "Transformer: One block for all": "blocks.first-only",
    "Transformer: Learned positions left out": "position.missing",
    "Transformer: Learned positions from row 0": "position.offset-ignored",
    "Transformer: Padding is counted": "position.padding-counted",
    "Transformer: The embedding is not scaled": "embedding.not-scaled",
    "Transformer: The embedding is not normalised": "embedding.norm-missing",
    "Transformer: Types left out": "embedding.types-missing",
    "Transformer: Squares column by column": "patches.by-column",
    "Transformer: Padding at the end alone": "audio.padded-at-end",
    "Transformer: No final norm": "norm.final-missing",
    "Transformer: Always a final norm": "norm.final-added",
    "Transformer: The bias in the first block alone": "relative-bias.first-block-only",
    "Transformer: The source's padding is seen": "memory.source-padding-seen",
    "Transformer: The decoder has an embedding of its own": "embedding.not-shared",
    "Transformer: The tied head is not transposed": "head.tied-not-transposed",
    "Transformer: No bias of the head": "head.bias-missing",
    "Transformer: The head is not scaled": "head.not-scaled",
    "Transformer: The scores are not bounded": "head.softcap-missing",
    "Transformer: No transform": "head.transform-missing",
    "Transformer: All places are averaged": "head.mean-of-positions",
    "Transformer: The first place is read": "head.first-for-last",
    "sinusoidal_positions: No offset": "position.offset-ignored",
    "rotate: Rounded ends": "rotary.ends-rounded",
    "rotate: No dynamic scaling": "rotary.scaling-ignored",
    "rotate: No LongRoPE": "rotary.scaling-ignored",
    "activate: Negative numbers too": "relu-squared.of-negative",
    "MultiHeadAttention: Values from the key input": "value-input.ignored",
    "MultiHeadAttention: No trained key": "trained-key.missing",
    "MultiHeadAttention: Nothing is clipped": "clip.missing",
    "MultiHeadAttention: One gain for all heads": "query-key-norm.first-gain",
    "MultiHeadAttention: Each head alone": "query-key-norm.each-head",
    "MultiHeadAttention: ALiBi without its factor": "alibi.factor-missing",
    "FeedForward: Dropout outside training": "results.random",
    "Block: No norm without a gain": "norm.without-gain-missing",
    "Block: Post for output": "norm.post-for-output",
    "Block: The residual starts at the input": "residual.not-normalised",
    "Block: A norm in every block": "norm.first-added",
    "Transformer: Padding has a code": "position.padding-coded",
    "Transformer: The second token stands first": "embedding.trained-exchanged",
    "Transformer: The projection is left out": "embedding.projection-missing",
    "MultiHeadAttention: Causal is ignored for one query": "causal.ignored-for-one-query",
    "Block: Causal is ignored for one query": "causal.ignored-for-one-query",
    "Transformer: Causal is ignored for one query": "causal.ignored-for-one-query",
    "Block: All heads have the mask of the first": "mask.of-first-head",
    "Transformer: All heads have the mask of the first": "mask.of-first-head",
    "Block: All heads have the bias of the first": "bias.of-first-head",
    "Block: The softcap is lost": "softcap.ignored",
    "Transformer: The softcap is lost": "softcap.ignored",
    "Block: The sinks are lost": "sinks.ignored",
    "Transformer: The sinks are lost": "sinks.ignored",
    "Block: The scale is lost": "scale.ignored",
    "Transformer: The scale is lost": "scale.ignored",
    "MultiHeadAttention: Gains of heads without their offset": "query-key-norm.gain-offset-ignored",
    "Block: Gains of heads without their offset": "query-key-norm.gain-offset-ignored",
    "Block: Keys of the memory are not rotated": "rotary.cross-keys-not-rotated",
    "Block: A mask is ignored beside lengths": "mask.ignored-beside-lengths",
    "Block: One norm for both branches": "norm.shared",
    "Transformer: One norm for both branches": "norm.shared",
    "Transformer: Positions that skip tokens begin again": "position.restarted",
    "LatentAttention: The key kernel by sizes": "projection.head-order",
    "FeedForward: The largest absolute input is unlimited": "gate.limit-missing",
    "FeedForward: The gate is limited from below too": "gate.limited-below",
    "FeedForward: Nothing is added": "gate.input-offset-missing",
    "MixtureOfExperts: Outputs summed without weights": "experts.unweighted",
    "MixtureOfExperts: Tokens beyond a capacity are dropped": "experts.capacity",
    "MixtureOfExperts: The same experts for the whole batch": "experts.same-for-batch",
    "MixtureOfExperts: A sigmoid for the softmax": "experts.sigmoid",
    "MixtureOfExperts: The scale before the normalisation": "experts.scale-cancelled",
    "MixtureOfExperts: The shared expert is scaled too": "experts.shared-scaled",
    "MixtureOfExperts: The bias of correction weighs": "experts.correction-weighs",
    "MixtureOfExperts: Groups compared without the bias of correction": "experts.groups-uncorrected",
}
"""What a diagnosis finds in each wrong layer of the gallery."""


def title(wrong: WrongLayer) -> str:
    return f"{wrong.operation}, {wrong.clause}: {wrong.title}"


def key(wrong: WrongLayer) -> str:
    return f"{wrong.operation}: {wrong.title}"


def slug(wrong: WrongLayer) -> str:
    return SLUGS[key(wrong)]


def test_every_wrong_layer_is_named_but_three_of_latent_attention() -> None:
    assert {key(wrong) for wrong in GALLERY if key(wrong) not in SLUGS} == {
        "LatentAttention: A rotary key for each head",
        "LatentAttention: Latents normalised again",
        "LatentAttention: Keys rotated again",
    }


@pytest.mark.parametrize("wrong", [wrong for wrong in GALLERY if key(wrong) in SLUGS], ids=title)
def test_a_wrong_layer_is_diagnosed_with_its_slug_and_no_other(wrong: WrongLayer) -> None:
    found = diagnose(wrong.subject, op=wrong.operation)
    assert not found.conforms
    assert [finding.deviation for finding in found.findings] == [slug(wrong)]


CASES = {case.id: case.clauses for case in all_cases()}
"""The clauses of every case."""


def of_attention() -> list[Mistake]:
    return [Mistake(wrong.slug, "attention", wrong().attention) for wrong in OTHER_MISTAKES]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "mistake", [*of_attention(), *MISTAKES], ids=lambda mistake: f"{mistake.operation}: {mistake.slug}"
)
def test_every_other_mistake_is_diagnosed_with_its_slug_and_breaks_its_clause(mistake: Mistake) -> None:
    found = diagnose(mistake.subject, op=mistake.operation)
    assert [finding.deviation for finding in found.findings] == [mistake.slug]
    assert len(found.unexplained) < len(found.wrong)
    (finding,) = found.findings
    assert any(finding.clause in CASES[case] for case in found.wrong) or clauses()[finding.clause].foundation


def test_every_deviation_is_shown_by_a_wrong_implementation() -> None:
    shown = {slug for slugs in OF_ATTENTION.values() for slug in slugs} | {*SLUGS.values()}
    shown |= {"additive.tanh-missing", "additive.kernels-ignored", "additive.kernels-exchanged", "visibility.ignored"}
    shown |= {"multiplicative.scaled", "multiplicative.kernel-transposed"}
    shown |= {mistake.slug for mistake in (*of_attention(), *MISTAKES)}
    assert {deviation.slug for deviation in EVERY} <= shown


@pytest.mark.parametrize(
    ("name", "slugs"),
    [
        ("AdditiveWithoutTanh", ["additive.tanh-missing"]),
        ("AdditiveWithoutKernels", ["additive.kernels-ignored"]),
        ("AdditiveKernelsSwapped", ["additive.kernels-exchanged"]),
        ("AdditiveSeesEverything", ["visibility.ignored"]),
        ("MultiplicativeScaled", ["multiplicative.scaled"]),
        ("MultiplicativeKernelTransposed", ["multiplicative.kernel-transposed"]),
        ("MultiplicativeSeesEverything", ["visibility.ignored"]),
    ],
)
def test_a_wrong_attention_with_other_scores_is_diagnosed(name: str, slugs: list[str]) -> None:
    (wrong,) = (each for each in ATTENTIONS if each.__name__ == name)
    assert [each.deviation for each in diagnose(wrong.function(), op=wrong.operation).findings] == slugs


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_right_operation_has_no_finding(operation: str) -> None:
    found = diagnose_subject(room(attention_ref.numpy, "numpy", ""), operation)
    assert found.conforms
    assert not found.findings
    assert not found.unexplained


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each != "attention"])
def test_the_formula_has_every_option_and_gives_the_expected_values(operation: str) -> None:
    of_operation = [case for case in all_cases() if case.operation == operation and case.dtypes]
    assert of_operation
    for case in of_operation:
        found = OperationFormula().results(case.call, "float64")
        for name in found.keys() & case.expected.keys():
            np.testing.assert_allclose(found[name], case.expected[name].values, 1e-9, 1e-11, err_msg=case.id)


FEEDFORWARD = FeedForwardConfig(model=16, hidden=24, activation="silu", gated=True)


def call_of(config: FeedForwardConfig) -> tuple[Call, Callable[[FeedForwardConfig], np.ndarray]]:
    """Return a call of a feed-forward network of real size, and the float32 output of NumPy's for any configuration."""
    random = np.random.default_rng(0)
    parameters = {name: random.normal(0, 0.3, each.shape).astype("f4") for name, each in tree(config).items()}
    array = random.normal(size=(2, 5, config.model)).astype("f4")
    call = Call("FeedForward", {"array": array.astype("f8")}, config=config, parameters=_widened(parameters))
    return call, lambda other: attention_ref.numpy.FeedForward(other, parameters)(array)


def _widened(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.astype("f8") for name, array in arrays.items()}


def test_one_call_of_a_layer_is_explained() -> None:
    call, output = call_of(FEEDFORWARD)
    (found,) = explain_call(call, {"output": output(replace(FEEDFORWARD, activation="gelu"))}, "float32").findings
    assert found.deviation == "activation.gelu-for-silu"
    assert found.clause == "activations.silu"
    assert found.cases == ("the call",)


def test_a_right_call_and_one_that_nothing_explains_have_no_finding() -> None:
    call, output = call_of(FEEDFORWARD)
    right = output(FEEDFORWARD)
    assert explain_call(call, {"output": right}, "float32") == Explanation()
    assert explain_call(call, {"output": np.flip(right, axis=-1)}, "float32") == Explanation()


def test_what_is_allowed_decides_whether_a_call_is_right() -> None:
    (case,) = (each for each in cases("rms_norm", "core") if each.call.options["eps"] == 1e-5)
    shifted = case.expected["output"].values * (1 + 1e-4)
    assert explain_call(case.call, {"output": shifted}, "float64") == Explanation()
    assert explain_call(case.call, {"output": shifted}, "float64", allowed={"output": np.abs(shifted)}) == Explanation()


def wrong_norm(array: Any, gain: Any, bias: Any = None, *, eps: float, gain_offset: float = 0.0) -> Any:  # noqa: ARG001
    return attention_ref.numpy.layer_norm(array, gain, bias, eps=1e-3, gain_offset=gain_offset)


def test_the_command_diagnoses_any_operation(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", f"{__name__}:wrong_norm", "--operation", "layer_norm"]) == 1
    text = capsys.readouterr().out
    assert "norm.eps: eps is 0.001, whatever is configured" in text
    assert "correct: pass the configured eps on" in text


def test_a_check_of_a_layer_begins_with_its_diagnosis() -> None:
    text = str(check(wrong_norm, op="layer_norm")).splitlines()
    assert any("eps is 0.001" in line for line in text[:10])
