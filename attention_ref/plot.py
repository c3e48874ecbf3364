"""Plots of weights, positional encodings and masks, from arrays of any backend.

Every function returns a `matplotlib.figure.Figure`, which `figure.savefig("weights.png")` writes and a notebook shows
after `%matplotlib inline`. Nothing is shown, and the state of `matplotlib.pyplot` does not change. Needs matplotlib:
`python -m pip install "attention-ref[plot]"`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attention_ref.spec.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WEIGHT_COLOURS = "cividis"
"""From dark blue, 0, to yellow, 1, ordered by lightness for readers with any colour vision."""

CODE_COLOURS = "PuOr"
"""Orange below 0, purple above, distinguishable with any colour vision."""

VISIBLE_COLOURS = ("#d9d9d9", "#0b4f8a")
"""Light for hidden keys, dark, with a dot, for visible ones."""

_PANEL = 3.2  # inches
_LARGEST_WITH_NUMBERS = 12  # cells in a row
_ROOM_FOR_LABELS = 16  # cells in a row


def weights(
    weights: Any, *, query_tokens: Sequence[str] = (), key_tokens: Sequence[str] = (), columns: int = 2
) -> Figure:
    """Plot attention weights as heat maps, one for each head of each batch row, with their values if they fit.

    A weight that is exactly 0 is written `0`, a small one `0.00`.

    Arguments:
        weights: `(...,q,k)`, from 0 to 1, of any backend.
        query_tokens: q labels of the rows; positions when empty.
        key_tokens: k labels of the columns; positions when empty.
        columns: the number of heat maps in a row.

    Returns:
        The figure. Its axes are in the order of the heads; a colour bar comes last.

    Raises:
        ValueError: for an array without the axes q and k, or a wrong number of labels.
    """
    panels = list(_panels(_numbers(weights)))
    figure, axes = _grid(len(panels), columns, panels[0][1].shape)
    for each, (title, values) in zip(axes, panels, strict=True):
        image = _cells(each, values, title, vmin=0.0, vmax=1.0, cmap=WEIGHT_COLOURS)
        _name_places(each, query_tokens, key_tokens, values.shape)
        if max(values.shape) <= _LARGEST_WITH_NUMBERS:
            _write(each, values, _weight_text, dark=lambda weight: weight > 0.45)
    figure.colorbar(image, ax=axes, label="weight", shrink=0.8)
    return figure


def visibility(visible: Any, *, columns: int = 2) -> Figure:
    """Plot which keys a query may attend to, as dark cells with a dot.

    Arguments:
        visible: boolean `(...,q,k)` of any backend, or several by name: a mapping of titles to such arrays.
        columns: the number of plots in a row.

    Returns:
        The figure, with axes for each name, batch row and head, in that order.

    Raises:
        ValueError: for an array without the axes q and k.
    """
    from matplotlib.colors import ListedColormap

    named = visible if isinstance(visible, Mapping) else {"": visible}
    panels = [panel for name, array in named.items() for panel in _panels(_numbers(array), name)]
    figure, axes = _grid(len(panels), columns, panels[0][1].shape)
    for each, (title, values) in zip(axes, panels, strict=True):
        _cells(each, values, title, vmin=0.0, vmax=1.0, cmap=ListedColormap(VISIBLE_COLOURS, name="visible"))
        _name_places(each, (), (), values.shape)
        if max(values.shape) <= _ROOM_FOR_LABELS:
            _write(each, values, lambda is_visible: "•" if is_visible else "", dark=lambda _: False)
    return figure


def positions(codes: Any) -> Figure:
    """Plot a positional encoding: a row for every position, a column for every component.

    Arguments:
        codes: `(l,m)` of any backend, such as the result of `sinusoidal_positions`.

    Returns:
        The figure; its axes are the plot and the colour bar.

    Raises:
        ValueError: for an array of another rank.
    """
    values = _numbers(codes)
    if values.ndim != 2:
        raise ValueError(f"codes must be (l,m), received {values.shape}")
    figure, (axes,) = _grid(1, 1, values.shape, width=6.4)
    largest = float(abs(values).max(initial=0.0)) or 1.0
    image = _cells(axes, values, "", vmin=-largest, vmax=largest, cmap=CODE_COLOURS)
    axes.set(xlabel="component", ylabel="position", aspect="auto")
    figure.colorbar(image, ax=axes, label="value")
    return figure


def errors_by_depth(found: Any) -> Figure:
    """Plot the error of every tensor of a comparison by depth, on a logarithmic scale, in shares of its budget.

    Arguments:
        found: the result of `attention_ref.conformance.locate`.

    Returns:
        The figure, with axes for the forward pass and, if gradients were compared, the backward pass.
    """
    directions = list(dict.fromkeys(each.direction for each in found.tensors))
    figure, axes = _grid(len(directions), 1, (1, 2), width=9.0)
    for each, direction in zip(axes, directions, strict=True):
        rows = [row for row in found.tensors if row.direction == direction]
        for name, marker in (("total", "o"), ("inherited", "."), ("added", "x")):
            shares = [getattr(row, name) for row in rows]
            points = [(i, share) for i, share in enumerate(shares) if share is not None and 0 < share < math.inf]
            each.plot(*zip(*points, strict=True) if points else ([], []), marker, label=name, linestyle="none")
        each.axhline(1.0, color="black", linewidth=0.8)
        each.set(yscale="log", title=f"{direction} pass", xlabel="depth", ylabel="error / budget")
        each.set_xticks(range(len(rows)), [row.name for row in rows], rotation=90, fontsize=5)
        each.legend()
    return figure


def times_by_length(measurements: Sequence[Any]) -> Figure:
    """Plot the processor time of every contestant over the length, on logarithmic scales.

    Arguments:
        measurements: the results of `attention_ref.bench.run`; those with a trouble are left out.

    Returns:
        The figure, with axes for each operation.
    """
    operations = list(dict.fromkeys(each.operation for each in measurements)) or [""]
    figure, axes = _grid(len(operations), len(operations), (4, 5), width=4.4)
    for each, operation in zip(axes, operations, strict=True):
        drawn = [one for one in measurements if one.operation == operation and not one.trouble]
        for name in dict.fromkeys(one.contestant for one in drawn):
            points = [(one.length, 1000 * one.seconds) for one in drawn if one.contestant == name]
            each.plot(*zip(*points, strict=True), marker="o", label=name)
        each.set(title=operation, xlabel="length", ylabel="milliseconds of processor time", xscale="log", yscale="log")
        if drawn:
            each.legend(fontsize="small")
    return figure


def _numbers(given: Any) -> Any:
    """Convert an array of any backend to float64."""
    import numpy as np

    if isinstance(given, Array):
        return np.array([float(number) for number in given.values]).reshape(given.shape)
    if hasattr(given, "detach"):  # NumPy does not read a PyTorch tensor with gradients, on a GPU or in bfloat16
        given = given.detach().cpu().double()
    return np.asarray(given).astype(np.float64)


def _panels(array: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Return the matrices of `(...,q,k)` with titles, which omit axes of size 1."""
    if array.ndim < 2 or 0 in array.shape:
        raise ValueError(f"an array (...,q,k) that is not empty is needed, received {array.shape}")
    leading = array.shape[:-2]
    for index in itertools.product(*map(range, leading)):
        words = [
            f"{'head' if axis == len(leading) - 1 else 'row'} {at}"
            for axis, at in enumerate(index)
            if leading[axis] > 1
        ]
        yield ", ".join([name] * bool(name) + words), array[index]


