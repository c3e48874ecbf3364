"""The results of trying laws, and what follows from them: which are broken, and how to try each again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from attention_ref.conformance.laws.search_loop import FAILS, HOLDS, LawResult
from attention_ref.conformance.subjects.subject import Subject


@dataclass(frozen=True, eq=False)
class LawResults:
    """The results of trying laws on a subject.

    Arguments:
        subject: what was tried.
        dtypes: in which.
        results: one for each law, operation and dtype.
        seed: what the calls were drawn with.
        replayed: the file of the counterexample that was tried again, or nothing.
        command: how the subject is named on the command line.
        examples: how many calls each law was tried on, where that is not the usual number.
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
        """Whether no law is broken, and some law was tried."""
        verdicts = {result.verdict for result in self.results}
        return HOLDS in verdicts and FAILS not in verdicts

    @property
    def failures(self) -> list[LawResult]:
        """The laws that are broken."""
        return [result for result in self.results if result.verdict == FAILS]

    def reproduce(self, result: LawResult) -> str:
        """Return the command that tries a law again."""
        words = f"attention-ref laws {self.command or shlex.quote(self.subject.name)}"
        if self.replayed:
            return f"{words} --replay {shlex.quote(self.replayed)}"
        words += f" --operation {result.operation} --law {result.law.id} --dtype {result.dtype}"
        words += f" --examples {self.examples}" if self.examples else ""
        return words + (f" --seed {self.seed}" if self.seed else "") + " --save ."
