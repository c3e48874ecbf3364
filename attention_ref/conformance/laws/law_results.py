"""The results of a test of laws, and what is derived from them: broken laws and the commands that reproduce them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from attention_ref.conformance.laws.search_loop import FAILS, HOLDS, LawResult
from attention_ref.conformance.subjects.subject import Subject


@dataclass(frozen=True, eq=False)
class LawResults:
    """The results of testing laws on a subject.

    Arguments:
        subject: the tested subject.
        dtypes: the tested dtypes.
        results: one for each law, operation and dtype.
        seed: the seed of the random calls.
        replayed: the file of the replayed counterexample, or an empty string.
        command: the subject as named on the command line.
        examples: the number of random calls per law, if not the default.
    """

    subject: Subject
    dtypes: Sequence[str]
    results: Sequence[LawResult]
    seed: int = 0
    replayed: str = ""
    command: str = ""
    examples: int = 0

    @property
    def passed(self) -> bool:
        """Whether at least one law was tested, and none is broken."""
        verdicts = {result.verdict for result in self.results}
        return HOLDS in verdicts and FAILS not in verdicts

    @property
    def failures(self) -> list[LawResult]:
        """The laws that are broken."""
        return [result for result in self.results if result.verdict == FAILS]

    def reproduce(self, result: LawResult) -> str:
        """Return the command that tests a law again."""
        words = f"attention-ref laws {self.command or shlex.quote(self.subject.name)}"
        if self.replayed:
            return f"{words} --replay {shlex.quote(self.replayed)}"
        words += f" --operation {result.operation} --law {result.law.id} --dtype {result.dtype}"
        words += f" --examples {self.examples}" if self.examples else ""
        return words + (f" --seed {self.seed}" if self.seed else "") + " --save ."
