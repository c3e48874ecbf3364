"""The conventions that the probes find in released libraries agree with independent measurements.

The versions are those of tests/test_peers.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from attention_ref.backends import engine
from attention_ref.conformance import Dialect, UsageError
from attention_ref.conformance.peers import PEERS
from attention_ref.conformance.peers.defaults import DEFAULTS, default
from attention_ref.conformance.probes import SOMETHING_ELSE, ask, questions
from attention_ref.numpy import attention
from attention_ref.spec.clauses import clauses

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras itself

SDPA = "torch.sdpa torch.sdpa.math torch.flex transformers.sdpa"
MHA = "torch.mha torch.mha.weights torch.mha.eval torch.mha.eval.weights"
FUSED, SCORES = "keras.mha keras.gqa", "keras.mha.scores keras.gqa.scores"
KERAS = f"keras.ops {FUSED} {SCORES}"
KERAS_LAYERS = f"{FUSED} {SCORES} keras.attention"
JAX = "jax.sdpa flax.nnx"
FLAX = "flax.linen flax.nnx"
ONNX = "onnx.reference onnxruntime"
EAGER = "transformers.eager transformers.eager.gemma2"
X = "x_transformers x_transformers.flash"
NOT_ONE_ROW = "error: RuntimeError: The shape of the 2D attn_mask"

FACTS: dict[str, dict[str, str]] = {  # by question and answer, or how it begins
    "causal-alignment": {"top left": f"{SDPA} {KERAS} keras.attention {JAX} {ONNX}", "bottom right": X},
    "causal-one-query": {"top left": f"torch.sdpa {KERAS} {JAX} {ONNX}", "bottom right": f"transformers.sdpa {X}"},
    "causal-hint": {
        "not causal": "torch.mha.eval torch.mha.eval.weights",
        "error: RuntimeError: Need attn_mask": "torch.mha torch.mha.weights",
    },
    "causal-and-mask": {
        "both hold": f"torch.sdpa torch.flex {KERAS} {JAX} {ONNX} {X}",
        "the mask alone": "transformers.sdpa",
        "error: RuntimeError": "torch.sdpa.math",
    },
    "causal-and-mask-of-one-row": {
        "both hold": f"torch.sdpa {KERAS} keras.attention {JAX} {X}",
        "only the first key": "onnx.reference",
    },
    "mask-true": {
        "attends": f"{SDPA} {KERAS} keras.attention {JAX} flax.linen {ONNX} {X}",
        "is hidden": MHA,
        "is added as 1": EAGER,
    },
    "mask-of-numbers": {
        "added": f"torch.sdpa torch.mha torch.mha.weights {EAGER} transformers.sdpa {ONNX}",
        "truth values: the mask is inverted": f"{FUSED} keras.mha.scores keras.attention {FLAX}",
        "error: ": "jax.sdpa x_transformers torch.flex",
    },
    "mask-of-integers": {
        "error: ": f"torch.sdpa torch.flex {MHA} transformers.sdpa jax.sdpa {X}",
        "truth values": f"{FUSED} {SCORES} keras.attention {FLAX}",
        "added": f"{ONNX} {EAGER}",
    },
    "mask-of-one-row": {
        "taken": f"torch.sdpa transformers.sdpa {KERAS} {JAX} onnx.reference {X}",
        NOT_ONE_ROW: "torch.mha torch.mha.weights",
        "cannot be asked: inconsistent q_sequence_length": "onnxruntime",
    },
    "mask-of-one-axis": {
        "taken": f"{JAX} onnx.reference x_transformers torch.sdpa.math",
        "error: IndexError": "torch.sdpa",
        "error: ValueError": f"{FUSED} {SCORES}",
        "cannot be asked: attn_mask must be 2D or 3D or 4D": "onnxruntime",
    },
    "mask-of-three-axes": {
        "heads": f"torch.sdpa keras.ops {JAX} flax.linen {ONNX}",
        "batch rows": f"{FUSED} {SCORES}",
        "error: RuntimeError: The shape of the 3D attn_mask": "torch.mha torch.mha.weights",
    },
    "mask-of-batch-rows": {
        "taken": f"torch.sdpa transformers.sdpa {KERAS} {JAX} flax.linen onnx.reference {EAGER} {X}",
        "cannot be asked: inconsistent q_sequence_length": "onnxruntime",
        "error: AssertionError": "torch.mha torch.mha.weights",
    },
    "bias-and-mask": {
        "both hold": f"{SDPA} torch.mha torch.mha.weights {JAX} flax.linen {ONNX} {EAGER} {X}",
        "cannot be asked: it has no bias": f"{FUSED} {SCORES} keras.attention",
    },
    "bias-of-float64": {
        "error: RuntimeError": f"torch.sdpa torch.mha transformers.sdpa {X}",
        "added": f"torch.flex {JAX} flax.linen {EAGER}",
    },
    "bias-of-float32": {
        "added": f"{SDPA} torch.mha {JAX} flax.linen {EAGER}",
        "error: RuntimeError": "torch.mha.weights x_transformers",
    },
    "empty-row": {
        "zero": f"{SDPA} torch.mha {SCORES} {ONNX} {X}",
        "NaN": "torch.mha.weights torch.mha.eval torch.mha.eval.weights",
        "the mean of the values": f"keras.ops {FUSED} {JAX} flax.linen {EAGER}",
    },
    "empty-batch-row": {"the mean of the values": "keras.attention"},
    "empty-row-by-causality": {
        "the mean of the values": f"keras.ops {FUSED} keras.attention {JAX} x_transformers",
        "zero": f"torch.sdpa {SCORES} {ONNX} x_transformers.flash",
    },
    "excluded-row": {
        "zero": f"{SDPA} torch.mha {ONNX} x_transformers.flash",
        "NaN": f"torch.mha.weights {JAX} flax.linen {EAGER} x_transformers",
    },
    "lowest-row": {
        "the mean of the values": f"{SDPA} torch.mha torch.mha.weights {JAX} flax.linen onnx.reference {EAGER} {X}",
        "zero": "onnxruntime",
    },
    "lowest-row-float16": {
        "the mean of the values": f"{SDPA} jax.sdpa keras.ops x_transformers.flash",
        "NaN": f"{EAGER} onnx.reference x_transformers",
    },
    "no-length": {
        "zero": f"torch.flex transformers.sdpa torch.mha {SCORES} {ONNX} {X}",
        "the mean of the values": f"{FUSED} keras.attention {JAX} flax.linen {EAGER}",
        "NaN": "torch.mha.weights torch.mha.eval",
    },
    "nan-in-future-value": {"reaches the output": f"{SDPA} {KERAS} keras.attention {JAX} {ONNX} {X}"},
    "nan-in-future-key": {
        "stays hidden": f"torch.sdpa torch.flex transformers.sdpa {KERAS} {JAX} {X}",
        "reaches the output": f"torch.sdpa.math keras.attention {ONNX}",
    },
    "nan-in-padded-value": {
        "reaches the output": f"torch.flex torch.mha transformers.sdpa {KERAS_LAYERS} {JAX} {ONNX} {X}"
    },
    "nan-in-padded-key": {
        "reaches the output": f"torch.mha transformers.sdpa keras.attention onnx.reference {EAGER} {X.split()[1]}",
        "stays hidden": f"torch.flex {SCORES} {JAX} flax.linen onnxruntime x_transformers",
    },
    "nan-in-hidden-value": {
        "reaches the output": f"{SDPA} {MHA} {KERAS} keras.attention {JAX} flax.linen {ONNX} {EAGER} {X}"
    },
    "nan-in-hidden-key": {
        "reaches the output": f"torch.sdpa {MHA} keras.attention {ONNX} {EAGER} x_transformers.flash",
        "stays hidden": f"torch.flex {SCORES} {JAX} flax.linen x_transformers",
    },
    "huge-hidden-key": {
        "reaches the output": "torch.sdpa torch.sdpa.math torch.mha",
        "stays hidden": f"torch.flex {JAX} x_transformers",
    },
    "large-hidden-key": {"wins": "keras.attention", "stays hidden": f"{SDPA} {MHA} {KERAS} {JAX} {ONNX} {EAGER} {X}"},
    "heads": {
        "grouped": f"{SDPA} keras.ops keras.gqa keras.gqa.scores {JAX} {ONNX} {EAGER}",
        "tiled": X,
        "cannot be asked: only as many key/value heads": f"{MHA} keras.mha keras.attention flax.linen",
    },
    "uneven-heads": {
        "error: ": f"{SDPA} keras.ops keras.gqa keras.gqa.scores {JAX} onnx.reference {EAGER} {X}",
        "cannot be asked: q_num_heads must be a multiple": "onnxruntime",
    },
    "default-scale": {
        "1/sqrt(size)": f"{SDPA} {MHA} {KERAS} {JAX} flax.linen {ONNX} {X}",
        "1": "keras.attention",
        "error: TypeError": EAGER,
    },
    "negative-scale": {
        "multiplies": f"{SDPA} keras.ops keras.attention jax.sdpa {EAGER} {X}",
        "NaN": "onnx.reference",
        "cannot be asked: scale must be greater than 0": "onnxruntime",
    },
    "softcap-and-bias": {
        "softcap, then bias": f"torch.flex {ONNX} transformers.eager.gemma2",
        "bias, then softcap": "x_transformers",
        "error: ValueError: attn_logits_soft_cap is only supported for JAX on TPU": "keras.ops",
    },
    "window": {"keeps 2 keys": f"{FUSED} {SCORES}", "keeps 3 keys": "torch.flex jax.sdpa onnx.reference"},
    "large-float16": {
        "finite": f"{SDPA} {MHA} {SCORES} {JAX} flax.linen {ONNX} x_transformers.flash",
        "NaN": f"{EAGER} keras.attention x_transformers",
    },
    "float64": {
        "double": f"{SDPA} {MHA} flax.linen onnx.reference x_transformers.flash",
        "single": f"{FUSED} {JAX} {EAGER} x_transformers",
    },
    "value-size": {
        "taken": f"{SDPA} flax.linen {ONNX} {EAGER} {X}",
        "error: ValueError: value shape should be": JAX,
    },
    "no-keys": {
        "zero": f"torch.sdpa torch.mha {KERAS} {JAX} flax.linen {EAGER} {X}",
        "cannot be asked: no keys: the evaluator raises ValueError": "onnx.reference",
        "cannot be asked: KV sequence length must be greater than 0": "onnxruntime",
    },
    "no-queries": {
        "empty": f"torch.sdpa {MHA} {KERAS} {JAX} flax.linen onnx.reference {EAGER} {X}",
        "error: RuntimeError": "transformers.sdpa",
        "cannot be asked: Q sequence length must be greater than 0": "onnxruntime",
    },
    "integers": {
        "error: RuntimeError": f"torch.sdpa transformers.sdpa {X}",
        "zeros": f"torch.flex jax.sdpa onnx.reference {EAGER}",
    },
    "mixed-dtypes": {
        "error: ": f"torch.sdpa torch.mha transformers.sdpa jax.sdpa {EAGER} {X}",
        "taken": f"torch.flex {KERAS} keras.attention flax.linen onnx.reference",
    },
    "weights": {
        "before dropout": f"{SCORES} x_transformers",
        "after dropout": "torch.mha.weights transformers.eager keras.attention",
    },
}
ON_AN_ENGINE = {  # of Keras
    "tensorflow": {
        "bias-and-mask": {"both hold": "keras.ops"},
        "huge-hidden-key": {"stays hidden": f"keras.ops {FUSED}"},
        "mask-of-integers": {"error: InvalidArgumentError": "keras.ops"},
        "mask-of-numbers": {"error: InvalidArgumentError": "keras.ops"},
        "empty-row-float16": {"the mean of the values": f"keras.ops {FUSED}"},
        "excluded-row": {"NaN": "keras.ops"},
        "nan-in-hidden-key": {"stays hidden": f"keras.ops {FUSED}"},
        "large-float16": {"NaN": f"keras.ops {FUSED}"},
        "float64": {"single": "keras.ops"},
        "multi-query": {"error: InvalidArgumentError": "keras.ops"},
        "value-size": {"taken": "keras.ops"},
        "integers": {"zeros": "keras.ops"},
    },
    "jax": {
        "bias-and-mask": {"both hold": "keras.ops"},
        "huge-hidden-key": {"stays hidden": f"keras.ops {FUSED}"},
        "mask-of-integers": {"truth values": "keras.ops"},
        "mask-of-numbers": {"truth values: the mask is inverted": "keras.ops"},
        "empty-row-float16": {"the mean of the values": f"keras.ops {FUSED}"},
        "excluded-row": {"NaN": "keras.ops"},
        "nan-in-hidden-key": {"stays hidden": f"keras.ops {FUSED}"},
        "large-float16": {"finite": f"keras.ops {FUSED}"},
        "float64": {"returns float32": "keras.ops", "double": SCORES},
        "value-size": {"error: TypeError": "keras.ops"},
        "integers": {"zeros": "keras.ops"},
    },
    "torch": {
        "bias-and-mask": {"error: ValueError: Only one of": "keras.ops"},
        "huge-hidden-key": {"reaches the output": f"keras.ops {FUSED}"},
        "mask-of-integers": {"truth values": "keras.ops"},
        "mask-of-numbers": {"truth values: the mask is inverted": "keras.ops"},
        "empty-row-float16": {"as if nothing were hidden": f"keras.ops {FUSED}"},
        "excluded-row": {"zero": "keras.ops"},
        "nan-in-hidden-key": {"reaches the output": f"keras.ops {FUSED}"},
        "large-float16": {"finite": f"keras.ops {FUSED}"},
        "float64": {"returns float32": "keras.ops", "double": SCORES},
        "value-size": {"taken": "keras.ops"},
        "integers": {"error: RuntimeError": "keras.ops"},
    },
}


def facts(table: dict[str, dict[str, str]]) -> list[Any]:
    return list(parameters(table))


def parameters(table: dict[str, dict[str, str]]) -> Iterator[Any]:
    for question, answers in table.items():
        for answer, names in answers.items():
            for name in names.split():
                marks = [pytest.mark.engine] if PEERS[name].runs_on == "keras" else []
                yield pytest.param(name, question, answer, marks=marks, id=f"{name}-{question}")


def check_answer(name: str, question: str, answer: str) -> None:
    for module in PEERS[name].modules:
        pytest.importorskip(module, reason=f"the peer {name} needs {module}")
    found = PEERS[name].answer(question)
    assert (
        found.startswith(answer) if ":" in answer and answer not in questions()[question].answers else found == answer
    )


@pytest.mark.parametrize(("name", "question", "answer"), facts(FACTS))
def test_facts(name: str, question: str, answer: str) -> None:
    check_answer(name, question, answer)


@pytest.mark.engine
@pytest.mark.parametrize(("name", "question", "answer"), facts(ON_AN_ENGINE.get(engine(), {})))
def test_facts_of_an_engine(name: str, question: str, answer: str) -> None:
    check_answer(name, question, answer)


def test_every_question_is_asked() -> None:
    asked = set(FACTS) | {question for table in ON_AN_ENGINE.values() for question in table}
    assert asked == set(questions())


SPECIFIED = {
    "causal-alignment": "top left",
    "causal-and-mask": "both hold",
    "mask-true": "attends",
    "empty-row": "zero",
    "excluded-row": "zero",
    "lowest-row": "the mean of the values",
    "nan-in-hidden-value": "stays hidden",
    "nan-in-hidden-key": "stays hidden",
    "large-hidden-key": "stays hidden",
    "heads": "grouped",
    "default-scale": "1/sqrt(size)",
    "softcap-and-bias": "softcap, then bias",
    "window": "keeps 3 keys",
    "large-float16": "finite",
    "float64": "double",
    "no-keys": "zero",
    "no-queries": "empty",
}


@pytest.mark.parametrize("question", SPECIFIED)
def test_the_answers_of_the_specification(question: str) -> None:
    assert ask(attention, Dialect(), question) == SPECIFIED[question]


def test_other_numbers_are_something_else() -> None:
    assert ask(lambda query, key, value: 2 * attention(query, key, value), Dialect(), "default-scale") == SOMETHING_ELSE


def test_what_cannot_be_asked_says_why() -> None:
    assert ask(lambda query, key, value: query, Dialect(), "mask-true") == "cannot be asked: it has no mask"
    assert "error: ZeroDivisionError" in ask(lambda query, key, value: 1 / 0, Dialect(), "default-scale")
    assert "value has the shape" not in ask(lambda query, key, value: np.zeros(3), Dialect(), "default-scale")


def test_unknown_question_is_named() -> None:
    with pytest.raises(UsageError, match=r"there is no question 'empty-rwo'; did you mean empty-row"):
        ask(attention, Dialect(), "empty-rwo")


BY_DEFAULT = {
    "torch.nn.GELU": "exact",
    "keras.activations.gelu": "exact",
    "keras.ops.gelu": "by tanh",
    "jax.nn.gelu": "by tanh",
    "flax.nnx.gelu": "by tanh",
    "torch.nn.LayerNorm": "1e-5",
    "keras.layers.LayerNormalization": "1e-3",
    "flax.nnx.LayerNorm": "1e-6",
    "torch.nn.RMSNorm": "the unit roundoff of the dtype, doubled",
    "keras.layers.RMSNormalization": "1e-6",
    "flax.nnx.RMSNorm": "1e-6",
}


@pytest.mark.parametrize(
    ("question", "name"),
    [
        pytest.param(question, name, marks=[pytest.mark.engine] if asked.arrays == "keras" else [], id=name)
        for question, names in DEFAULTS.items()
        for name, asked in names.items()
    ],
)
def test_defaults(question: str, name: str) -> None:
    pytest.importorskip(DEFAULTS[question][name].module)
    assert default(question, name) == BY_DEFAULT[name]


@pytest.mark.parametrize("question", [each for each in questions() if each not in ("causal-hint", "weights")])
def test_the_specified_answer_is_that_of_a_backend_and_belongs_to_a_clause(question: str) -> None:
    asked = questions()[question]
    assert asked.is_specified(ask(attention, Dialect(), asked))
    assert asked.clause in clauses()
