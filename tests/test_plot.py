"""Pictures: what is drawn, not its pixels."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from attention_ref import plot, spec
from attention_ref.conformance.frameworks.interface import Framework

pytest.importorskip("matplotlib")

WORDS = ["the", "cat", "sat"]
WEIGHTS = np.array([[[1, 0, 0], [0.25, 0.75, 0], [0.5, 0.125, 0.375]], [[1, 0, 0], [0, 1, 0], [0.001, 0.499, 0.5]]])


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_weights_are_drawn_per_head_with_words_and_values() -> None:
    figure = plot.weights(WEIGHTS, query_tokens=WORDS, key_tokens=WORDS)
    *heads, bar = figure.axes
    assert [axes.get_title() for axes in heads] == ["head 0", "head 1"]
    assert bar.get_ylabel() == "weight"
    for axes, expected in zip(heads, WEIGHTS, strict=True):
        (image,) = axes.images
        np.testing.assert_array_equal(image.get_array(), expected)
        assert (image.get_clim(), image.get_cmap().name) == ((0, 1), "cividis")
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("key", "query")
        assert labels(axes.xaxis) == labels(axes.yaxis) == WORDS
    assert texts(heads[0]) == ["1.00", "0", "0", "0.25", "0.75", "0", "0.50", "0.12", "0.38"]
    assert texts(heads[1])[-3:] == ["0.00", "0.50", "0.50"]


def test_numbers_are_left_out_where_they_would_not_fit() -> None:
    assert not plot.weights(np.full((13, 4), 0.25)).axes[0].texts


def test_numbers_stand_out_from_their_cells() -> None:
    axes = plot.weights(np.array([[0.0, 1.0]])).axes[0]
    assert [text.get_color() for text in axes.texts] == ["white", "black"]


def test_visibility_marks_what_may_be_seen() -> None:
    visible = {"causal": spec.causal_mask(2, 3, query_offset=1), "lengths": spec.length_mask([3, 1], 3)}
    figure = plot.visibility(visible)
    assert [axes.get_title() for axes in figure.axes] == ["causal", "lengths, row 0", "lengths, row 1"]
    assert [texts(axes) for axes in figure.axes] == [["•", "•", "", "•", "•", "•"], ["•", "•", "•"], ["•", "", ""]]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), [[1, 1, 0], [1, 1, 1]])
    assert labels(figure.axes[0].xaxis) == ["0", "1", "2"]


def test_positions_are_drawn_around_zero() -> None:
    codes = np.array([[0.0, -2.0, 1.0], [0.5, 1.0, 0.0]])
    axes, bar = plot.positions(codes).axes
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), codes)
    assert (image.get_clim(), image.get_cmap().name) == ((-2, 2), "PuOr")
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("component", "position", "value")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_arrays_of_every_room_are_read(room: ModuleType, room_arrays: Framework, dtype: str) -> None:
    query = room_arrays.make(np.eye(3)[None], dtype)
    _, weights = room.attention(query, query, query, causal=True, return_weights=True)
    figure = plot.weights(weights)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), room_arrays.read(weights)[0])
    assert texts(plot.visibility(room.causal_mask(1, 2)).axes[0]) == ["•", ""]


def test_a_tensor_with_gradients_is_read() -> None:
    torch = pytest.importorskip("torch")
    assert plot.positions(torch.ones(2, 2, requires_grad=True)).axes[0].images[0].get_array().sum() == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.weights(np.zeros(3)), r"received \(3,\)"),
        (lambda: plot.weights(np.zeros((0, 3))), r"received \(0, 3\)"),
        (lambda: plot.positions(np.zeros((1, 2, 3))), r"received \(1, 2, 3\)"),
        (lambda: plot.weights(np.zeros((2, 3)), query_tokens=WORDS), "2 queries have 3 words"),
        (lambda: plot.weights(np.zeros((2, 3)), key_tokens=WORDS[:2]), "3 keys have 2 words"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_drawing_leaves_pyplot_alone_and_its_absence_is_explained() -> None:
    code = (
        "import sys; from attention_ref import plot; plot.weights([[1.0]]).savefig('/dev/null', format='png'); "
        "print('matplotlib.pyplot' in sys.modules); "
        "sys.modules['matplotlib.figure'] = None; plot.weights([[1.0]])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["False"]
    assert "attention-ref[plot]" in run.stderr
