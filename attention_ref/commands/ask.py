"""`attention-ref ask`: which conventions an attention follows, question by question."""

from __future__ import annotations

import argparse
import json
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
    width = max(map(len, found))
    return "\n".join(f"{question:{width}}  {answer}" for question, answer in found.items())
