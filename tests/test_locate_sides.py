"""What `locate` compares: models of every framework, recorded tensors, and what its command reads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("safetensors")

from safetensors.numpy import save_file
from transformers.model_debugging_utils import model_addition_debugger_context

import attention_ref.numpy
import attention_ref.torch
from attention_ref import cli, weights
from attention_ref.conformance import UsageError, locate
from attention_ref.conformance.divergence.model_inputs import made_inputs, torch_arguments
from attention_ref.conformance.divergence.torch_recorder import TorchRecorder
from attention_ref.spec.architecture import ModelConfig
from tests.planted_faults import made


def recorded(model: Any, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    return TorchRecorder(model, *torch_arguments(model, inputs), "model").run().values


def written(path: Path, tensors: dict[str, np.ndarray], *, in_order: bool = True) -> str:
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()}
    save_file(arrays, path, metadata={"order": json.dumps(list(arrays))} if in_order else None)
    return str(path)


def test_recorded_tensors_are_compared(tmp_path: Path) -> None:
    model, config, params = made("bert")
    inputs = made_inputs(config, 0)
    right = recorded(model, inputs)
    model.bert.encoder.layer[1].output.LayerNorm.eps = 1e-5
    wrong = recorded(model, inputs)
    reference = attention_ref.numpy.Transformer(config, params)
    good = written(tmp_path / "right.safetensors", right)
    bad = written(tmp_path / "wrong.safetensors", wrong)
    assert locate(reference, good, inputs).cause is None
    against_model = locate(reference, bad, inputs).cause
    assert against_model is not None
    assert against_model.tensor.name == "encoder.blocks.1.feedforward_norm"
    assert [each.deviation for each in against_model.findings] == ["norm.eps"]
    between = locate(good, written(tmp_path / "unordered.safetensors", wrong, in_order=False))
    assert between.cause is not None
    assert between.cause.tensor.name == "bert.encoder.layer.1.output.LayerNorm"
    assert between.cause.tensor.added is None
    assert "cannot be separated" in str(between)


@pytest.mark.parametrize("is_printed", [True, False])
def test_the_tree_of_the_model_debugger_is_read(
    is_printed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, config, params = made("bert")
    inputs = made_inputs(config, 0)
    reference = attention_ref.numpy.Transformer(config, params)
    arguments, options = torch_arguments(model, inputs)
    for eps, expected in ((1e-12, None), (1e-3, "encoder.blocks.1.feedforward_norm")):
        model.bert.encoder.layer[1].output.LayerNorm.eps = eps
        folder = tmp_path / str(eps)
        folder.mkdir()
        debugger = model_addition_debugger_context(
            model, debug_path=str(folder), do_prune_layers=False, use_repr=is_printed
        )
        monkeypatch.setattr(torch, "set_printoptions", lambda **_: None)  # it would change them for good
        with debugger, torch.no_grad():
            model.forward(*arguments, **options)
        (file,) = folder.glob("*FULL_TENSORS.json")
        found = locate(reference, str(file), inputs)
        assert (found.cause and found.cause.tensor.name) == expected, str(found)
        assert len(found.tensors) > 15
        assert found.cause is None or [each.deviation for each in found.cause.findings] == ["norm.eps"]


def small_encoder() -> tuple[ModelConfig, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the configuration of a pre-norm encoder of one block, random parameters, and tokens."""
    config = ModelConfig.encoder(
        vocab=30, model=16, heads=2, layers=1, feedforward=24, positions=None, activation="gelu"
    )
    generator = np.random.default_rng(0)
    shapes = {name: array.shape for name, array in weights.init(config).items()}
    params = {name: np.asarray(generator.normal(0, 0.3, shape), "float32") for name, shape in shapes.items()}
    return config, params, {"source": generator.integers(30, size=(2, 12)).astype("int32")}


