"""Evidence that a diagnosis names two mistakes at once, and finds nothing in what is right.

    python -m tests.diagnosis_evidence pairs --count 60
    python -m tests.diagnosis_evidence right --subject numpy --subject torch.sdpa --seeds 20

`pairs` draws pairs of wrong attentions and diagnoses both mistakes together; `right` diagnoses subjects that conform,
with the numbers of the seeds 0, 1, 2, ..., which are solved in 50 digits and need mpmath.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from attention_ref.commands import named_subjects
from attention_ref.conformance import diagnose
from attention_ref.conformance.diagnosis import diagnose_subject
from tests.test_diagnosis import SLUGS, draw_pairs


def pairs(count: int) -> int:
    """Print a line for every pair, and how many are not diagnosed with both slugs alone."""
    missed = 0
    for pair in draw_pairs(count):
        both = type("Both", pair, {})
        found = {finding.deviation for finding in diagnose(both.function()).findings}
        wanted = {slug for each in pair for slug in SLUGS[each.__name__]}
        missed += found != wanted
        print(
            "right" if found == wanted else "WRONG",
            sorted(wanted),
            "" if found == wanted else sorted(found),
            flush=True,
        )
    print(f"{count - missed} of {count} pairs are diagnosed with both and no other")
    return missed


def right(names: Sequence[str], seeds: int) -> int:
    """Print a line for every subject and seed, and how many findings there are."""
    total = 0
    for name in names:
        named_subjects.choose_engine(name, "numpy", None)
        subject = named_subjects.subject(name)
        for seed in range(seeds):
            found = diagnose_subject(subject, "attention", seed)
            total += len(found.findings) + len(found.unexplained)
            print(name, seed, [each.deviation for each in found.findings], list(found.unexplained)[:3], flush=True)
    print(f"{total} findings")
    return total


def main() -> int:
    """Run the evidence; exit 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pairs", "right"))
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--subject", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.what == "pairs":
        return 1 if pairs(arguments.count) else 0
    return 1 if right(arguments.subject or ["numpy"], arguments.seeds) else 0


if __name__ == "__main__":
    raise SystemExit(main())
