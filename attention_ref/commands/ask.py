"""`attention-ref ask`: which conventions an attention follows, question by question."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from typing import Any

from attention_ref.commands.command import CONFORMS, command, show, takes_json
from attention_ref.commands.named_subjects import chosen, in_process_choice, takes_subject
from attention_ref.commands.preflight_remark import examined


def add(commands: Any) -> None:
    """Add the command to those of `attention-ref`."""
    parser = command(commands, "ask", run)
    takes_subject(parser)
    takes_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print every question with its answer."""
    from attention_ref.conformance.peers import PEERS
    from attention_ref.conformance.probes.run_probes import answers

    subject = examined(chosen(in_process_choice(options)))
    dialect = PEERS[subject.name].dialect if subject.name in PEERS else ""
    found = dict(answers(subject, dialect))
    show(json.dumps(found, indent=1) if options.json else _table(found))
    return CONFORMS


def _table(found: dict[str, str]) -> str:
    """Return the answers, then the questions that cannot be asked, by the reason."""
    from attention_ref.conformance.probes.question import CANNOT_BE_ASKED

    width = max(map(len, found))
    lines, unasked = [], defaultdict(list)
    for question, answer in found.items():
        cannot, _, reason = answer.partition(": ")
        if cannot == CANNOT_BE_ASKED:
            unasked[reason].append(question)
        else:
            lines.append(f"{question:{width}}  {answer}")
    for reason, questions in unasked.items():
        lines += ["", f"{CANNOT_BE_ASKED}, for {reason}:", *(f"  {question}" for question in questions)]
    return "\n".join(lines).lstrip("\n")
