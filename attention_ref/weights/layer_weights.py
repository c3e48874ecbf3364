"""Read and write the weights of layers of other libraries that are in memory, as NumPy arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.spec.errors import reject, shape_text
from attention_ref.spec.parameters import parameters
from attention_ref.weights.layouts import keras_layouts, torch_layouts
from attention_ref.weights.layouts.config_keys import read_keys, write_keys
from attention_ref.weights.layouts.layout import LayerLayout, Source, arrange
from attention_ref.weights.tree import check

Array = np.ndarray[Any, Any]
LAYERS: Mapping[str, LayerLayout] = {**torch_layouts.LAYERS, **keras_layouts.LAYERS}


def read_layer(layer: str, arrays: Mapping[str, Array], **options: Any) -> tuple[Any, dict[str, Array]]:
    """Read a layer of another library.

        arrays = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
        config, params = weights.read_layer("torch.nn.MultiheadAttention", arrays, num_heads=8)

        arrays = {variable.path: np.asarray(variable) for variable in layer.weights}
        config, params = weights.read_layer("keras.layers.MultiHeadAttention", arrays, **layer.get_config())

    Arguments:
        layer: one of `torch.nn.` `MultiheadAttention`, `TransformerEncoderLayer`, `TransformerDecoderLayer`,
            `TransformerEncoder`, `TransformerDecoder`, `Transformer`; of `keras.layers.` `MultiHeadAttention`,
            `GroupQueryAttention`; of `keras_hub.layers.` `TransformerEncoder`, `TransformerDecoder`.
        arrays: the tensors by name: of PyTorch as in the module's `state_dict`, of Keras by the variable's path.
        options: those of the layer's constructor that its tensors do not show; others are accepted. An activation is
            one of ours by name. `causal` says whether self-attention is, which there is an option of the call.

    Returns:
        An `AttentionConfig`, `BlockConfig`, `StackConfig` or `ModelConfig`, and the parameters by name.

    Raises:
        SpecificationError: one error with all that is wrong: an option or a tensor that is not known or not supported.
    """
    layout = _layout("weights.read_layer", layer)
    arrays = _bare(arrays) if layer.startswith("keras") else dict(arrays)
    values, problems = read_keys(layout.keys, options, {})
    problems += [f"{name}: {option} is not supported" for name, option in layout.unsupported.items() if name in arrays]
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    if not problems:
        try:
            config = layout.configure(values, shapes)
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            problems.append(str(error))
        except KeyError as error:
            problems.append(f"{error.args[0]} is missing")
    if problems:
        _refuse(layer, problems)
    sources = arrange(layout.table(config), parameters(config))
    problems = _compare(sources, shapes)
    if problems:
        _refuse(layer, problems)
    params: dict[str, Array] = {}
    for source in sources:
        found = source.rule.read(np.asarray(arrays[source.name]), source.parameters)
        params |= {name: np.array(array, order="C") for name, array in zip(source.ours, found, strict=True)}
    return config, {name: params[name] for name in parameters(config)}


def write_layer(layer: str, config: Any, params: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, Any]]:
    """Write the tensors of a layer of another library: the exact inverse of `read_layer`.

    Arguments:
        layer: as in `read_layer`.
        config: what `read_layer` returns for it.
        params: its parameters, NumPy arrays.

    Returns:
        The tensors by name, of Keras without the name of the layer before them, and the options that they do not show.

    Raises:
        SpecificationError: for parameters that are not those of the configuration, and for a configuration that the
            layer cannot express.
    """
    operation = "weights.write_layer"
    layout = _layout(operation, layer)
    check(config, params)
    rule = f"{layer} must be able to express the configuration"
    try:
        sources = arrange(layout.table(config), parameters(config))
        options = write_keys(layout.keys, config)
        written = {
            source.name: source.rule.write([np.asarray(params[name]) for name in source.ours], source.parameters)
            for source in sources
        }
        again, _ = read_layer(layer, written, **options)
        again = again if again == config else read_layer(layer, written, **options, causal=_is_causal(config))[0]
    except (KeyError, AttributeError, TypeError, IndexError) as error:
        reject(operation, rule, f"{type(config).__name__}: {error}")
    if again != config:
        reject(operation, rule, f"{config}, of which it makes {again}")
    return written, options


def _is_causal(config: Any) -> bool:
    """Whether the first self-attention of a configuration is causal."""
    while not hasattr(config, "causal"):
        names = ("attention", "blocks", "decoder_stack", "encoder_stack")
        config = next(part for name in names if (part := getattr(config, name, None)) is not None)
        config = config[0] if isinstance(config, tuple) else config
    return bool(config.causal)


def _layout(operation: str, layer: str) -> LayerLayout:
    if layer not in LAYERS:
        reject(operation, f"the layer must be one of {', '.join(LAYERS)}", repr(layer))
    return LAYERS[layer]


def _bare(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors without the common prefix of their names."""
    paths = [path.split("/") for path in arrays]
    common = 0
    while paths and all(len(path) > common + 2 for path in paths) and len({path[common] for path in paths}) == 1:
        common += 1
    return {"/".join(path.split("/")[common:]): array for path, array in arrays.items()}


def _compare(sources: list[Source], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    expected = {source.name: source.shape for source in sources}
    missing = [f"{name} {shape_text(shape)} is missing" for name, shape in expected.items() if name not in shapes]
    unknown = [f"{name} {shape_text(shape)} is not known" for name, shape in shapes.items() if name not in expected]
    misshapen = [
        f"{name} is {shape_text(shapes[name])}, must be {shape_text(shape)}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    return missing + unknown + misshapen


def _refuse(layer: str, problems: list[str]) -> None:
    lines = "\n    ".join(["", *problems])
    reject("weights.read_layer", "every option and every tensor must be understood", f"a {layer} with{lines}")
