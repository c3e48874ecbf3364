"""Evidence for the judge: what released kernels compute is never rejected for its rounding, whatever the seed.

    python -m tests.released_evidence torch.sdpa.flash "keras.ops on jax" --seeds 20 --seconds 8

asks every subject for calls of fresh seeds, for so many seconds a seed, in turn of every dtype, and of outputs and
gradients. A line for each of these says how many calls passed and failed, and of those that passed the largest and the
median error / budget, where the error / budget of a call is that of its worst element. A median of 1/60 or less says
that the budgets are too wide. Failing calls are listed with how far they are off, for somebody to find out whether the
kernel or its budget is wrong. The exit code is 1 for both.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, zip_longest
from statistics import median

import numpy as np

from attention_ref.commands import named_subjects
from attention_ref.conformance.judge.judgement import described
from attention_ref.conformance.judge.scenario import Scenario
from attention_ref.conformance.judge.scenarios import draw
from attention_ref.conformance.judge.situations import Size
from attention_ref.conformance.judge.source import Source
from attention_ref.conformance.judge.storage import Storage
from attention_ref.conformance.judge.trial import Outcome, Trial
from attention_ref.conformance.outcome import FAILED, PASSED
from attention_ref.spec.dtypes import DTYPES

SMALLEST_MEDIAN = 1 / 60
_MEMORY = 1 << 28
_ENGINE = "KERAS_BACKEND"

Kind = tuple[str, bool]
"""A dtype, and whether gradients are meant."""


def calls(trial: Trial, dtypes: list[str], size: Size) -> Iterator[Scenario]:
    """Return the calls of a seed in a random order, in turn of every dtype, and of outputs and gradients."""
    generator = np.random.default_rng(trial.seed)
    kinds = []
    for dtype in dtypes:
        kinds.append(draw(trial.seed, trial.options, [dtype], size, trial.limits))
        if trial.source.gradients:
            kinds.append(draw(trial.seed, trial.gradient_options, [dtype], size, trial.limits, gradients=True))
    shuffled = ([kinds[n][i] for i in generator.permutation(len(kinds[n]))] for n in generator.permutation(len(kinds)))
    return (scenario for scenario in chain.from_iterable(zip_longest(*shuffled)) if scenario is not None)


def asked(subject: str, options: argparse.Namespace) -> list[tuple[int, Outcome]]:
    """Ask a subject for calls of fresh seeds, and return each outcome with its seed."""
    name, _, engine = subject.partition(" on ")
    if engine:
        os.environ[_ENGINE] = engine
    source = Source(name, gradients=named_subjects.kind(name) != "numpy")
    found = []
    with contextlib.ExitStack() as stack:
        storage = stack.enter_context(contextlib.closing(Storage(_MEMORY)))
        trial = stack.enter_context(
            contextlib.closing(Trial(source, secrets.randbelow(2**31), options.timeout, storage))
        )
        for _ in range(options.seeds):
            trial.seed = secrets.randbelow(2**31)
            end = time.monotonic() + options.seconds
            for number, scenario in enumerate(calls(trial, options.dtype or list(DTYPES), options.size)):
                found.append((trial.seed, trial.ask(scenario, "used" if number % 2 else "fresh")))
                if time.monotonic() > end:
                    break
    return found


def report(subject: str, found: list[tuple[int, Outcome]]) -> int:
    """Print the verdicts of each kind, and return how many calls failed and how many medians are too small."""
    kinds: dict[Kind, list[tuple[int, Outcome]]] = defaultdict(list)
    for seed, outcome in found:
        kinds[outcome.scenario.dtype, outcome.scenario.gradients].append((seed, outcome))
    failures = 0
    for (dtype, gradients), group in kinds.items():
        ratios = [each.error_ratio or 0.0 for _, each in group if each.verdict == PASSED]
        failed = [(seed, each) for seed, each in group if each.verdict == FAILED]
        rest = f"worst {max(ratios):.3f}, median {median(ratios):.3f}" if ratios else "nothing passed"
        counts = f"{len(ratios)} passed, {len(failed)} failed, {len(group) - len(ratios) - len(failed)} unsupported"
        print(f"{subject}, {'gradients of ' if gradients else ''}{dtype}: {counts}; {rest}", flush=True)
        for seed, each in failed:
            print(f"    {each.scenario.id} --seed {seed}: {described(each)} {each.where[-200:]}", flush=True)
        is_wide = bool(ratios) and median(ratios) <= SMALLEST_MEDIAN
        if is_wide:
            print("    the median is 1/60 or less", flush=True)
        failures += len(failed) + is_wide
    return failures


def main() -> int:
    """Judge them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="+", help="peers; those on Keras with what it runs on")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=8.0, help="of a seed")
    parser.add_argument("--timeout", type=float, default=120.0, help="of a call, in seconds")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="default: all")
    parser.add_argument("--size", choices=("small", "full", "large"), default="full")
    options = parser.parse_args()
    return min(sum(report(subject, asked(subject, options)) for subject in options.subjects), 1)


if __name__ == "__main__":
    raise SystemExit(main())
