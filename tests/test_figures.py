"""The figures of the site show what the installed libraries compute."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

for package in ("torch", "keras", "onnx", "onnxruntime"):
    pytest.importorskip(package)
if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    pytest.skip("the figure was made with TensorFlow", allow_module_level=True)

from docs.figures import empty_row
from docs.figures.__main__ import COLOURS, STATIC

MEANINGS = ["not a number", "the mean of the values", "zero"]


def test_three_libraries_give_three_answers_for_an_empty_row() -> None:
    assert [answer.meaning for answer in empty_row.answers()] == MEANINGS


@pytest.mark.parametrize("ground", COLOURS)
def test_the_figure_shows_the_answers_and_versions_of_today(ground: str) -> None:
    drawn = empty_row.draw(empty_row.answers(), COLOURS[ground])
    assert Path(STATIC / f"empty-row-{ground}.svg").read_text() == drawn + "\n"