def _grid(count: int, columns: int, cells: tuple[int, int], width: float = _PANEL) -> tuple[Figure, list[Axes]]:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'pictures need matplotlib, which is not installed: python -m pip install "attention-ref[plot]"'
        ) from error
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    height = _PANEL * min(max(cells[0] / cells[1], 0.4), 2.0) + 0.4
    figure = Figure(figsize=(width * columns + 0.6, height * rows), layout="compressed")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in grid[count:]:
        unused.remove()
    return figure, list(grid[:count])


def _cells(axes: Axes, values: Any, title: str, **colours: Any) -> Any:
    image = axes.imshow(values, interpolation="nearest", **colours)
    axes.set(title=title, xlabel="key", ylabel="query")
    return image


def _name_places(axes: Axes, rows: Sequence[str], columns: Sequence[str], shape: tuple[int, int]) -> None:
    """Label rows and columns with words or, if they fit, positions, and draw lines between them."""
    for axis, words, count in ((axes.yaxis, rows, shape[0]), (axes.xaxis, columns, shape[1])):
        if words and len(words) != count:
            raise ValueError(f"{count} {'queries' if axis is axes.yaxis else 'keys'} have {len(words)} words")
        if words or count <= _ROOM_FOR_LABELS:
            axis.set_ticks(range(count), labels=list(words) or [str(place) for place in range(count)])
        axis.set_ticks([place - 0.5 for place in range(1, count)], minor=True)
    if max(map(len, columns), default=0) > 3:
        axes.tick_params(axis="x", labelrotation=60)
    if max(shape) <= _ROOM_FOR_LABELS:
        axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)


def _weight_text(weight: float) -> str:
    return "0" if weight == 0 else f"{weight:.2f}"


def _write(axes: Axes, values: Any, text: Any, *, dark: Any) -> None:
    """Write a text into every cell, dark or light depending on the cell's colour."""
    size = min(10.0, 72 * _PANEL * 0.7 / max(values.shape) / 2.6)
    for (row, column), value in ((index, values[index]) for index in itertools.product(*map(range, values.shape))):
        colour = "black" if dark(value) else "white"
        axes.text(column, row, text(value), ha="center", va="center", color=colour, fontsize=size)