class Residual(torch.nn.Module):  # type: ignore[misc, name-defined]
    """That encoder, whose residual sums are between its modules."""

    def __init__(self, params: dict[str, np.ndarray]) -> None:
        super().__init__()
        tensors = {name: torch.from_numpy(array) for name, array in params.items()}
        own = {name.removeprefix("encoder.blocks.0."): each for name, each in tensors.items()}
        flat = {
            name: each.reshape(-1, 16) if ".output." in name else each.reshape(len(each), -1)
            for name, each in own.items()
        }
        self.tokens = torch.nn.Embedding.from_pretrained(tensors["encoder.embedding.token"], freeze=False)
        self.attention = torch.nn.MultiheadAttention(16, 2, batch_first=True)
        parts = [f"self_attention.{part}" for part in ("query", "key", "value")]
        self.attention.in_proj_weight.data = torch.cat([flat[f"{part}.kernel"].T for part in parts])
        self.attention.in_proj_bias.data = torch.cat([own[f"{part}.bias"].flatten() for part in parts])
        self.attention.out_proj.weight.data = flat["self_attention.output.kernel"].T.contiguous()
        self.attention.out_proj.bias.data = own["self_attention.output.bias"]
        self.input, self.output = torch.nn.Linear(16, 24), torch.nn.Linear(24, 16)
        for name, linear in {"input": self.input, "output": self.output}.items():
            linear.weight.data = own[f"feedforward.{name}.kernel"].T.contiguous()
            linear.bias.data = own[f"feedforward.{name}.bias"]
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(16) for _ in range(3))
        scopes = ("encoder.blocks.0.self_attention_norm", "encoder.blocks.0.feedforward_norm", "encoder.norm")
        for norm, scope in zip(self.norms, scopes, strict=True):
            norm.weight.data, norm.bias.data = tensors[f"{scope}.gain"], tensors[f"{scope}.bias"]

    def forward(self, tokens: Any) -> Any:
        array = self.tokens(tokens) * 4.0
        normal = self.norms[0](array)
        array = array + self.attention(normal, normal, normal)[0]
        array = array + self.output(torch.nn.functional.gelu(self.input(self.norms[1](array))))
        return self.norms[2](array)


def test_tensors_that_a_residual_sum_reads_too_have_right_gradients() -> None:
    config, params, inputs = small_encoder()
    tokens = (torch.from_numpy(inputs["source"]),)
    found = locate(attention_ref.torch.Transformer(config, params), Residual(params), inputs, target_inputs=tokens)
    assert found.is_equal, str(found)
    assert "encoder.embedding.output" in {each.name for each in found.tensors if each.direction == "backward"}


