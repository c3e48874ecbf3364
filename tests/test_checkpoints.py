"""Checkpoints on disk: every trap of released files, bit-identical writing, damaged and hostile files."""

from __future__ import annotations

import json
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("safetensors")

import torch
from safetensors.numpy import load_file, save_file

from attention_ref import weights
from attention_ref.spec.errors import SpecificationError
from attention_ref.weights.examination import examine
from tests.families import FAMILIES
from tests.families.family import Family
from tests.families.inputs import random_inputs
from tests.families.peer import Peer, only_float64
from tests.families.rooms import in_room

TENSORS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
ROUND_TRIPS = [*FAMILIES, *(family.varying(seed) for family in FAMILIES if family.varied for seed in (1, 4))]
BY_NAME = {family.name: family for family in ROUND_TRIPS}
_peers: dict[str, tuple[Peer, Path]] = {}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Peer, Path]]:
    """A function that saves the model of a family, once."""

    def save(name: str) -> tuple[Peer, Path]:
        if name not in _peers:
            peer = Peer(BY_NAME[name], seed=4)
            _peers[name] = (peer, peer.save(tmp_path_factory.mktemp(name)))
        return _peers[name]

    return save


@pytest.fixture
def checkpoint(saved: Any, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies a saved model with changed keys and tensors."""

    def copy(
        name: str, keys: dict[str, Any] | None = None, change: Callable[[dict[str, Any]], Any] | None = None
    ) -> Path:
        folder = tmp_path / "copy"
        shutil.copytree(saved(name)[1], folder)
        data = json.loads((folder / CONFIG).read_text()) | (keys or {})
        (folder / CONFIG).write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))
        if change is not None:
            tensors = load_file(folder / TENSORS)
            (folder / TENSORS).unlink()
            tensors = change(tensors) or tensors
            save_file(tensors, folder / TENSORS)
        return folder

    return copy


def answers(folder: Path, family: Family, peer: Peer) -> np.ndarray:
    """The answers of the NumPy room to a checkpoint."""
    inputs = random_inputs(family, peer.config, seed=7)
    return in_room("numpy")(*weights.read(folder))(*inputs.ours, **inputs.options)


def assert_answers(folder: Path, name: str, saved: Any) -> None:
    """See that a changed checkpoint still answers as `transformers` does with the unchanged one."""
    peer = saved(name)[0]
    expected = peer(**random_inputs(peer.family, peer.config, seed=7).theirs)[peer.family.output]
    actual = answers(folder, peer.family, peer)
    if not peer.family.padding:
        actual, expected = actual[0], expected[0]
    assert np.max(np.abs(actual - expected)) <= 1e-10 * np.max(np.abs(expected))


def renamed(old: str, new: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tensors: {name.replace(old, new): array for name, array in tensors.items()}


def refused(folder: Path, *texts: str) -> None:
    with pytest.raises(SpecificationError) as error:
        weights.read(folder)
    assert str(error.value).startswith("weights.read: ")
    for text in texts:
        assert text in str(error.value)


# round trips


@pytest.mark.parametrize("family", ROUND_TRIPS, ids=lambda family: family.name)
def test_writing_is_the_inverse_of_reading(family: Family, saved: Any, tmp_path: Path) -> None:
    """Every tensor bit by bit, and `transformers` loads it, answers the same and warns of nothing."""
    peer, folder = saved(family.name)
    config, params = weights.read(folder)
    keys = json.loads((folder / CONFIG).read_text())
    tokens = {key: value for key, value in keys.items() if key.endswith("token_id")}
    weights.write(tmp_path / "again", config, params, peer.config.model_type, keys=tokens)
    theirs, ours = load_file(folder / TENSORS), load_file(tmp_path / "again" / TENSORS)
    assert set(ours) == set(theirs)
    for name in set(theirs) - set(examine(folder).unused):  # the value of what nothing reads is free
        array = theirs[name]
        assert (ours[name].dtype, ours[name].shape) == (array.dtype, array.shape)
        assert ours[name].tobytes() == array.tobytes()
    with only_float64():
        loaded, report = type(peer.model).from_pretrained(
            tmp_path / "again", output_loading_info=True, dtype=torch.float64, **peer.paths
        )
    assert not any(report.values())
    again, _ = weights.read(tmp_path / "again")
    assert again == config
    peer = Peer.__new__(Peer)
    peer.family, peer.model, peer.config = family, loaded.eval(), loaded.config
    expected = _peers[family.name][0]
    inputs = random_inputs(family, expected.config, seed=7).theirs
    np.testing.assert_allclose(peer(**inputs)[family.output], expected(**inputs)[family.output], rtol=0, atol=1e-12)


def test_a_configuration_that_a_family_has_not_is_refused(saved: Any, tmp_path: Path) -> None:
    config, params = weights.read(saved("llama")[1])
    with pytest.raises(SpecificationError, match=r"(?s)weights\.write: the family gpt2 .*norm"):
        weights.write(tmp_path / "x", config, params, "gpt2")
    assert not (tmp_path / "x").exists()
    with pytest.raises(SpecificationError, match="the family must be one of albert, bart, bert"):
        weights.write(tmp_path / "x", config, params, "lama")


def test_nothing_is_written_over(saved: Any, tmp_path: Path) -> None:
    config, params = weights.read(saved("gpt2")[1])
    weights.write(tmp_path, config, params, "gpt2")
    with pytest.raises(SpecificationError, match="must not contain a checkpoint"):
        weights.write(tmp_path, config, params, "gpt2")


# the four mistakes of a mapping by hand that no error shows


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("gemma2", {"hidden_size": 16}),  # the scale of the embedding
        ("qwen3", {"head_dim": 6}),  # as many heads as a head has sizes, or not
        ("gpt2", {"layer_norm_epsilon": 0.03}),
        ("bert-maskedlm", {"hidden_act": "gelu"}),
        ("bert-maskedlm", {"hidden_act": "gelu_new"}),
    ],
)
def test_silent_mistakes(name: str, keys: dict[str, Any], tmp_path: Path) -> None:
    """Scaled embeddings, heads and their sizes, eps and the two GELUs are as `config.json` says."""
    family = BY_NAME[name]
    changed = Family(**{**vars(family), "options": {**family.options, **keys}})
    peer = Peer(changed, seed=9)
    peer.save(tmp_path)
    expected = peer(**random_inputs(changed, peer.config, seed=7).theirs)[changed.output]
    np.testing.assert_allclose(answers(tmp_path, changed, peer), expected, rtol=0, atol=1e-10 * np.abs(expected).max())


# traps of released files


@pytest.mark.parametrize(
    ("name", "copy", "original"),
    [
        ("gpt2", "lm_head.weight", "transformer.wte.weight"),
        ("whisper", "proj_out.weight", "model.decoder.embed_tokens.weight"),
        ("bart", "model.encoder.embed_tokens.weight", "model.shared.weight"),
        ("t5", "lm_head.weight", "shared.weight"),
        ("bert-maskedlm", "cls.predictions.decoder.bias", "cls.predictions.bias"),
    ],
)
def test_a_tied_tensor_may_be_absent_or_a_copy(
    name: str, copy: str, original: str, checkpoint: Any, saved: Any
) -> None:
    assert copy not in load_file(saved(name)[1] / TENSORS)
    folder = checkpoint(name, change=lambda tensors: tensors | {copy: tensors[original].copy()})
    assert_answers(folder, name, saved)


def test_a_tied_tensor_may_be_stored_by_its_other_name(checkpoint: Any, saved: Any) -> None:
    assert_answers(checkpoint("gpt2", change=renamed("transformer.wte.weight", "lm_head.weight")), "gpt2", saved)


def test_a_copy_that_differs(checkpoint: Any) -> None:
    """A projection of its own is read as one, as `transformers` does; another copy is refused."""
    config, params = weights.read(
        checkpoint("gpt2", change=lambda tensors: tensors | {"lm_head.weight": tensors["transformer.wte.weight"] + 1})
    )
    assert not config.head.tied
    np.testing.assert_array_equal(params["head.kernel"], params["decoder.embedding.token"].T + 1)


def test_a_second_embedding_that_differs_is_refused(checkpoint: Any) -> None:
    name = "model.encoder.embed_tokens.weight"
    folder = checkpoint("bart", change=lambda tensors: tensors | {name: tensors["model.shared.weight"] + 1})
    refused(folder, f"{name} differs from model.shared.weight, of which it must be a copy")


def test_positions_of_marian_are_computed_or_compared(checkpoint: Any, saved: Any) -> None:
    name = "model.encoder.embed_positions.weight"
    tensors = load_file(saved("marian")[1] / TENSORS)
    assert name not in tensors
    table = saved("marian")[0].model.state_dict()[name].numpy().astype(np.float32)
    assert_answers(checkpoint("marian", change=lambda tensors: tensors | {name: table}), "marian", saved)


def test_other_positions_of_marian_are_refused(checkpoint: Any, saved: Any) -> None:
    name = "model.encoder.embed_positions.weight"
    table = saved("marian")[0].model.state_dict()[name].numpy()
    refused(checkpoint("marian", change=lambda tensors: tensors | {name: table + 1e-3}), f"{name} differs from what")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("gpt2", "transformer.", ""),
        ("bert-maskedlm", "bert.", ""),
        ("bert-sequenceclassification", "LayerNorm.weight", "LayerNorm.gamma"),
        ("bert-sequenceclassification", "LayerNorm.bias", "LayerNorm.beta"),
        ("opt", "model.decoder", "decoder"),
    ],
)
def test_names_of_older_files(name: str, old: str, new: str, checkpoint: Any, saved: Any) -> None:
    assert_answers(checkpoint(name, change=renamed(old, new)), name, saved)


def test_a_stack_alone_is_read_from_the_file_of_a_larger_model(checkpoint: Any) -> None:
    """A prefix that this class does not have, heads that it has not, and no pooler."""
    folder = checkpoint("bert-maskedlm", {"architectures": ["BertModel"]})
    assert weights.read(folder)[0].head is None


def test_constants_in_older_files_are_known(checkpoint: Any, saved: Any) -> None:
    mask = np.tril(np.ones((1, 1, 7, 7), np.uint8))
    extra = {"transformer.h.0.attn.bias": mask, "transformer.h.1.attn.masked_bias": np.float32([-1e4])}
    assert_answers(checkpoint("gpt2", change=lambda tensors: tensors | extra), "gpt2", saved)


def test_older_keys(checkpoint: Any, saved: Any) -> None:
    """The base of rotary positions beside them, sizes by their general names."""
    folder = checkpoint(
        "llama-linear", {"rope_parameters": ..., "rope_theta": 50.0, "rope_scaling": {"type": "linear", "factor": 3.0}}
    )
    assert_answers(folder, "llama-linear", saved)
    shutil.rmtree(folder)
    folder = checkpoint("neox", {"rope_parameters": ..., "rotary_emb_base": 77.0, "rotary_pct": 0.5})
    assert_answers(folder, "neox", saved)
    shutil.rmtree(folder)
    assert_answers(checkpoint("gpt2", {"n_embd": ..., "hidden_size": 8, "n_ctx": 7}), "gpt2", saved)


def test_keys_of_one_name_that_differ_are_refused(checkpoint: Any) -> None:
    refused(checkpoint("gpt2", {"hidden_size": 9}), "hidden_size is 9 and n_embd, the same key, 8")


def test_t5_says_only_in_the_file_whether_its_head_is_tied(saved: Any) -> None:
    keys = json.loads((saved("t5-1.1")[1] / CONFIG).read_text())
    assert keys["tie_word_embeddings"] is True
    config, params = weights.read(saved("t5-1.1")[1])
    assert not config.head.tied
    assert config.head.scale == 1
    assert "head.kernel" in params


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(dtype: str, tmp_path: Path) -> None:
    """Stored tensors are read bit by bit, or in another dtype."""
    peer = Peer(BY_NAME["gpt2"], seed=4)
    peer.model.to(getattr(torch, dtype)).save_pretrained(tmp_path)
    stored = weights.read(tmp_path)[1]
    wide = weights.read(tmp_path, dtype="float64")[1]
    tensors = {name: tensor.double().numpy() for name, tensor in peer.model.state_dict().items()}
    for name, theirs in (
        ("decoder.embedding.token", "wte.weight"),
        ("decoder.blocks.1.feedforward.input.kernel", "h.1.mlp.c_fc.weight"),
    ):
        assert stored[name].dtype.name == dtype
        np.testing.assert_array_equal(wide[name], tensors[f"transformer.{theirs}"])
        np.testing.assert_array_equal(stored[name].astype(np.float64), wide[name])
    weights.write(tmp_path / "again", *weights.read(tmp_path), "gpt2")
    assert (tmp_path / "again" / TENSORS).stat().st_size > 1000
    again = weights.read(tmp_path / "again")[1]
    assert all(again[name].tobytes() == array.tobytes() for name, array in stored.items())


def test_shards(saved: Any, tmp_path: Path) -> None:
    peer = saved("llama")[0]
    peer.model.save_pretrained(tmp_path, max_shard_size=4000)
    assert len([*tmp_path.glob("*.safetensors")]) > 2
    assert_answers(tmp_path, "llama", saved)


def test_shards_are_written_as_transformers_reads_them(saved: Any, tmp_path: Path) -> None:
    peer, folder = saved("llama")
    weights.write(tmp_path, *weights.read(folder), "llama", shard_bytes=4000)
    assert len([*tmp_path.glob("*.safetensors")]) > 2
    again = type(peer.model).from_pretrained(tmp_path, dtype=torch.float64).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in peer.model.state_dict().items())


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "5GB"])
def test_a_size_of_shards_that_is_none_is_refused(size: Any, saved: Any, tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match="shard_bytes must be an integer above 0"):
        weights.write(tmp_path, *weights.read(saved("gpt2")[1]), "gpt2", shard_bytes=size)


def test_reading_holds_no_more_than_the_parameters_and_a_tensor(tmp_path: Path) -> None:
    peer = Peer(Family("gpt2", "GPT2LMHeadModel", {**BY_NAME["gpt2"].options, "n_embd": 256, "n_layer": 6}), seed=1)
    peer.save(tmp_path)
    tracemalloc.start()
    params = weights.read(tmp_path)[1]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * sum(array.nbytes for array in params.values())


# what is refused, by name


UNSUPPORTED = [
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention is True"),
    ("gpt2", {"activation_function": "mish"}, "activation_function is 'mish'; supported are relu"),
    ("gpt2", {"n_layer": 10**9}, "n_layer is 1e+09; at most 1000"),
    ("gpt2", {"n_layer": 0}, "n_layer is 0; at least 1 makes sense"),
    ("gpt2", {"n_head": 3}, "model must be a multiple of heads"),
    ("gpt2", {"layer_norm_epsilon": "1e-5"}, "eps must be a finite number"),
    ("gpt2", {"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no'; it must be true or false"),
    ("gpt2", {"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}"),
    ("gpt2", {"auto_map": {"AutoModel": "x.y"}}, "auto_map is"),
    ("albert", {"num_hidden_groups": 3}, "num_hidden_groups is 3 and inner_group_num 1, with num_hidden_layers 2"),
    ("albert", {"inner_group_num": 501}, "num_hidden_groups is 1 and inner_group_num 501"),
    ("olmo", {"clip_qkv": 0.0}, "clip_qkv is 0.0; it must be above 0, or null"),
    ("bloom", {"slow_but_exact": True, "pretraining_tp": 2}, "slow_but_exact is True with pretraining_tp 2"),
    ("t5", {"dense_act_fn": "gelu"}, "feed_forward_proj is 'relu', but dense_act_fn 'gelu'"),
    ("t5", {"is_gated_act": True}, "feed_forward_proj is 'relu', but dense_act_fn 'relu' and is_gated_act True"),
    ("bloom", {"n_inner": 7}, "n_inner is 7; only None is supported"),
    ("llama", {"rope_parameters": {"rope_type": "proportional", "factor": 2.0}}, "rope_type is 'proportional'"),
    ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "mscale": 1.0}}, "mscale not supported"),
    (
        "stablelm",
        {"rope_parameters": {"partial_rotary_factor": 0.125}},
        "partial_rotary_factor is 0.125 of heads of 8; 1 components are not pairs",
    ),
    ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "this family rotates whole heads"),
    ("olmoe", {"clip_qkv": 8.0}, "clip_qkv is 8.0; only None is supported"),
    ("gpt-oss", {"swiglu_alpha": 1.5}, "swiglu_alpha is 1.5; only 1.702 is supported"),
    ("gpt-oss", {"quantization_config": {"quant_method": "mxfp4"}}, "quantization_config is {'quant_method': 'mxfp4'}"),
    ("qwen3-moe", {"num_local_experts": 1, "num_experts_per_tok": 2}, "chosen must be at most 1"),
    ("deepseek-v2", {"num_key_value_heads": 2}, "num_key_value_heads is 2; every head has keys of its own"),
    ("deepseek-v2", {"norm_topk_prob": True}, "norm_topk_prob is True; only False is supported"),
    ("deepseek-v2", {"scoring_func": "sigmoid"}, "scoring_func is 'sigmoid'; only 'softmax' is supported"),
    ("deepseek-v2", {"auto_map": {"AutoModel": "x.y"}}, "auto_map is"),
    ("deepseek-v3", {"head_dim": 8}, "head_dim is 8; it must be qk_rope_head_dim, 4"),
    ("deepseek-v3", {"moe_layer_freq": 2}, "moe_layer_freq is 2; only 1 is supported"),
    ("deepseek-v3", {"n_shared_experts": 0}, "n_shared_experts is 0; it must be at least 1"),
    ("youtu", {"v_head_dim": 0}, "value_size must be above 0"),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
    ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0"),
    ("phi", {"qk_layernorm": True}, "model.layers.0.self_attn.q_layernorm.weight (8,) is missing"),
    ("stablelm", {"qk_layernorm": False}, "model.layers.0.self_attn.q_layernorm.norms.0.weight (8,) is not known"),
    ("bert-maskedlm", {"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
    ("bert-maskedlm", {"is_decoder": True}, "is_decoder is True"),
    ("vit", {"pooler_act": "relu"}, "pooler_act is 'relu'"),
    ("marian", {"normalize_before": True}, "normalize_before is True"),
    ("t5", {"scale_decoder_outputs": None}, "scale_decoder_outputs is None; it must be true or false"),
    ("whisper", {"scale_embedding": True}, "scale_embedding is True"),
]


@pytest.mark.parametrize(("name", "keys", "text"), UNSUPPORTED, ids=lambda value: str(value)[:30])
def test_what_is_not_supported_is_refused(name: str, keys: dict[str, Any], text: str, checkpoint: Any) -> None:
    refused(checkpoint(name, keys), text)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_an_unknown_key_is_refused(family: Family, checkpoint: Any) -> None:
    refused(checkpoint(family.name, {"query_key_twist": 0.5}), "query_key_twist is not known: 0.5")


def test_all_problems_are_one_error(checkpoint: Any) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        del tensors["transformer.ln_f.weight"]
        tensors["transformer.wpe.weight"] = np.zeros((6, 8))
        tensors["transformer.h.0.attn.rank"] = np.zeros(3)
        tensors["transformer.h.1.ln_1.bias"] = np.zeros(8, np.int32)

    refused(
        checkpoint("gpt2", {"twist": 1, "add_cross_attention": True}, spoil),
        "a gpt2 checkpoint with",
        "twist is not known",
        "add_cross_attention is True",
        "transformer.ln_f.weight (8,) is missing",
        "transformer.wpe.weight is (6, 8), must be (7, 8)",
        "transformer.h.0.attn.rank (3,) is not known",
        "transformer.h.1.ln_1.bias is of dtype I32, must be a floating one",
    )


def test_other_families_and_classes_are_refused(checkpoint: Any) -> None:
    refused(checkpoint("gpt2", {"model_type": "mamba"}), "model_type must be one of albert, bart, bert", "'mamba'")


def test_other_classes_are_refused(checkpoint: Any) -> None:
    refused(
        checkpoint("gpt2", {"architectures": ["GPT2DoubleHeadsModel"]}), "architectures of gpt2 must be one of GPT2LM"
    )


@pytest.mark.parametrize("value", [None, [], [[]], {}, "GPT2Model", ["GPT2Model", "GPT2LMHeadModel"]], ids=repr)
def test_a_class_is_one_name(value: Any, checkpoint: Any) -> None:
    refused(checkpoint("gpt2", {"architectures": value}), "architectures of gpt2 must be one of GPT2LM")


# damaged and hostile files


def file_of(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(start: int, end: int, shape: Any = (1,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


HOSTILE = {
    "empty": (b"", "the header must lie within the file"),
    "short": (b"\x08\x00\x00", "the header must lie within the file"),
    "huge header": (file_of({}, length=2**62), "the header must lie within the file"),
    "truncated header": (file_of({"x": entry(0, 4)}, length=4000), "the header must lie within the file"),
    "truncated data": (file_of({"x": entry(0, 400, (100,))}, b"0000"), "the file must end with its last tensor"),
    "more data": (file_of({"x": entry(0, 4)}, b"00000000"), "the file must end with its last tensor"),
    "no JSON": (file_of(b"{'x': 1}"), "it must be a JSON object"),
    "a list": (file_of([1, 2]), "it must be a JSON object"),
    "no UTF-8": (file_of(b"\xff\xfe{}"), "it must be a JSON object"),
    "deep": (file_of(b'{"x":' + b"[" * 100_000), "it must be a JSON object"),
    "twice": (file_of(b'{"x": 1, "x": 2}'), "'x' twice"),
    "a name twice among many": (
        file_of(b'{"x": 1, ' + b", ".join(b'"%d": 1' % i for i in range(60_000)) + b', "x": 2}'),
        "'x' twice",
    ),
    "escapes": (file_of({"x\x1b[2J": entry(0, 4)}, b"0000"), "names must be printable"),
    "long name": (file_of({"x" * 1001: entry(0, 4)}, b"0000"), "names must be printable and of at most 1000"),
    "enormous and empty": (file_of({"x": entry(0, 0, (0, 2**62))}), "a shape must be one that fits into memory"),
    "huge integer": (file_of(b'{"x": ' + b"1" * 10_000 + b"}"), "it must be a JSON object"),
    "overlap": (file_of({"x": entry(0, 4), "y": entry(2, 6)}, b"000000"), "without overlap or gap"),
    "same place": (file_of({"x": entry(0, 4), "y": entry(0, 4)}, b"0000"), "without overlap or gap"),
    "gap": (file_of({"x": entry(0, 4), "y": entry(8, 12)}, b"0" * 12), "without overlap or gap"),
    "backwards": (file_of({"x": entry(4, 0)}, b"0000"), "as many bytes as its dtype and shape need"),
    "negative": (file_of({"x": entry(-4, 0)}, b"0000"), "a dtype, a shape and two data_offsets"),
    "boolean": (file_of({"x": entry(0, True)}, b"0"), "a dtype, a shape and two data_offsets"),
    "wrong size": (file_of({"x": entry(0, 4, (2,))}, b"0000"), "as many bytes as its dtype and shape need"),
    "enormous": (file_of({"x": entry(0, 4, (2**40, 2**40))}, b"0000"), "a shape must be one that fits into memory"),
    "large": (file_of({"x": entry(0, 4, (2**20, 2**20))}, b"0000"), "as many bytes as its dtype and shape need"),
    "unknown dtype": (
        file_of({"x": entry(0, 4, (4,), "F8_E4M3")}, b"0000"),
        "the dtype of a tensor must be one of F64",
    ),
    "dtype of another type": (
        file_of({"x": entry(0, 4, (1,), ["F32"])}, b"0000"),
        "the dtype of a tensor must be one of F64",
    ),
    "more keys": (file_of({"x": entry(0, 4) | {"run": "rm"}}, b"0000"), "a dtype, a shape and two data_offsets"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_damaged_file_is_one_error_that_names_it(kind: str, checkpoint: Any) -> None:
    """And little memory."""
    content, text = HOSTILE[kind]
    folder = checkpoint("gpt2")
    (folder / TENSORS).write_bytes(content)
    tracemalloc.start()
    refused(folder, text, str(folder / TENSORS))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30_000_000


def test_every_truncation_is_refused(checkpoint: Any) -> None:
    folder = checkpoint("gpt2")
    content = (folder / TENSORS).read_bytes()
    for length in range(0, len(content), 499):
        (folder / TENSORS).write_bytes(content[:length])
        refused(folder, TENSORS)


@pytest.mark.parametrize(
    "shard",
    [
        "../model.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..",
        "",
        "x.bin",
        "a\\b.safetensors",
        "./a.safetensors",
    ],
)
def test_a_shard_of_another_folder_is_refused(shard: str, checkpoint: Any) -> None:
    folder = checkpoint("gpt2")
    (folder / TENSORS).rename(folder.parent / TENSORS)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"x": shard}}))
    refused(folder, "a shard is a .safetensors file of the same folder", repr(shard))


@pytest.mark.parametrize(
    ("index", "text"),
    [
        ("[]", "it must be a JSON object"),
        ('{"weight_map": 3}', "weight_map must name the file of each tensor"),
        ('{"weight_map": {"x": 3}}', "weight_map must name the file of each tensor"),
        ('{"weight_map": {"x": "absent.safetensors"}}', "every shard must be there"),
        ('{"weight_map": {"x": "' + "long" * 1000 + '.safetensors"}}', "every shard must be there"),
        ('{"weight_map": {"x": "\\u0000.safetensors"}}', "every shard must be there"),
        ('{"weight_map": {"x": "\\ud800.safetensors"}}', "every shard must be there"),
        ('{"weight_map": {"x": "one.safetensors"}}', "must contain the tensors that are listed for it"),
    ],
)
def test_a_wrong_index_is_refused(index: str, text: str, checkpoint: Any) -> None:
    folder = checkpoint("gpt2")
    (folder / TENSORS).rename(folder / "one.safetensors")
    (folder / INDEX).write_text(index)
    refused(folder, text, INDEX)


def test_links_are_followed_as_in_the_cache_of_the_hub(checkpoint: Any, saved: Any) -> None:
    folder = checkpoint("gpt2")
    (folder / TENSORS).rename(folder.parent / "blob")
    (folder / TENSORS).symlink_to("../blob")
    assert_answers(folder, "gpt2", saved)
    (folder / TENSORS).unlink()
    (folder / TENSORS).symlink_to(TENSORS)
    refused(folder, "a folder with neither")


@pytest.mark.parametrize("name", [TENSORS, INDEX, CONFIG])
def test_a_pipe_is_not_waited_for(name: str, checkpoint: Any) -> None:
    folder = checkpoint("gpt2")
    (folder / TENSORS).unlink()
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    refused(folder, "a checkpoint is a folder with" if name == CONFIG else "a folder with neither")


@pytest.mark.parametrize("name", [INDEX, CONFIG])
def test_a_huge_file_of_text_is_not_read(name: str, checkpoint: Any) -> None:
    folder = checkpoint("gpt2")
    (folder / TENSORS).unlink()
    with (folder / name).open("wb") as file:
        file.truncate(2**40)
    refused(folder, name, "bytes are read")


def test_a_file_that_cannot_be_opened_is_one_error(checkpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint("gpt2")

    def denied(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(folder / CONFIG))

    monkeypatch.setattr(Path, "read_bytes", denied)
    refused(folder, "its files must be readable", "Permission denied")


def test_many_problems_are_one_short_error(checkpoint: Any) -> None:
    """A small file that asks for many blocks is refused in little memory."""
    folder = checkpoint("gpt2", {"n_layer": 100})
    tracemalloc.start()
    refused(folder, "and 176 more")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30_000_000


def test_a_pickle_is_refused_and_not_executed(checkpoint: Any) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("it was executed",))

    folder = checkpoint("gpt2")
    (folder / TENSORS).unlink()
    torch.save(Bomb(), folder / "pytorch_model.bin")
    refused(folder, "pytorch_model.bin", "a pickle can execute anything")
    (folder / "pytorch_model.bin").unlink()
    refused(folder, "a folder with neither")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', "[" * 100_000])
def test_a_wrong_config_is_refused(text: str, checkpoint: Any) -> None:
    folder = checkpoint("gpt2")
    (folder / CONFIG).write_text(text)
    refused(folder, CONFIG, "it must be a JSON object")


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "a checkpoint is a folder with config.json")
    refused(tmp_path / "absent", "a checkpoint is a folder with config.json")
