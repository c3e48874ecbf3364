"""`attention-ref diagnose`: name the mistakes that reproduce the numbers of a wrong attention."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from attention_ref.commands.command import CONFORMS, DIFFERS, command, show, takes_json
from attention_ref.commands.named_subjects import chosen, in_process_choice, takes_subject


def add(commands: Any) -> None:
    """Add the command to those of `attention-ref`."""
    parser = command(commands, "diagnose", run, "name the mistakes that reproduce the numbers of a wrong attention")
    takes_subject(parser)
    takes_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the diagnosis; return 0 if every case is right."""
    from attention_ref.conformance.diagnosis import diagnose_subject

    found = diagnose_subject(chosen(in_process_choice(options)))
    show(json.dumps({**asdict(found), "conforms": found.conforms}, indent=1) if options.json else str(found))
    return CONFORMS if found.conforms else DIFFERS
