"""Evidence for the judge: right kernels pass and wrong ones are rejected, whatever the seed.

    python -m tests.judge_evidence --seeds 10 --dtype float32 --dtype bfloat16

judges every kernel of `tests/wrong_kernels` on fresh seeds. A line for each says on how many the verdict was right, and
the largest error / budget of a right one; the exit code is 1 where a verdict is wrong.
"""

from __future__ import annotations

import argparse
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

from attention_ref.conformance import Judgement, judge
from tests.wrong_kernels.cheats import CHEATS
from tests.wrong_kernels.planted import MISTAKES
from tests.wrong_kernels.right import RIGHT


def kernels() -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Return the name of every kernel, the kernel, and a regular expression of the reason, empty for a right one."""
    yield from ((name, kernel, "") for name, kernel in RIGHT.items())
    yield from ((name, mistake.planted(), "wrong numbers") for name, mistake in MISTAKES.items())
    yield from ((cheat.__name__, cheat, reason) for cheat, reason in CHEATS.items())


def is_as_expected(judgement: Judgement, reason: str) -> bool:
    """Whether a right kernel passes, and a wrong one is rejected for its reason."""
    if not reason:
        return judgement.passed
    return not judgement.passed and any(re.search(reason, each) for each in judgement.reasons)


def main() -> int:
    """Judge them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--dtype", action="append")
    parser.add_argument("--full", action="store_true", help="lengths up to 2048 too")
    options = parser.parse_args()
    missed = 0
    for dtype in options.dtype or ["float32"]:
        for name, kernel, reason in kernels():
            found = []
            for _ in range(options.seeds):
                judgement = judge(
                    kernel, seed=secrets.randbelow(2**31), dtypes=[dtype], small=not options.full, most_failures=1
                )
                found.append(judgement)
            wrong = [judgement.seed for judgement in found if not is_as_expected(judgement, reason)]
            ratios = [judgement.worst_error_ratio or 0 for judgement in found]
            kind = f"wrong: {name}" if reason else f"right: {name}, worst error / budget {max(ratios):.3f}"
            print(f"{dtype} {kind}: {len(found) - len(wrong)} of {len(found)} as expected", *wrong[:5], flush=True)
            missed += len(wrong)
    return min(missed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
