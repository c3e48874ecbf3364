"""Results that differ between two calls with the same inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.diagnosis.observation import Observation, observe
from attention_ref.conformance.subjects.subject import Subject


def random_results(subject: Subject, seen: Sequence[Observation]) -> Iterator[Finding]:
    """Call a subject once more on cases that nothing explains, and find those whose results change."""
    changed = [each for each in seen if each.results and _differ(each, observe(subject, each.case, each.dtype))]
    if changed:
        yield Finding(
            deviation="results.random",
            sentence="two calls with the same inputs give different results, as with dropout outside training",
            clause="block.inference" if changed[0].case.call.table.is_layer else "attention.dropout",
            correction="draw nothing at random: eval() in PyTorch, training=False in Keras, deterministic=True in Flax",
            cases=tuple(each.case.id for each in changed),
        )


def _differ(one: Observation, other: Observation) -> bool:
    return not all(
        name in other.results and np.array_equal(array, other.results[name], equal_nan=True)
        for name, array in one.results.items()
    )
