"""Measurements as text and HTML."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterable, Sequence

from attention_ref.bench.machine import Machine
from attention_ref.bench.measurement import Measurement, scaling_exponents

COLUMNS = ("contestant", "milliseconds", "quartiles", "wall", "/ fused", "memory", "of the limit")
LEGEND = (
    "milliseconds: median processor time of a call over all threads; wall: the time that passed\n"
    "/ fused: the median ratio to the fused kernel or model of a framework, which has 1.00\n"
    "memory: how far the process grows during a call; of the limit: the least time that the machine allows / its time"
)


def text(measurements: Sequence[Measurement], machine: Machine, rounds: int) -> str:
    """Return the measurements as text: who is fastest first, then a table for each workload."""
    tables = [line for table in _tables(measurements) for line in ("", *_written(table))]
    first = [*_fastest(measurements), "", describe(machine, rounds)]
    return "\n".join([*first, *tables, *_exponents(measurements), "", LEGEND])


def describe(machine: Machine, rounds: int) -> str:
    """Return the conditions of the measurements in words."""
    threads = f"{machine.threads} threads" if machine.threads > 1 else "1 thread" if machine.threads else "all threads"
    rates = f"products {machine.products / 1e9:.0f} GFLOP/s, copies {machine.bandwidth / 1e9:.1f} GB/s"
    where = f"{machine.processor}, {machine.processors} processors, {threads}"
    return f"{where}: {rates}; medians of {rounds} interleaved rounds"


def page(measurements: Sequence[Measurement], machine: Machine, rounds: int) -> str:
    """Return the measurements as one HTML page that needs nothing else."""
    body = "".join(
        f"<h2>{html.escape(title)}</h2><table><tr>{_cells('th', COLUMNS)}</tr>"
        + "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
        + "</table>"
        for title, rows in _tables(measurements)
    )
    style = "body{font:15px sans-serif;margin:2rem} td,th{padding:.2rem .8rem;text-align:right} "
    style += "td:first-child{text-align:left}"
    conditions = html.escape(describe(machine, rounds))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>attention_ref bench</title><style>{style}</style>'
        f"<h1>Speed beside the frameworks</h1><p>{conditions}</p>{body}<pre>{html.escape(LEGEND)}</pre></html>"
    )


def _fastest(measurements: Sequence[Measurement]) -> list[str]:
    """Return who is fastest, and how far the backends are from it, for each workload."""
    lines = []
    for _, group in _groups(measurements):
        done = [each for each in group if not each.trouble]
        if done:
            first = min(done, key=lambda each: each.seconds)
            others = ", ".join(
                f"{each.contestant} {each.seconds / first.seconds:.2f} times"
                for each in sorted(done, key=lambda each: each.seconds)
                if each is not first
            )
            lines.append(f"{first.operation}, {first.length}: {first.contestant} is fastest; {others or 'alone'}")
    return lines


def _groups(measurements: Sequence[Measurement]) -> Iterable[tuple[str, list[Measurement]]]:
    for title, group in itertools.groupby(measurements, lambda each: f"{each.operation}: {each.sizes}"):
        yield title, list(group)


def _tables(measurements: Sequence[Measurement]) -> list[tuple[str, list[tuple[str, ...]]]]:
    return [(title, [_row(each) for each in group]) for title, group in _groups(measurements)]


def _row(each: Measurement) -> tuple[str, ...]:
    if each.trouble:
        return (each.contestant, each.trouble)
    milliseconds = [1000 * seconds for seconds in (each.seconds, each.lowest, each.highest, each.wall_seconds)]
    middle, lowest, highest, wall = (f"{number:.3g}" for number in milliseconds)
    memory = "unknown" if each.peak_bytes is None else f"{each.peak_bytes / 2**20:.1f} MiB"
    ratio = "" if math.isnan(each.ratio) else f"{each.ratio:.2f}"
    share = "" if math.isnan(each.share_of_limit) or not each.share_of_limit else f"{each.share_of_limit:.0%}"
    return each.contestant, middle, f"{lowest} to {highest}", wall, ratio, memory, share


def _written(table: tuple[str, list[tuple[str, ...]]]) -> list[str]:
    title, rows = table
    full = [COLUMNS, *(row for row in rows if len(row) == len(COLUMNS))]
    widths = [max(len(row[i]) for row in full) for i in range(len(COLUMNS))]
    widths[0] = max(len(row[0]) for row in [COLUMNS, *rows])
    return [title, *(_line(row, widths) for row in [COLUMNS, *rows])]


def _line(row: tuple[str, ...], widths: Sequence[int]) -> str:
    cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
    return "  ".join(["", row[0].ljust(widths[0]), *(cells if len(row) == len(COLUMNS) else row[1:])]).rstrip()


def _exponents(measurements: Sequence[Measurement]) -> list[str]:
    found = scaling_exponents(measurements)
    return ["", "time grows as length to the power of"] * bool(found) + [
        f"  {operation}, {contestant}: {exponent:.2f}" for (operation, contestant), exponent in found.items()
    ]


def _cells(tag: str, row: Iterable[str]) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
