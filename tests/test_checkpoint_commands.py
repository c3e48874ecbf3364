"""The commands `inspect`, `convert` and `verify` on checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("safetensors")

from attention_ref import weights
from attention_ref.cli import main
from attention_ref.commands import verify
from tests.families import FAMILIES
from tests.families.family import Family
from tests.families.peer import Peer

BY_NAME = {family.name: family for family in FAMILIES}


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    return Peer(BY_NAME["gpt2"], seed=4).save(tmp_path / "gpt2")


def change(folder: Path, **keys: object) -> None:
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, **keys}))


def test_inspect(gpt2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(gpt2)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{gpt2}: gpt2, GPT2LMHeadModel: everything is understood"
    count = 19 * 8 + 7 * 8 + 2 * (12 * 8 * 8 + 13 * 8) + 16  # as in the paper: 12 m^2 and 13 m in each block
    assert lines[1] == f"parameters  {count:,}"
    assert main(["inspect", str(gpt2), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dtypes"] == {"F64": 28}


def test_inspect_says_first_what_is_not_understood(gpt2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(gpt2, twist=1, n_positions=6)
    assert main(["inspect", str(gpt2)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "2 PROBLEMS" in lines[0]
    assert lines[1:3] == ["  twist is not known: 1", "  transformer.wpe.weight is (7, 8), must be (6, 8)"]
    assert main(["inspect", str(gpt2.parent)]) == 2
    assert "a checkpoint is a folder with config.json" in capsys.readouterr().err


def test_convert_into_shards(gpt2: Path, tmp_path: Path) -> None:
    target = tmp_path / "shards"
    assert main(["convert", str(gpt2), str(target), "--to", "gpt2", "--shard-size", "2KB"]) == 0
    files = sorted(target.glob("*.safetensors"))
    assert len(files) > 1
    assert all(file.stat().st_size < 2000 + 2000 for file in files)  # the tensors, and the header of names
    (_, expected), (_, params) = weights.read(gpt2), weights.read(target)
    assert all(np.array_equal(params[name], array) for name, array in expected.items())
    for size in ("0", "-1", "2XB", "much"):
        with pytest.raises(SystemExit):
            main(["convert", str(gpt2), str(tmp_path / "other"), "--to", "gpt2", "--shard-size", size])


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Llama without biases is Mistral without a window; GPT-2 is neither."""
    llama = Peer(BY_NAME["llama"], seed=4).save(tmp_path / "llama")
    own, mistral = tmp_path / "own.safetensors", tmp_path / "mistral"
    assert main(["convert", str(llama), str(own), "--to", "attention_ref"]) == 0
    assert main(["convert", str(own), str(mistral), "--to", "mistral"]) == 0
    config, params = weights.read(llama)
    again, same = weights.read(mistral)
    assert again == config
    assert all(np.array_equal(same[name], array) for name, array in params.items())
    capsys.readouterr()
    assert main(["convert", str(llama), str(tmp_path / "gpt2"), "--to", "gpt2"]) == 1
    assert "the family gpt2 must be able to express the configuration" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "mixtral", "bert", "vit-classifier", "whisper", "t5"])
def test_verify(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_others", lambda: ["torch"])
    folder = Peer(BY_NAME[name], seed=4).save(tmp_path / name)
    assert main(["verify", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("the same everywhere; compared with the NumPy backend in float64")
    assert lines[1].endswith("from the spread of 6 runs with perturbed roundings")
    assert [line.split()[0] for line in lines[2:]] == ["torch", "transformers"]
    shares = [float(line.partition(" taps is ")[2].split()[0]) for line in lines[2:]]
    assert shares[0] > 1 / 100  # the budget is near the errors
    assert max(shares) < 1


def test_verify_a_model_whose_tape_is_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_others", lambda: ["torch"])
    sizes = {"vocab_size": 5, "n_embd": 4, "n_layer": 1, "n_head": 1, "n_positions": 2, "n_inner": 3}
    folder = Peer(Family("gpt2", "GPT2LMHeadModel", {**BY_NAME["gpt2"].options, **sizes}), seed=4).save(tmp_path)
    assert main(["verify", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("from the specification's tape")
    assert float(lines[2].partition(" taps is ")[2].split()[0]) > 1 / 100


@pytest.mark.parametrize(
    ("program", "tap", "change"),
    [
        ("torch", "decoder.blocks.1.self_attention.output", 1e-12),
        ("torch", "output", 1e-12),
        ("transformers", "decoder.blocks.0.output", 1e-4),
        ("transformers", "output", 1e-4),
    ],
)
def test_verify_names_the_first_tap_that_differs(
    program: str,
    tap: str,
    change: float,
    gpt2: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Errors a few times as large as the budget of their dtype."""
    monkeypatch.setattr(verify, "_others", lambda: ["torch"])
    function = "in_room" if program == "torch" else "in_transformers"
    right = getattr(verify, function)

    def wrong(*arguments: object) -> dict[str, np.ndarray]:
        taps = right(*arguments)
        return {**taps, tap: taps[tap] * (1 + change)}

    monkeypatch.setattr(verify, function, wrong)
    assert main(["verify", str(gpt2)]) == 1
    out = capsys.readouterr().out
    assert f"NOT the same in {program};" in out
    assert f"the first above it: {'head.output' if tap == 'output' else tap}, " in out


def test_verify_names_a_program_that_fails(
    gpt2: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_others", lambda: ["torch"])

    def failing(*_: object) -> object:
        raise KeyError("x")

    monkeypatch.setattr(verify, "in_room", failing)
    assert main(["verify", str(gpt2)]) == 1
    out = capsys.readouterr().out
    assert "NOT the same in torch;" in out
    assert "FAILED with KeyError: 'x'" in out
