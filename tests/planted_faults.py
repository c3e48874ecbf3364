"""Small models of `transformers` with random numbers in every tensor, and faults that are planted in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn import functional
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.bert import modeling_bert
from transformers.models.llama import modeling_llama
from transformers.models.t5 import modeling_t5

from attention_ref import weights

Plant = Callable[[Any], "AbstractContextManager[Any] | None"]


def llama(layers: int) -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
            attention_bias=True,
        )
    )


def bert(layers: int) -> Any:
    return BertForMaskedLM(
        BertConfig(
            vocab_size=50,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=64,
        )
    )


def t5(layers: int) -> Any:
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=50,
            d_model=32,
            d_ff=48,
            d_kv=8,
            num_layers=layers,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
        )
    )


MODELS = {"llama": llama, "bert": bert, "t5": t5}


def made(family: str, *, seed: int = 0, layers: int = 2) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """Return a model with normal numbers of deviation 0.2, and its configuration and parameters as read from disk."""
    model = MODELS[family](layers).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2, generator=generator)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        config, params = weights.read(Path(folder))
        return model, config, {name: array.copy() for name, array in params.items()}


@dataclass(frozen=True)
class Fault:
    """A fault in a model of a family.

    Arguments:
        name: of the test.
        family: a key of `MODELS`.
        plant: changes the model, or returns a context in which a function of its module is another.
        tensor: the first tensor that is wrong.
        deviation: the slug of the cause.
    """

    name: str
    family: str
    plant: Plant
    tensor: str
    deviation: str

    def planted(self, model: Any) -> AbstractContextManager[Any]:
        """Plant the fault."""
        return self.plant(model) or nullcontext()


class Activation(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, array: Any) -> Any:
        return self.function(array)


def put(path: str, value: Any) -> Plant:
    """Return what sets an attribute of a submodule."""
    scope, _, name = path.rpartition(".")
    return lambda model: setattr(model.get_submodule(scope), name, value)


def exchange(scope: str, one: str, other: str, parts: tuple[str, ...] = ("weight", "bias")) -> Plant:
    """Return what exchanges the tensors of two projections."""

    def plant(model: Any) -> None:
        first, second = (model.get_submodule(f"{scope}.{name}") for name in (one, other))
        for part in parts:
            own, others = getattr(first, part), getattr(second, part)
            setattr(first, part, others)
            setattr(second, part, own)

    return plant


def neighbours_rotated(_: Any) -> Any:
    """Rotate 2i with 2i + 1."""

    def rotated(array: Any, cos: Any, sin: Any) -> Any:
        half = array.shape[-1] // 2
        c, s, even, odd = cos[:, None, :, :half], sin[:, None, :, :half], array[..., ::2], array[..., 1::2]
        return torch.stack((even * c - odd * s, odd * c + even * s), dim=-1).flatten(-2)

    def rotate(query: Any, key: Any, cos: Any, sin: Any, **_: Any) -> tuple[Any, Any]:
        return rotated(query, cos, sin), rotated(key, cos, sin)

    return mock.patch.object(modeling_llama, "apply_rotary_pos_emb", rotate)


def keys_one_late(model: Any) -> Any:
    """Rotate keys as if each stood one place later."""
    right = modeling_llama.apply_rotary_pos_emb

    def rotate(query: Any, key: Any, cos: Any, sin: Any, **_: Any) -> tuple[Any, Any]:
        late = model.model.rotary_emb(query, torch.arange(1, key.shape[2] + 1)[None])
        return right(query, key, cos, sin)[0], right(query, key, *late)[1]

    return mock.patch.object(modeling_llama, "apply_rotary_pos_emb", rotate)


def next_key_seen(module: Any) -> Plant:
    """Let every query see one key of the future."""

    def mask(*_: Any, inputs_embeds: Any, attention_mask: Any = None, **__: Any) -> Any:
        length = inputs_embeds.shape[1]
        visible = torch.ones(length, length, dtype=torch.bool).tril(1)[None, None]
        if attention_mask is not None:
            visible = visible & attention_mask[:, None, None].bool()
        least = torch.finfo(inputs_embeds.dtype).min
        return torch.zeros(visible.shape, dtype=inputs_embeds.dtype).masked_fill(~visible, least)

    return lambda _: mock.patch.object(module, "create_causal_mask", mask)


def padding_seen(_: Any) -> Any:
    """Let one place of padding be seen."""
    right = modeling_bert.create_bidirectional_mask

    def mask(*arguments: Any, attention_mask: Any, **options: Any) -> Any:
        longer = torch.cat([torch.ones_like(attention_mask[:, :1]), attention_mask[:, :-1]], dim=1)
        return right(*arguments, attention_mask=longer, **options)

    return mock.patch.object(modeling_bert, "create_bidirectional_mask", mask)


def positions_from_one(model: Any) -> None:
    model.bert.embeddings.position_ids = model.bert.embeddings.position_ids + 1


@contextmanager
def distances_one_large(_: Any) -> Iterator[None]:
    right = modeling_t5.T5Attention._relative_position_bucket

    def bucket(distance: Any, *arguments: Any, **options: Any) -> Any:
        return right(distance + 1, *arguments, **options)

    with mock.patch.object(modeling_t5.T5Attention, "_relative_position_bucket", staticmethod(bucket)):
        yield


def tanh_gelu(array: Any) -> Any:
    return functional.gelu(array, approximate="tanh")


_LLAMA, _BERT, _T5 = "model.layers.1", "bert.encoder.layer.1", "encoder.block.1.layer"
_ATTENTION = "decoder.blocks.0.self_attention"
FAULTS = (
    Fault(
        "llama-eps",
        "llama",
        put(f"{_LLAMA}.input_layernorm.variance_epsilon", 1e-5),
        "decoder.blocks.1.self_attention_norm",
        "norm.eps",
    ),
    Fault("llama-rotary-pairing", "llama", neighbours_rotated, f"{_ATTENTION}.heads", "rotary.pairing"),
    Fault(
        "llama-query-key-exchanged",
        "llama",
        exchange(f"{_LLAMA}.self_attn", "q_proj", "k_proj"),
        "decoder.blocks.1.self_attention.query_projection",
        "projection.packed-order",
    ),
    Fault(
        "llama-bias-missing",
        "llama",
        put(f"{_LLAMA}.self_attn.v_proj.bias", None),
        "decoder.blocks.1.self_attention.value",
        "projection.bias-missing",
    ),
    Fault(
        "llama-gelu-for-silu",
        "llama",
        put(f"{_LLAMA}.mlp.act_fn", Activation(functional.gelu)),
        "decoder.blocks.1.feedforward.hidden",
        "activation.gelu-for-silu",
    ),
    Fault("llama-mask-offset", "llama", next_key_seen(modeling_llama), f"{_ATTENTION}.heads", "causal.sees-next"),
    Fault("llama-position-off-by-one", "llama", keys_one_late, f"{_ATTENTION}.heads", "rotary.off-by-one"),
    Fault(
        "bert-eps",
        "bert",
        put(f"{_BERT}.output.LayerNorm.eps", 1e-5),
        "encoder.blocks.1.feedforward_norm",
        "norm.eps",
    ),
    Fault(
        "bert-query-key-exchanged",
        "bert",
        exchange(f"{_BERT}.attention.self", "query", "key"),
        "encoder.blocks.1.self_attention.query",
        "projection.packed-order",
    ),
    Fault(
        "bert-query-key-kernels-exchanged",
        "bert",
        exchange(f"{_BERT}.attention.self", "query", "key", ("weight",)),
        "encoder.blocks.1.self_attention.query",
        "projection.kernels-exchanged",
    ),
    Fault(
        "bert-bias-missing",
        "bert",
        put(f"{_BERT}.intermediate.dense.bias", None),
        "encoder.blocks.1.feedforward.input",
        "projection.bias-missing",
    ),
    Fault(
        "bert-tanh-gelu",
        "bert",
        put(f"{_BERT}.intermediate.intermediate_act_fn", Activation(tanh_gelu)),
        "encoder.blocks.1.feedforward.hidden",
        "gelu.tanh-for-exact",
    ),
    Fault(
        "bert-mask-offset",
        "bert",
        padding_seen,
        "encoder.blocks.0.self_attention.heads",
        "padding.one-too-long",
    ),
    Fault("bert-position-off-by-one", "bert", positions_from_one, "encoder.embedding.output", "position.off-by-one"),
    Fault(
        "t5-eps",
        "t5",
        put(f"{_T5}.1.layer_norm.variance_epsilon", 1e-5),
        "encoder.blocks.1.feedforward_norm",
        "norm.eps",
    ),
    Fault(
        "t5-query-key-exchanged",
        "t5",
        exchange(f"{_T5}.0.SelfAttention", "q", "k"),
        "encoder.blocks.1.self_attention.query",
        "projection.packed-order",
    ),
    Fault(
        "t5-exact-gelu",
        "t5",
        put(f"{_T5}.1.DenseReluDense.act", Activation(functional.gelu)),
        "encoder.blocks.1.feedforward.hidden",
        "gelu.exact-for-tanh",
    ),
    Fault("t5-mask-offset", "t5", next_key_seen(modeling_t5), f"{_ATTENTION}.heads", "causal.sees-next"),
    Fault(
        "t5-position-off-by-one",
        "t5",
        distances_one_large,
        "encoder.blocks.0.self_attention.heads",
        "relative-bias.off-by-one",
    ),
)
"""Seven faults in each family that can have them: T5 has no biases, and Llama alone rotates."""
