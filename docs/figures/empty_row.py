"""One query whose keys are all hidden, asked of three released libraries: the figure at the top of the README.

The numbers in it are what the installed versions compute.
"""

from __future__ import annotations

from html import escape
from importlib.metadata import version
from typing import NamedTuple

import numpy as np

VALUES = np.array([[2.0, 6.0], [4.0, 2.0]], np.float32)
"""What the two keys stand for; their mean is (3, 4)."""

WIDTH, ROW, TOP = 720, 50, 94
OUTPUT, MEANING = 330, 485
"""Where the columns begin: wide apart, for the fonts of readers differ in width by a quarter."""


class Answer(NamedTuple):
    """What a library computes for the empty row.

    Arguments:
        function: what was called.
        library, version: the distribution that it belongs to.
        output: the two numbers of the output.
        meaning: what they are, in a few words.
    """

    function: str
    library: str
    version: str
    output: tuple[float, ...]
    meaning: str


def answers() -> list[Answer]:
    """Call the three libraries on `VALUES` as queries, keys and values, with every key hidden."""
    calls = (
        ("torch.nn.MultiheadAttention", "torch", _torch),
        ("keras.layers.MultiHeadAttention", "keras", _keras),
        ("Attention of the ONNX standard", "onnxruntime", _onnxruntime),
    )
    return [_answer(function, library, call()) for function, library, call in calls]


def _answer(function: str, library: str, output: np.ndarray) -> Answer:
    meanings = {"not a number": np.full(2, np.nan), "the mean of the values": VALUES.mean(axis=0), "zero": np.zeros(2)}
    found = [name for name, numbers in meanings.items() if np.allclose(output, numbers, equal_nan=True)]
    return Answer(function, library, version(library).partition("+")[0], tuple(map(float, output)), found[0])


def _torch() -> np.ndarray:
    import torch

    layer = torch.nn.MultiheadAttention(2, 1, bias=False, batch_first=True).eval()
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.eye(2).repeat(3, 1))
        layer.out_proj.weight.copy_(torch.eye(2))
        rows = torch.from_numpy(VALUES)[None]
        output, _ = layer(rows, rows, rows, attn_mask=torch.ones(2, 2, dtype=torch.bool))  # True hides here
    return output[0, 0].numpy()


def _keras() -> np.ndarray:
    import keras

    layer = keras.layers.MultiHeadAttention(1, 2, use_bias=False)
    rows = VALUES[None]
    layer.build(rows.shape, rows.shape)
    layer.set_weights([np.eye(2, dtype=np.float32).reshape(array.shape) for array in layer.get_weights()])
    mask = np.zeros((1, 2, 2), bool)  # False hides here
    return keras.ops.convert_to_numpy(layer(rows, rows, attention_mask=mask))[0, 0]


def _onnxruntime() -> np.ndarray:
    import onnx
    import onnxruntime

    names = {"query": "Q", "key": "K", "value": "V", "mask": "attn_mask"}
    node = onnx.helper.make_node("Attention", list(names), ["output"])
    kinds = dict.fromkeys(names, onnx.TensorProto.FLOAT) | {"mask": onnx.TensorProto.BOOL}
    shapes = dict.fromkeys(names, (1, 1, 2, 2)) | {"mask": (2, 2)}
    inputs = [onnx.helper.make_tensor_value_info(name, kinds[name], shapes[name]) for name in names]
    outputs = [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, None)]
    graph = onnx.helper.make_graph([node], "attention", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 24)], ir_version=11)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = VALUES[None, None]
    feed = {"query": rows, "key": rows, "value": rows, "mask": np.zeros((2, 2), bool)}
    return np.asarray(session.run(None, feed)[0])[0, 0, 0]


def draw(found: list[Answer], colour: str) -> str:
    """Draw the answers as an SVG image: a row for each library, and what the specification says below."""
    lines = [
        _text(0, 20, "A query may attend to none of its keys. What is its output?", colour, size=17, weight=600),
        _text(0, 48, "values of the keys: (2, 6) and (4, 2)", colour, opacity=0.75),
    ]
    for number, answer in enumerate(found):
        y = TOP + number * ROW
        numbers = ", ".join("NaN" if np.isnan(each) else f"{each:g}" for each in answer.output)
        lines += [
            f'<line x1="0" x2="{WIDTH}" y1="{y - 26}" y2="{y - 26}" stroke="{colour}" stroke-opacity="0.25"/>',
            *_row(y, answer.function, f"{answer.library} {answer.version}", f"({numbers})", answer.meaning, colour),
        ]
    y = TOP + len(found) * ROW
    lines += [
        f'<line x1="0" x2="{WIDTH}" y1="{y - 26}" y2="{y - 26}" stroke="{colour}" stroke-opacity="0.6"/>',
        *_row(y, "attention.empty-row", "this specification", "(0, 0)", "zero, always", colour),
    ]
    label = "One empty row, three libraries, three answers"
    frame = f'viewBox="0 0 {WIDTH} {y + 22}" role="img" aria-label="{label}"'
    face = 'font-family="system-ui, sans-serif" font-size="14"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {frame} {face}>', *lines, "</svg>"])


def _row(y: int, function: str, source: str, output: str, meaning: str, colour: str) -> list[str]:
    return [
        _text(0, y - 4, function, colour, family="monospace"),
        _text(0, y + 13, source, colour, size=12, opacity=0.75),
        _text(OUTPUT, y + 4, output, colour, size=17, weight=600),
        _text(MEANING, y + 4, meaning, colour),
    ]


def _text(
    x: int, y: int, text: str, colour: str, *, size: int = 14, weight: int = 400, family: str = "", opacity: float = 1
) -> str:
    face = f' font-family="{family}"' if family else ""
    return (
        f'<text x="{x}" y="{y}" fill="{colour}" fill-opacity="{opacity:g}" font-size="{size}" '
        f'font-weight="{weight}"{face}>{escape(text)}</text>'
    )