def test_a_keras_model_is_compared() -> None:
    keras = pytest.importorskip("keras")
    config, params, inputs = small_encoder()
    norm, size = 1e-5, 16
    source = keras.Input((12,), dtype="int32")
    array = keras.layers.Embedding(30, size)(source) * float(size**0.5)
    normal = keras.layers.LayerNormalization(epsilon=norm)(array)
    array = array + keras.layers.MultiHeadAttention(2, size // 2)(normal, normal)
    hidden = keras.layers.Dense(24)(keras.layers.LayerNormalization(epsilon=norm)(array))
    array = array + keras.layers.Dense(size)(keras.ops.gelu(hidden, approximate=False))
    model = keras.Model(source, keras.layers.LayerNormalization(epsilon=norm)(array))
    model.set_weights(in_order_of_layers(params))
    right = locate(attention_ref.torch.Transformer(config, params), model, inputs)
    assert right.cause is None, str(right)
    gradients = [each for each in right.tensors if each.direction == "backward"]
    assert len(right.tensors) - len(gradients) == 13
    assert len(gradients) == 11, "every tensor but the last one and the heads, which are the input of a layer alone"
    assert all(each.added is not None for each in gradients)
    next(each for each in model.layers if isinstance(each, keras.layers.LayerNormalization)).epsilon = 1e-3
    wrong = locate(attention_ref.numpy.Transformer(config, params), model, inputs)
    assert wrong.cause is not None
    assert wrong.cause.tensor.name == "encoder.blocks.0.self_attention_norm"
    assert [each.deviation for each in wrong.cause.findings] == ["norm.eps"]


def in_order_of_layers(params: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return parameters in the order in which Keras creates the layers of the model above."""
    block = "encoder.blocks.0"
    scopes = [
        "encoder.embedding.token",
        f"{block}.self_attention_norm",
        *(f"{block}.self_attention.{name}" for name in ("query", "key", "value", "output")),
        f"{block}.feedforward_norm",
        f"{block}.feedforward.input",
        f"{block}.feedforward.output",
        "encoder.norm",
    ]
    return [
        array
        for scope in scopes
        for leaf in ("", ".gain", ".kernel", ".bias")
        if (array := params.get(f"{scope}{leaf}")) is not None
    ]


def test_a_backend_is_compared(room: ModuleType) -> None:
    config = ModelConfig.encoder_decoder(vocab=11, model=8, heads=2, layers=1, feedforward=12)
    params = {name: np.asarray(array, "float32") for name, array in weights.init(config).items()}
    reference, inputs = attention_ref.numpy.Transformer(config, params), made_inputs(config, 0)
    right = locate(reference, room.Transformer(config, params), inputs)
    assert right.cause is None, str(right)
    name = "decoder.blocks.0.cross_attention.key.kernel"
    wrong = locate(reference, room.Transformer(config, {**params, name: params[name] * np.float32(1.01)}), inputs)
    assert wrong.cause is not None
    assert wrong.cause.tensor.name == "decoder.blocks.0.cross_attention.key"
    assert [each.name for each in wrong.tensors if each.is_wrong] == ["decoder.blocks.0.cross_attention.key"]


def test_a_side_that_is_none_is_refused(tmp_path: Path) -> None:
    model, config, params = made("bert", layers=1)
    reference = attention_ref.numpy.Transformer(config, params)
    (tmp_path / "other.json").write_text("[1]")
    for target, message in (
        (3, "received int"),
        ({}, "no tensor with real numbers"),
        ({"a": np.ones(3)}, "no tensor of the target fits"),
        (str(tmp_path / "other.json"), "not the tree of the model debugger"),
        (str(tmp_path / "none.npz"), "are read from a .safetensors or a .json file"),
    ):
        with pytest.raises(UsageError, match=message):
            locate(reference, target, made_inputs(config, 0))
    with pytest.raises(UsageError, match="it needs inputs"):
        locate(reference, model)


FACTORY = """
import torch
from transformers import BertForMaskedLM

def right(path):
    return BertForMaskedLM.from_pretrained(path, dtype=torch.float32)

def wrong(path):
    model = right(path)
    model.bert.encoder.layer[0].intermediate.dense.bias = None
    return model

def none():
    raise RuntimeError("no weights")
"""


def test_a_factory_is_found_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a console script starts, whose search path has no working directory."""
    (tmp_path / "factories_here.py").write_text(FACTORY)
    (tmp_path / "reference.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    assert cli.main(["locate", "reference.safetensors", "factories_here:none"]) == 2
    assert "no weights" in capsys.readouterr().err


def test_the_command_reads_a_checkpoint_and_a_factory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, _, _ = made("bert", layers=1)
    checkpoint, file, picture = tmp_path / "checkpoint", tmp_path / "mine.py", tmp_path / "errors.svg"
    model.save_pretrained(checkpoint)
    file.write_text(FACTORY)
    assert cli.main(["locate", str(checkpoint), f"{file}:right", "--plot", str(picture)]) == 0
    assert capsys.readouterr().out.startswith("EQUAL: ")
    assert "</svg>" in picture.read_text()
    assert cli.main(["locate", str(checkpoint), f"{file}:wrong", "--json", "--forward-only"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["cause"]["tensor"]["name"] == "encoder.blocks.0.feedforward.input"
    assert [each["deviation"] for each in data["cause"]["findings"]] == ["projection.bias-missing"]
    for arguments, message in (
        ((str(checkpoint), f"{file}:none"), "no weights"),
        ((str(checkpoint), "missing.safetensors"), "does not exist"),
        ((str(checkpoint), "nothing"), "neither a folder"),
        ((str(checkpoint), f"{file}:right", "--map", "a"), "OURS=THEIRS"),
    ):
        assert cli.main(["locate", *arguments]) == 2
        assert message in capsys.readouterr().err
