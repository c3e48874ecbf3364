"""The judge as a function."""

from __future__ import annotations

import contextlib
import math
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import UsageError, reject
from attention_ref.conformance.judge.judgement import Judgement
from attention_ref.conformance.judge.replay import command
from attention_ref.conformance.judge.scenario import parse
from attention_ref.conformance.judge.scenarios import draw
from attention_ref.conformance.judge.session import Progress, Session
from attention_ref.conformance.judge.situations import Size
from attention_ref.conformance.judge.source import source_of
from attention_ref.conformance.judge.storage import Storage
from attention_ref.conformance.judge.trial import Trial
from attention_ref.conformance.outcome import FAILED
from attention_ref.conformance.subjects.array_files import memory
from attention_ref.conformance.timeouts import TIMEOUT
from attention_ref.spec.dtypes import DTYPES

MOST_FAILURES = 5
"""The default number of failing calls after which no more are run."""

_MEMORY = {"small": 1 << 26, "full": 1 << 28, "large": 1 << 30}
_SEEDS = 2**31


def judge(
    function: Callable[..., Any] | str | None = None,
    *,
    program: str | None = None,
    dtypes: Sequence[str] = ("float32",),
    arrays: str | None = None,
    dialect: Dialect | str | None = None,
    gradients: bool = False,
    gradient: Callable[..., Any] | str | None = None,
    device: str | None = None,
    seed: int | None = None,
    small: bool = False,
    large: bool = False,
    case: str | None = None,
    budget_seconds: float | None = None,
    jobs: int = 1,
    most_failures: int = MOST_FAILURES,
    timeout: float | None = TIMEOUT,
    name: str | None = None,
    progress: Progress | None = None,
) -> Judgement:
    """Judge an attention kernel at the sizes that people run, and against the ways in which kernels cheat.

        judgement = conformance.judge(my_attention)
        print(judgement)

    The function runs in a process of its own. It is called as `function(query, key, value, **options)`, as in `check`,
    in a random order of shapes: lengths around the edges of tiles, decoding against a long cache, chunks of a prompt,
    every option of its signature alone and with those that it interacts with, and several distributions of numbers.
    Every call is asked twice, in fresh storage and in some that has just held other numbers. The truth and the size of
    the rounding errors come from `attention_ref.oracle`, after the answer. Inputs must be unchanged to the bit.

    Arguments:
        function: the kernel, or its name: `"module:callable"`, `"path/to/file.py:callable"` or a peer such as
            `"torch.sdpa"`, which a new process imports. A function itself is judged in a forked copy of this process;
            after this process has computed with JAX, in a new one that imports it, for the copy could not compute.
        program: instead of a function the command of a program that answers requests, as in `check --exec`.
        dtypes: some of `"float64"`, `"float32"`, `"float16"`, `"bfloat16"`.
        arrays: what it takes and returns: `"numpy"`, `"torch"`, `"tensorflow"`, `"jax"` or `"keras"`; when None,
            what the dialect says, or NumPy's. Of a program: `"json"` or `"safetensors"`, how arrays are exchanged.
        dialect: as in `check`.
        gradients: judge its gradients too: those of query, key, value and, where given, bias and sinks.
        gradient: what returns them, as in `check`: `gradient(query, key, value, *, cotangent, **options)` returns those
            of `sum(cotangent * output)` by the names of the inputs; or its name. When None they are those of automatic
            differentiation, which NumPy lacks.
        device: of PyTorch or JAX, such as `"cuda"`, on which arrays are made; when None, as it is configured.
        seed: of the calls and their numbers; when None a fresh one, which the judgement tells.
        small: judge on lengths up to 449 only, in fewer seconds.
        large: judge on lengths up to 8192 too.
        case: the id of one call, as a judgement names it, instead of those that are drawn.
        budget_seconds: how long to ask, after the subject has started; calls that are left are listed as not asked.
        jobs: how many copies of the subject are asked at a time, each for its share of the calls.
        most_failures: after how many failing calls the others are not asked.
        timeout: how many seconds a call may take; None: as long as it takes.
        name: what the judgement calls it.
        progress: called after every call with the number done, the number to do, and the outcome.

    Returns:
        A judgement: `passed`, `reasons`, `seed`, `smallest`, `worst_error_ratio`, `str(judgement)`, `to_json()`. A call
        that the function refuses, with `NotImplementedError`, `ValueError` or `conformance.Unsupported`, is unsupported
        and listed; a function for which nothing else ran has not passed.

    Raises:
        UsageError: for a dtype, kind of arrays, dialect, case or subject that does not exist.
    """
    size: Size = "large" if large else "small" if small else "full"
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    chosen = parse(case) if case is not None else None
    asks = gradients or gradient is not None or (chosen is not None and chosen.gradients)
    for dtype in dtypes:
        if dtype not in DTYPES:
            reject("dtype", dtype, DTYPES)
    if seed < 0 or jobs < 1:
        raise UsageError(f"a seed is 0 or more and the jobs are 1 or more, not {seed} and {jobs}")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=memory()))
        given = {"arrays": arrays, "dialect": dialect, "gradients": asks, "gradient": gradient, "device": device}
        source = source_of(function, program, folder, given)
        trials = []
        for place in range(1 if chosen else jobs):
            storage = stack.enter_context(contextlib.closing(Storage(_MEMORY[size])))
            trial = Trial(source, seed, timeout, storage, place)
            trials.append(stack.enter_context(contextlib.closing(trial)))
        end = math.inf if budget_seconds is None else time.monotonic() + budget_seconds
        session = Session(trials, end, most_failures, progress)
        scenarios = [chosen] if chosen else draw(seed, trials[0].options, dtypes, size, trials[0].limits)
        if asks and not chosen:
            scenarios += draw(seed, trials[0].gradient_options, dtypes, size, trials[0].limits, gradients=True)
        outcomes = session.asked(scenarios)
        failed = [outcome for outcome in outcomes if outcome.verdict == FAILED]
        found = next(iter(failed), None) if chosen else session.smallest(failed)
    asked = {outcome.scenario for outcome in outcomes}
    return Judgement(
        subject=name or source.name,
        seed=seed,
        dtypes=(chosen.dtype,) if chosen else tuple(dtypes),
        size=size,
        gradients=asks,
        outcomes=tuple(outcomes),
        not_asked=tuple(scenario for scenario in scenarios if scenario not in asked),
        smallest=found,
        command=command(source, seed, dtypes, size),
    )
