"""The first words of a check: what is the matter with what a newcomer gives it, and what to do."""

from __future__ import annotations

import math
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_ref import conformance
from attention_ref.cli import main
from attention_ref.conformance import PreflightError, check, dialects
from attention_ref.conformance.plain_call import Caller
from attention_ref.conformance.preflight import examine
from tests.wrong_attentions import RightAttention


def softmax(scores: Any) -> Any:
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def textbook(query, key, value, mask=None):
    """Attention as an article has it: np.sqrt is float64."""
    scores = query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    return softmax(scores) @ value


def without_scale(query, key, value, mask=None, causal=False):
    scores = query @ np.swapaxes(key, -1, -2) * query.dtype.type(query.shape[-1] ** -0.5)
    visible = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask, scores.shape)
    if causal:
        visible = visible & np.tri(*scores.shape[-2:], dtype=bool)
    return softmax(np.where(visible, scores, -np.inf)) @ value


def length_before_heads(q, k, v):
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    return np.einsum("bhqk,bkhd->bqhd", softmax(scores), v)


def length_first(q, k, v):
    scores = np.einsum("qbhd,kbhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    return np.einsum("bhqk,kbhd->qbhd", softmax(scores), v)


def folded(queries, keys, values, num_heads):
    def split(array):
        return array.reshape(*array.shape[:2], num_heads, -1).swapaxes(1, 2)

    output = textbook(split(queries), split(keys), split(values)).swapaxes(1, 2)
    return output.reshape(*output.shape[:2], -1)


def with_weights(query, key, value):
    weights = softmax(query @ np.swapaxes(key, -1, -2) / math.sqrt(query.shape[-1]))
    return weights @ value, weights


def value_first(value, key, query):
    return textbook(query, key, value)


def true_hides(query, key, value, mask=None):
    return textbook(query, key, value, None if mask is None else ~mask)


def other_names(q, k, v, attn_mask=None):
    return textbook(q, k, v, attn_mask)


def requires_mask(query, key, value, mask):
    return textbook(query, key, value, mask)


def forgets_return(query, key, value):
    textbook(query, key, value)


def scores_only(query, key, value):
    return softmax(query @ np.swapaxes(key, -1, -2)) * value.mean()


def single(x):
    return textbook(x, x, x)


class Attention:
    def __init__(self, model, heads):
        self.model, self.heads = model, heads

    def __call__(self, query, key, value):
        return textbook(query, key, value)


MODULE = types.ModuleType("lecture")
vars(MODULE).update(attention=textbook, softmax=softmax)

REFUSED = {
    "class": (Attention, "Attention is a class, not a function: check an instance"),
    "module": (MODULE, "lecture is a module, not a function: check a function in it, such as lecture:attention"),
    "number": (3, "int is a int, which cannot be called"),
    "requires a mask": (requires_mask, "requires the argument mask, .* such as mask=None"),
    "forgets to return": (forgets_return, "returns None instead of an array of numpy: add the `return`"),
    "another shape": (scores_only, r"returns the shape \(2, 3, 4, 5\) instead of \(2, 3, 4, 8\)"),
    "one array": (single, r"takes \(x\), and attention is called as single\(query, key, value\)"),
}
DIALECTS = {
    "length before heads": (length_before_heads, {"layout": "batch length heads size"}),
    "length first": (length_first, {"layout": "length batch heads size"}),
    "folded heads": (folded, {"layout": "batch length heads*size"}),
    "weights too": (with_weights, {"returns": ["output", "weights"]}),
    "value first": (value_first, {"arguments": {"query": "query", "key": "key", "value": "value"}}),
}
REMARKS = {
    "True hides": (true_hides, {"mask_true": "hides"}),
    "other names": (other_names, {"arguments": {"mask": "attn_mask"}}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_called_is_refused_in_a_sentence(name: str) -> None:
    function, words = REFUSED[name]
    with pytest.raises(PreflightError, match=words) as caught:
        check(function)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", DIALECTS)
def test_another_convention_is_named_with_a_dialect_that_works(name: str, tmp_path: Path) -> None:
    function, said = DIALECTS[name]
    with pytest.raises(PreflightError, match="is right where it is called in another way") as caught:
        check(function)
    assert said.items() <= tomllib.loads(caught.value.dialect).items()
    file = tmp_path / "found.toml"
    file.write_text(caught.value.dialect)
    (result,) = check(function, dialect=str(file), cases="attention/core/plain", dtypes=("float64",)).results
    assert result.verdict == "passed"


@pytest.mark.parametrize("name", REMARKS)
def test_a_function_that_can_be_called_gets_a_remark(name: str, tmp_path: Path) -> None:
    function, said = REMARKS[name]
    report = check(function, profiles=["core", "mask"], dtypes=["float64"])
    assert said.items() <= tomllib.loads(report.suggested_dialect).items()
    (tmp_path / "found.toml").write_text(report.suggested_dialect)
    dialect = dialects.read(tmp_path / "found.toml")
    assert check(function, dialect=dialect, cases="attention/mask/keys", dtypes=["float64"]).passed


@pytest.mark.parametrize("function", [RightAttention().attention, textbook, without_scale, Attention(8, 2)])
def test_a_right_function_is_never_refused(function: Any) -> None:
    assert examine(function, "numpy", Caller("float32")) == ("", "")


@pytest.mark.parametrize("reason", [NotImplementedError, conformance.Unsupported])
def test_what_is_not_offered_is_left_to_the_cases(reason: type[Exception]) -> None:
    def elsewhere(*_):
        raise reason("only on the second Tuesday")

    assert examine(elsewhere, "numpy", Caller("float32")) == ("", "")


def test_numbers_that_are_merely_wrong_are_left_to_the_cases() -> None:
    assert examine(lambda query, key, value: textbook(query, 2 * key, value), "numpy", Caller("float64")) == ("", "")


def test_arrays_of_torch_are_found() -> None:
    torch = pytest.importorskip("torch")

    def attention(query, key, value):
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
        return torch.softmax(scores, -1) @ value

    def on_gpu(query, key, value):
        return query + key.mean() + value.mean() + torch.ones(1, device="cuda")

    with pytest.raises(PreflightError, match=r'computes with arrays of torch, .* add arrays="torch" \(--arrays torch'):
        check(attention)
    assert examine(attention, "torch", Caller("float32")) == ("", "")
    builtin = torch.nn.functional.scaled_dot_product_attention
    for arrays in ("numpy", "torch"):
        with pytest.raises(PreflightError, match=r'is built in, .* add dialect="torch.sdpa"'):
            check(builtin, arrays=arrays)
    if not torch.cuda.is_available():
        with pytest.raises(PreflightError, match="needs a device that is not here"):
            check(on_gpu, arrays="torch")


def test_arrays_of_tensorflow_are_found() -> None:
    tensorflow = pytest.importorskip("tensorflow")

    def attention(query, key, value):
        scores = tensorflow.matmul(query, key, transpose_b=True) / math.sqrt(query.shape[-1])
        return tensorflow.matmul(tensorflow.nn.softmax(scores), value)

    with pytest.raises(PreflightError, match=r'computes with arrays of tensorflow, .* add arrays="tensorflow"'):
        check(attention)


def test_arrays_of_jax_are_found() -> None:
    jax = pytest.importorskip("jax")

    def attention(query, key, value):
        scores = jax.numpy.einsum("bhqd,bhkd->bhqk", query, key) / math.sqrt(query.shape[-1])
        return jax.nn.softmax(scores) @ value

    with pytest.raises(PreflightError, match=r'computes with arrays of jax, .* add arrays="jax"'):
        check(attention)


@pytest.fixture
def lecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module that has these functions."""
    (tmp_path / "lecture_first.py").write_text("from tests.test_first_answer import *\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("lecture_first", None)


@pytest.mark.parametrize("subject", ["lecture_first", "lecture_first:Attention", "lecture_first:length_before_heads"])
def test_the_command_ends_with_two(subject: str, lecture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", subject, "--write-dialect", "found.toml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert subject.rpartition(":")[2] in err
    assert (lecture / "found.toml").exists() == subject.endswith("heads")


def test_the_command_writes_the_dialect_of_a_remark(lecture: Path) -> None:
    main(["check", "lecture_first:true_hides", "--profile", "mask", "--write-dialect", "found.toml"])
    assert tomllib.loads((lecture / "found.toml").read_text())["mask_true"] == "hides"
