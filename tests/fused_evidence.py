"""Evidence for the fused paths: random calls with every option, whose sizes cross the blocks, are within budget.

    python -m tests.fused_evidence numpy torch "torch compiled" --count 2000
    KERAS_BACKEND=tensorflow python -m tests.fused_evidence keras "keras graph" "keras xla" --count 200

draws calls in turn of every dtype, and of outputs with their log-sum-exp and gradients of every real input. The truth
and the expected sizes of rounding errors are the oracle's. A line for every dtype and kind of result says how many
calls exceed their budget, and the median and the largest, over calls, of the largest (error / budget) of all numbers
of a call.

Every subject runs in processes of its own, with one thread, and twice with two: their numbers must be within budget,
and the two runs with two threads must agree to the last bit. `numpy` and the like are the paths of
`implementation="fused"`; `compiled`, `graph` and `xla` compile every call on the framework that they name.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from attention_ref import oracle
from attention_ref.conformance.budget import Roundings, budget, compare
from attention_ref.conformance.case import Case, Expected
from attention_ref.conformance.case_heads import GRADIENTS
from attention_ref.conformance.errors import SubjectError
from attention_ref.conformance.frameworks.interface import numpy_dtype
from attention_ref.conformance.subjects.room import room
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.spec.dtypes import DTYPES
from attention_ref.vectors.call import Call
from tests.oracle_evidence import OPTIONS, draw_options

LENGTHS = (1, 2, 31, 64, 65, 130, 257, 300, 520, 1030)
"""Numbers of queries and of keys: within a block, at its end, one more, and several blocks."""
LARGEST = 2**18
"""The most scores of a call, so that thousands of calls take minutes."""
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


class Answered(NamedTuple):
    """The largest error / budget of one call, a digest of all its bits, and what is wrong with it."""

    ratio: float
    digest: str
    fault: str


def calls(count: int, first: int) -> Iterator[tuple[Case, str]]:
    """Draw calls with their truth and their dtype."""
    for seed in range(first, first + count):
        dtype, is_gradient = list(DTYPES)[seed % len(DTYPES)], seed // len(DTYPES) % 2 == 1
        yield drawn(seed, dtype, is_gradient), dtype


def drawn(seed: int, dtype: str, is_gradient: bool) -> Case:
    """Draw a call; the gradients are those of the sum of its output times a random array."""
    rng = np.random.default_rng([seed, 13])
    batch, groups, repeats = int(rng.integers(1, 3)), int(rng.choice([1, 2])), int(rng.choice([1, 1, 2, 4]))
    q, k = (int(rng.choice(LENGTHS)) for _ in "qk")
    while batch * groups * repeats * q * k > LARGEST:
        q, k = max(1, q // 2), max(1, k - k // 3)
    d, v = (int(rng.choice([1, 4, 8, 16, 20, 64])) for _ in "dv")
    shapes = {"query": (batch, groups * repeats, q, d), "key": (batch, groups, k, d), "value": (batch, groups, k, v)}
    size = rng.choice([0.3, 1.0, 1.0, 3.0])
    inputs = {name: rng.normal(size=shape) * (1 if name == "value" else size) for name, shape in shapes.items()}
    chosen = {name for name in OPTIONS if rng.random() < 0.25}
    more, options = draw_options(rng, (batch,), (batch, groups * repeats, q, k), chosen)
    inputs = {name: _rounded(array, dtype) for name, array in (inputs | more).items()}
    call = Call("attention", inputs, options)
    about = {"clauses": (), "catches": "", "references": (), "dtypes": (dtype,)}
    if is_gradient:
        cotangent = _rounded(rng.normal(size=(batch, groups * repeats, q, v)), dtype)
        found = oracle.gradients(**inputs, cotangent=cotangent, **options)
        expected = {name: _expected(result) for name, result in found.items()}
        cotangents = {"output": cotangent}
        return Case(f"gradients/{seed}", call, GRADIENTS, expected=expected, cotangents=cotangents, **about)
    truth = oracle.attention(**inputs, **options)
    expected = {name: _expected(getattr(truth, name)) for name in ("output", "log_sum_exp")}
    return Case(f"results/{seed}", call.changed(return_log_sum_exp=True), "random", expected=expected, **about)


def _rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return numbers that the dtype holds exactly."""
    return array.astype(numpy_dtype(dtype)).astype(np.float64) if array.dtype.kind == "f" else array


def _expected(result: oracle.Result) -> Expected:
    return Expected(result.values, Roundings(*result.rounding))


def subject(name: str) -> Subject:
    """Return the fused path of a room, compiled where the name says so."""
    arrays, _, way = name.partition(" ")
    found = room(importlib.import_module(f"attention_ref.{arrays}"), arrays, "", "fused")
    if not way:
        return found
    compile = COMPILERS[importlib.import_module("keras").backend.backend() if arrays == "keras" else arrays, way]
    return Subject(name, arrays, {"attention": _compiled(found.operations["attention"], compile)})


