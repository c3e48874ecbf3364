"""Evidence that the kit raises no false alarm: what is right on a case stays right with any other numbers in it.

    python -m tests.seed_evidence --subject torch.sdpa --subject numpy --seeds 20

checks subjects on the cases of the vectors and then on the same cases with the numbers of the seeds 1, 2, ...: what a
recipe writes out stays, what it leaves to its hash changes (`attention-ref check --seed`). For every seed a line says
how many results pass, fail and are unsupported, the worst error over its budget of those that pass, and

    new failures    results that fail although the same case in the same dtype passes with the numbers of the vectors
    false alarms    those of them that nothing explains: with the numbers of the vectors, the subject breaks in that
                    dtype no clause that the case depends on and, in float16 and bfloat16, it does not break
                    attention.precision, without which what it computes there is right by luck

The cases of a seed are solved once, by the specification in 50 digits: 6 seconds for the three attentions, 25 for all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from attention_ref.commands import named_subjects
from attention_ref.conformance import Result, Subject
from attention_ref.conformance.case_heads import foundations
from attention_ref.conformance.clause_verdicts import FAILS, clause_verdicts
from attention_ref.conformance.outcome import FAILED, PASSED, UNSUPPORTED
from attention_ref.conformance.run import run, select

DTYPES = ("float64", "float32")
NARROW = ("float16", "bfloat16")


class Known(NamedTuple):
    """The results of a subject with the numbers of the vectors."""

    failures: set[tuple[str, str]]
    broken: dict[str, set[str]]


class Seen(NamedTuple):
    """The results with one seed."""

    passed: int
    failed: int
    unsupported: int
    new: list[Result]
    alarms: list[Result]
    worst: float


def known(subject: Subject, operations: Sequence[str], dtypes: Sequence[str], pattern: str) -> Known:
    """Check a subject with the numbers of the vectors: which results fail, and which clauses in each dtype."""
    results = run(subject, select(operations, None, dtypes, pattern))
    failures = {(each.case.id, each.dtype) for each in results if each.verdict == FAILED}
    by_dtype = {dtype: [each for each in results if each.dtype == dtype] for dtype in dtypes}
    broken = {
        name: {each.id for each in clause_verdicts(own) if each.verdict == FAILS} for name, own in by_dtype.items()
    }
    return Known(failures, broken)


def evidence(
    subject: Subject, before: Known, seed: int, operations: Sequence[str], dtypes: Sequence[str], pattern: str
) -> Seen:
    """Check a subject with the numbers of a seed."""
    results = run(subject, select(operations, None, dtypes, pattern, seed))
    verdicts = [each.verdict for each in results]
    new = [each for each in results if each.verdict == FAILED and (each.case.id, each.dtype) not in before.failures]
    alarms = [each for each in new if not before.broken[each.dtype] & explaining(each)]
    ratios = [each.error_ratio for each in results if each.verdict == PASSED and each.error_ratio is not None]
    counts = [verdicts.count(name) for name in (PASSED, FAILED, UNSUPPORTED)]
    return Seen(*counts, new, alarms, max(ratios, default=0.0))


def explaining(result: Result) -> set[str]:
    """Return the clauses that explain a failure where they are broken."""
    listed = {*result.case.clauses, *(clause.id for clause in foundations(result.case.operation))}
    return listed | ({"attention.precision"} if result.dtype in NARROW else set())


def operations_of(subject: Subject, wanted: Sequence[str]) -> list[str]:
    """Return the operations of a subject to check; all if none is selected."""
    return [name for name in subject.operations if not wanted or name in wanted]


def main() -> int:
    """Print a line for every subject and seed; exit 1 where there is a false alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", action="append", required=True, help="may be given again")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--operation", action="append", default=[], help="default: all that a subject has")
    parser.add_argument("--case", default="*", help="a pattern of the cases' ids")
    arguments = parser.parse_args()
    for name in arguments.subject:
        named_subjects.choose_engine(name, "numpy", None)
    checked = [named_subjects.subject(name) for name in arguments.subject]
    checked = [each for each in checked if operations_of(each, arguments.operation)]
    options = {"dtypes": arguments.dtypes.split(","), "pattern": arguments.case}
    columns = ("passed", "failed", "unsupported", "new failures", "false alarms", "worst")
    print(f"{'subject':16}{'seed':>5}" + "".join(f"{column:>14}" for column in columns), flush=True)
    before = {each.name: known(each, operations_of(each, arguments.operation), **options) for each in checked}
    total = 0
    for seed in range(1, arguments.seeds + 1):
        for subject in checked:
            seen = evidence(subject, before[subject.name], seed, operations_of(subject, arguments.operation), **options)
            figures = (*seen[:3], len(seen.new), len(seen.alarms))
            print(
                f"{subject.name:16}{seed:5}" + "".join(f"{x:14}" for x in figures) + f"{seen.worst:14.2f}", flush=True
            )
            for result in seen.alarms:
                print(f"  {result.case.id} in {result.dtype}: {result.reason or result.mismatch}", flush=True)
            total += len(seen.alarms)
    print(f"{total} false alarms")
    return 1 if total else 0


if __name__ == "__main__":
    raise SystemExit(main())
