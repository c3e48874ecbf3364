"""The arguments of a model's call: random if none are given, and by the names of other libraries."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attention_ref.conformance.errors import UsageError
from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.config import Learned
from attention_ref.spec.stack_config import StackConfig

BATCH, LENGTH = 2, 12


def made_inputs(config: ModelConfig, seed: int) -> dict[str, Any]:
    """Return inputs for a model: `source` and, by its configuration, `target`, `types` and `lengths`.

    The second row is padded where that is possible: the padding of an encoder reaches nothing else.
    """
    generator = np.random.default_rng(seed)
    first: Any = config.encoder_stack or config.decoder_stack
    inputs: dict[str, Any] = {"source": _source(first, generator)}
    if first.embedding.types:
        inputs["types"] = generator.integers(first.embedding.types, size=inputs["source"].shape[:2])
    if first.embedding.vocab is not None and first.embedding.positions_skip is None:
        length = inputs["source"].shape[1]
        inputs["lengths"] = np.array([length, max(1, length * 2 // 3)])
    if config.encoder_stack is not None and config.decoder_stack is not None:
        inputs["target"] = _source(config.decoder_stack, generator)[:, :-3]
    return inputs


def _source(stack: StackConfig, generator: np.random.Generator) -> np.ndarray:
    config = stack.embedding
    length = min(LENGTH, config.positions.length) if isinstance(config.positions, Learned) else LENGTH
    if config.vocab is not None:
        tokens = np.setdiff1d(np.arange(config.vocab), [config.positions_skip])
        return generator.choice(tokens, size=(BATCH, length))
    if config.patches is not None:
        shape = (BATCH, config.patches.height, config.patches.width, config.patches.channels)
        return generator.normal(size=shape)
    if config.audio is not None:
        return generator.normal(size=(BATCH, 2 * length, config.audio.channels))
    return generator.normal(size=(BATCH, length, stack.model))


def torch_arguments(module: Any, inputs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a module's call.

    A module whose `forward` has `input_ids`, `input_features` or `pixel_values` is called with the words of
    `transformers`, one with the names of the inputs with these, any other one with `source` and `target` by position.
    """
    parameters = inspect.signature(module.forward).parameters
    theirs = _theirs(inputs)
    if "input_ids" in parameters or set(theirs) & {"pixel_values", "input_features"} & set(parameters):
        encoder_only = {"use_cache": False} if "use_cache" in parameters else {}
        return (), {**{name: _tensor(each, module) for name, each in theirs.items()}, **encoder_only}
    arguments, options = named_arguments(module.forward, inputs)
    return tuple(_tensor(each, module) for each in arguments), {
        name: _tensor(each, module) for name, each in options.items()
    }


def named_arguments(function: Callable[..., Any], inputs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call: by name where the function has the names, else `source` and `target` by position.

    Raises:
        UsageError: for an input that the function has no argument for.
    """
    parameters = inspect.signature(function).parameters
    named = {name: each for name, each in inputs.items() if each is not None}
    if all(name in parameters for name in named):
        return (), named
    known = [name for name in ("source", "target") if name in named]
    left = [name for name in named if name not in known and name not in parameters]
    if left:
        raise UsageError(
            f"the target has no argument {' and '.join(left)}, only {', '.join(parameters)}; give target_inputs for it"
        )
    return tuple(named[name] for name in known), {name: named[name] for name in named if name not in known}


def _theirs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs in the words of `transformers`."""
    source = np.asarray(inputs["source"])
    words = {"source": "input_ids", "types": "token_type_ids", "positions": "position_ids"}
    found: dict[str, Any] = {}
    if source.ndim == 4:  # (b,height,width,channels) to (b,channels,height,width)
        return {"pixel_values": np.moveaxis(source, -1, 1)}
    if source.ndim == 3:  # (b,frames,channels) to (b,channels,frames)
        return {"input_features": np.moveaxis(source, -1, 1), "decoder_input_ids": inputs.get("target")}
    for name, word in words.items():
        if inputs.get(name) is not None:
            found[word] = inputs[name]
    if inputs.get("lengths") is not None:
        found["attention_mask"] = _mask(inputs["lengths"], source.shape[1])
    if inputs.get("target") is not None:
        found["decoder_input_ids"] = inputs["target"]
        if inputs.get("target_lengths") is not None:
            found["decoder_attention_mask"] = _mask(inputs["target_lengths"], np.asarray(inputs["target"]).shape[1])
    return found


def _mask(lengths: Any, length: int) -> np.ndarray:
    return (np.arange(length) < np.asarray(lengths)[:, None]).astype(np.int64)


def _tensor(given: Any, module: Any) -> Any:
    import torch

    if not isinstance(given, (np.ndarray, np.generic)):
        return given
    tensor = torch.from_numpy(np.array(given))
    parameter = next((each for each in module.parameters() if each.is_floating_point()), None)
    if parameter is None:
        return tensor
    return tensor.to(parameter.device, parameter.dtype if tensor.is_floating_point() else None)
