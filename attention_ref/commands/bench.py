"""`attention-ref bench`: how fast the backends are beside their frameworks."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from attention_ref import backends
from attention_ref.commands.command import (
    CONFORMS,
    THREADS,
    check_figure,
    check_writable,
    command,
    save,
    save_figure,
    show,
)

if TYPE_CHECKING:
    from attention_ref.bench import Machine, Measurement, Workload

OPERATIONS = ("full", "causal", "window", "decode", "gradients", "mha", "forward", "step", "training")
SIZES = (512, 2048)


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    parser = command(commands, "bench", run)
    put = parser.add_argument
    text = (
        "attention: full, causal, window, decode, gradients; a layer: mha; models: forward, step, training; repeatable"
    )
    put("--op", metavar="OP", action="append", choices=OPERATIONS, help=f"{text}; default: full and causal")
    put("--sizes", metavar="N,N", default=",".join(map(str, SIZES)), help="lengths; default: 512,2048")
    put("--batch", metavar="N", type=int, default=1, help="rows of attention; default: 1")
    put("--heads", metavar="N", type=int, default=8, help="heads of attention; default: 8")
    put("--head-size", metavar="N", type=int, default=64, help="size of a head of attention; default: 64")
    text = "contestants, such as numpy,torch,torch.sdpa; default: all that are installed"
    put("--backends", metavar="NAME,NAME", help=text)
    text = "backend of Keras; default: KERAS_BACKEND or the configuration of Keras"
    put("--engine", choices=backends.ENGINES, help=text)
    put("--threads", metavar="N", type=int, default=1, help="threads that every contestant may use; 0: all; default: 1")
    put("--rounds", metavar="N", type=int, default=15, help="interleaved rounds, whose medians are shown; default: 15")
    put("--json", metavar="FILE", help="write the measurements as JSON; - is stdout, without the text")
    put("--html", metavar="FILE", help="write the tables as one HTML page")
    put("--plot", metavar="FILE", help="draw time over length, as PNG or SVG; needs matplotlib")


def run(options: argparse.Namespace) -> int:
    """Measure and write what was asked for."""
    with _limited(options.threads):  # before anything imports NumPy
        return _run(options)


@contextlib.contextmanager
def _limited(threads: int) -> Iterator[None]:
    """Limit the threads of this process: by variables, and by processors, because JAX reads no variable."""
    if threads < 1:
        yield
        return
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    if processors:
        os.sched_setaffinity(0, sorted(processors)[:threads])
    try:
        yield
    finally:
        if processors:
            os.sched_setaffinity(0, processors)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _run(options: argparse.Namespace) -> int:
    sizes, names = _sizes(options), tuple((options.backends or "").split(",")) if options.backends else ()
    _prepare(options)
    from attention_ref import bench
    from attention_ref.bench import tables

    workloads = [_workload(options, op, size) for op in options.op or ("full", "causal") for size in sizes]
    _known(names, workloads)
    machine = bench.measure_machine()
    found = []
    for workload in workloads:
        print(f"{workload.operation}, {workload.length}", file=sys.stderr, flush=True)
        found += bench.run(workload, names=names, rounds=options.rounds, machine=machine)
    _write(options, found, machine)
    if options.json != "-":
        show(tables.text(found, machine, options.rounds))
    return CONFORMS


def _sizes(options: argparse.Namespace) -> list[int]:
    """Return the lengths; reject invalid ones before anything is measured."""
    from attention_ref.conformance import UsageError

    sizes = [int(word) if word.isdecimal() else 0 for word in options.sizes.split(",")]
    if min(sizes) < 1:
        raise UsageError(f"--sizes must be lengths from 1 on, such as 512,2048; received {options.sizes}")
    if min(options.batch, options.heads, options.head_size) < 1:
        raise UsageError("--batch, --heads and --head-size must be at least 1")
    if options.rounds < 1 or options.threads < 0:
        raise UsageError("--rounds must be at least 1 and --threads at least 0")
    return sizes


def _prepare(options: argparse.Namespace) -> None:
    """Set the engine, which Keras reads when it is imported; reject unwritable files."""
    if options.engine:
        os.environ["KERAS_BACKEND"] = options.engine
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    check_writable(options.json if options.json != "-" else None, options.html)
    check_figure(options.plot)


def _workload(options: argparse.Namespace, operation: str, size: int) -> Workload:
    from attention_ref import bench

    if operation in bench.KINDS:
        return bench.attention(operation, size, batch=options.batch, heads=options.heads, size=options.head_size)
    return bench.multi_head(size) if operation == "mha" else bench.model(operation, size)


def _known(names: tuple[str, ...], workloads: list[Workload]) -> None:
    from attention_ref.conformance.errors import reject

    offered = list(dict.fromkeys(each.name for workload in workloads for each in workload.contestants))
    for name in names:
        if name not in offered:
            reject("contestant", name, offered)


def _write(options: argparse.Namespace, found: list[Measurement], machine: Machine) -> None:
    from attention_ref.bench import tables

    if options.json:
        data = {"format_version": 1, "machine": machine.to_dict(), "rounds": options.rounds}
        data["measurements"] = [each.to_dict() for each in found]
        text = json.dumps(data, indent=1, allow_nan=False)
        show(text) if options.json == "-" else save(options.json, text)
    if options.html:
        save(options.html, tables.page(found, machine, options.rounds))
    if options.plot:
        _draw(found, options.plot)


def _draw(measurements: list[Measurement], path: str) -> None:
    from attention_ref import plot

    save_figure(path, lambda: plot.times_by_length(measurements))
