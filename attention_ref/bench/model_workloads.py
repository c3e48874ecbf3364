"""Models as workloads: a forward pass, a step of decoding and a step of training, beside the frameworks' own models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from attention_ref.bench.workload import Call, Contestant, Workload
from attention_ref.spec import Learned, ModelConfig
from attention_ref.spec.errors import SpecificationError

MODELS = ("forward", "step", "training")
GPT2: dict[str, Any] = {"vocab": 50257, "model": 768, "heads": 12, "layers": 6, "feedforward": 3072}
"""The sizes of the small GPT-2 with half its layers."""

TRAINED: dict[str, Any] = {"vocab": 1000, "model": 256, "heads": 4, "layers": 3, "feedforward": 1024}
BATCH = 8


def model(kind: str, length: int) -> Workload:
    """Return a model in float32 as a workload.

    Arguments:
        kind: `forward`, a 6-layer decoder of the size of GPT-2 reads `length` tokens; `step`, it reads one token behind
            a cache of `length`, which grows or, where the contestant says so, is static; `training`, forward and
            backward pass of a 3-layer encoder-decoder on 8 pairs of sentences.
        length: the number of tokens.

    Raises:
        SpecificationError: when there is no such kind.
    """
    if kind not in MODELS:
        raise SpecificationError(f"bench: kind must be one of {', '.join(MODELS)}; received {kind!r}")
    if kind == "training":
        sizes = f"batch {BATCH}, source and target {length}, model 256, heads 4, layers 3 and 3, float32"
        return Workload("model, training", length, sizes, _training(length))
    given = f"tokens {length}" if kind == "forward" else f"one token behind {length}"
    sizes = f"batch 1, {given}, model 768, heads 12, layers 6, vocabulary 50257, float32"
    makers = {"forward": (_forward, _transformers_forward), "step": (_step, _transformers_step)}[kind]
    ours, theirs = makers
    static = (
        Contestant("numpy static", partial(_step, "numpy", length, is_static=True)),
        Contestant("torch static", partial(_step, "torch", length, is_static=True), ("torch",)),
    )
    return Workload(
        f"model, {kind}",
        length,
        sizes,
        (
            Contestant("numpy", partial(ours, "numpy", length)),
            Contestant("torch", partial(ours, "torch", length), ("torch",)),
            Contestant("keras", partial(ours, "keras", length), ("keras",)),
            Contestant("transformers", partial(theirs, length), ("torch", "transformers"), is_fused=True),
            *(static if kind == "step" else ()),
        ),
    )


def _gpt2_config(length: int) -> ModelConfig:
    return ModelConfig.decoder(
        **GPT2, activation="gelu_tanh", positions=Learned(length=length + 1), scale_embedding=False
    )


def _room(name: str) -> Any:
    from attention_ref.backends import backend

    return backend(name)


def _decoder(name: str, length: int) -> Callable[..., Any]:
    """Return a backend's decoder without gradients."""
    from attention_ref import weights

    config = _gpt2_config(length)
    made = _room(name).Transformer(config, weights.init(config))
    return _inference(made.eval()) if name == "torch" else made


def _inference(function: Any) -> Callable[..., Any]:
    import torch

    def call(*given: Any, **options: Any) -> Any:
        with torch.no_grad():
            return function(*given, **options)

    return call


def _tokens(length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, GPT2["vocab"], (1, length))


def _forward(name: str, length: int) -> Call:
    return partial(_decoder(name, length), _tokens(length))


def _step(name: str, length: int, *, is_static: bool = False) -> Call:
    from attention_ref import weights

    config = _gpt2_config(length)
    made = _room(name).Transformer(config, weights.init(config))
    decode = _inference(made.eval().decode) if name == "torch" else made.decode
    _, cache = decode(_tokens(length), return_cache=True)
    if is_static:
        cache = made.static_cache(cache, length + 1)
    return partial(decode, _tokens(1), cache=cache, return_cache=True)


def _transformers_model(length: int) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=GPT2["vocab"],
        n_embd=GPT2["model"],
        n_head=GPT2["heads"],
        n_layer=GPT2["layers"],
        n_positions=length + 1,
        attn_implementation="sdpa",
    )
    return GPT2LMHeadModel(config).eval()


def _transformers_forward(length: int) -> Call:
    import torch

    return partial(_inference(_transformers_model(length)), torch.from_numpy(_tokens(length)), use_cache=False)


def _transformers_step(length: int) -> Call:
    import torch

    call = _inference(_transformers_model(length))
    past = call(torch.from_numpy(_tokens(length)), use_cache=True).past_key_values

    def step() -> Any:
        result = call(torch.from_numpy(_tokens(1)), past_key_values=past)
        past.crop(-1)  # the next step starts from the same cache
        return result

    return step


def _training(length: int) -> tuple[Contestant, ...]:
    return (
        Contestant("torch", partial(_torch_training, length), ("torch",)),
        Contestant("torch.nn", partial(_torch_nn_training, length), ("torch",), is_fused=True),
        Contestant("keras", partial(_keras_training, length), ("keras",)),
    )


def _pairs(length: int) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(0)
    return tuple(generator.integers(0, TRAINED["vocab"], (BATCH, length)) for _ in range(2))


def _torch_training(length: int) -> Call:
    import torch

    from attention_ref import weights
    from attention_ref.torch import Transformer

    config = ModelConfig.encoder_decoder(**TRAINED, order="post", activation="relu")
    made = Transformer(config, weights.init(config)).train()
    return partial(_torch_step, made, made.parameters, *map(torch.from_numpy, _pairs(length)))


def _torch_step(function: Any, parameters: Any, source: Any, target: Any) -> Any:
    import torch

    for parameter in parameters():
        parameter.grad = None
    scores = function(source, target)
    loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), target.flatten())
    loss.backward()
    return loss


def _torch_nn_training(length: int) -> Call:
    import torch
    from torch import nn

    class Model(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.source, self.target = (nn.Embedding(TRAINED["vocab"], TRAINED["model"]) for _ in range(2))
            self.transformer = nn.Transformer(
                TRAINED["model"], TRAINED["heads"], TRAINED["layers"], TRAINED["layers"], TRAINED["feedforward"], 0.0,
                batch_first=True,
            )  # fmt: skip
            self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

        def forward(self, source: Any, target: Any) -> Any:
            arrays = self.source(source), self.target(target)
            result = self.transformer(*arrays, tgt_mask=self.mask, tgt_is_causal=True)
            return result @ self.target.weight.T

    made = Model().train()
    return partial(_torch_step, made, made.parameters, *map(torch.from_numpy, _pairs(length)))


def _keras_training(length: int) -> Call:
    import keras

    from attention_ref import weights
    from attention_ref.keras import Transformer

    config = ModelConfig.encoder_decoder(**TRAINED, order="post", activation="relu")
    made = Transformer(config, weights.init(config))
    inputs = [keras.Input((length,), dtype="int32") for _ in range(2)]
    trained = keras.Model(inputs, made(*inputs))
    trained.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    source, target = _pairs(length)
    return lambda: trained.train_on_batch([source, target], target)
