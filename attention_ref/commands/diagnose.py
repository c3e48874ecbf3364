"""`attention-ref diagnose`: name the mistakes that reproduce wrong numbers."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from attention_ref.commands.command import CONFORMS, DIFFERS, command, show, takes_json
from attention_ref.commands.named_subjects import chosen, in_process_choice, takes_subject
from attention_ref.commands.preflight_remark import examined


def add(commands: Any) -> None:
    """Add the command to those of `attention-ref`."""
    parser = command(commands, "diagnose", run)
    takes_subject(parser)
    parser.add_argument(
        "--operation", metavar="OP", help="what it computes, such as layer_norm or Block; default: attention"
    )
    takes_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the diagnosis; return 0 if every case is right."""
    from attention_ref.conformance.diagnosis import diagnose_subject
    from attention_ref.conformance.errors import reject
    from attention_ref.spec.operations import OPERATIONS

    if options.operation is not None and options.operation not in OPERATIONS:
        reject("operation", options.operation, OPERATIONS)
    subject = chosen(in_process_choice(options)._replace(operation=options.operation))
    first = "attention" if "attention" in subject.operations else next(iter(subject.operations))
    examined(subject)
    found = diagnose_subject(subject, options.operation or first)
    show(json.dumps({**asdict(found), "conforms": found.conforms}, indent=1) if options.json else str(found))
    return CONFORMS if found.conforms else DIFFERS