def _compiled(function: Callable[..., Any], compile: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that compiles every call anew: its arrays are arguments, its options are part of the code."""

    def call(**arguments: Any) -> Any:
        arrays = {name: value for name, value in arguments.items() if hasattr(value, "shape")}
        options = {name: value for name, value in arguments.items() if name not in arrays}

        def attention(*values: Any) -> Any:
            return function(**dict(zip(arrays, values, strict=True)), **options)

        return compile(attention)(*arrays.values())

    return lambda query, key, value, **options: call(query=query, key=key, value=value, **options)


def _by_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    torch = importlib.import_module("torch")
    torch.compiler.reset()  # or the calls count as recompilations of one function, which are limited
    return torch.compile(function, dynamic=False)


def _by_tensorflow(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    tensorflow = importlib.import_module("tensorflow")
    tensorflow.get_logger().setLevel("ERROR")  # it warns of functions that are used once
    return tensorflow.function(function, **options)


COMPILERS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("torch", "compiled"): _by_torch,
    ("tensorflow", "graph"): _by_tensorflow,
    ("tensorflow", "xla"): partial(_by_tensorflow, jit_compile=True),
    ("jax", "compiled"): lambda function: importlib.import_module("jax").jit(function),
}
"""What compiles a function, by the framework and the word in the name of a subject."""


def answered(asked: Subject, case: Case, dtype: str) -> Answered:
    """Ask for one call and compare every number."""
    try:
        answer = asked.answer(case, dtype)
    except SubjectError as error:
        return Answered(float("inf"), "", error.reason)
    digest, worst, faults = hashlib.sha256(), 0.0, [f"dtypes {answer.wrong_dtypes}"] if answer.wrong_dtypes else []
    for name, expected in case.expected.items():
        got = np.ascontiguousarray(answer.results[name])
        digest.update(got.tobytes())
        ratios = compare(got, expected.values, budget(expected.roundings, dtype)).error_ratio
        worst = max(worst, float(ratios.max(initial=0)))
        faults += [f"{name} is off by {ratios.max():.3g} of its budget"] if ratios.max(initial=0) > 1 else []
    return Answered(worst, digest.hexdigest(), "; ".join(faults))


def child(name: str, count: int, first: int) -> None:
    """Print the answers of a subject, a line of JSON each."""
    asked = subject(name)
    for case, dtype in calls(count, first):
        found = answered(asked, case, dtype)
        sizes = {name: array.shape for name, array in case.call.inputs.items()}
        text = f"{found.fault}: {sizes} {dict(case.call.options)}" if found.fault else ""
        print("@" + json.dumps([case.id, dtype, found.ratio, found.digest, text]), flush=True)


def run(name: str, count: int, first: int, threads: int) -> list[tuple[str, str, float, str, str]]:
    """Return the answers of a subject in a new process with so many threads."""
    environment = {**os.environ, **dict.fromkeys(VARIABLES, str(threads)), "JAX_ENABLE_X64": "1"}
    words = [sys.executable, "-m", "tests.fused_evidence", name, "--child", f"--count={count}", f"--first={first}"]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [tuple(json.loads(line[1:])) for line in done.stdout.splitlines() if line.startswith("@")]


def report(name: str, threads: int, found: list[tuple[str, str, float, str, str]]) -> bool:
    """Print a line for each dtype and kind of result; return whether every call is within budget."""
    kinds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for place, dtype, ratio, _, fault in found:
        kinds[place.partition("/")[0], dtype].append(ratio)
        if fault:
            print(f"{name}, {place}, {dtype}: {fault}")
    for (kind, dtype), ratios in sorted(kinds.items()):
        violations = sum(ratio > 1 for ratio in ratios)
        figures = f"{len(ratios):7,}{violations:12,}{statistics.median(ratios):9.3f}{max(ratios):9.3f}"
        print(f"{name:16}{threads:8}  {kind:11}{dtype:10}{figures}", flush=True)
    return not any(fault for *_, fault in found)


def main() -> int:
    """Print the table; exit 1 if a call exceeds its budget, or two runs differ in a bit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="+")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the seed of the first call")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 2])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.subjects[0], options.count, options.first)
        return 0
    heads = f"{'calls':>7}{'violations':>12}{'median':>9}{'largest':>9}"
    print(f"{'subject':16}{'threads':>8}  {'results':11}{'dtype':10}{heads}")
    holds = True
    for name in options.subjects:
        digests: dict[int, list[str]] = {}
        for threads in options.threads:
            found = run(name, options.count, options.first, threads)
            holds &= len(found) == options.count and report(name, threads, found)
            now = [digest for *_, digest, _ in found]
            if threads in digests:
                differing = sum(map(str.__ne__, digests[threads], now))
                print(
                    f"{name}: {differing} of {len(now)} calls differ in a bit between two runs with {threads} threads"
                )
                holds &= not differing
            digests[threads] = now
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
