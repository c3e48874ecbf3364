"""`attention-ref laws`: test laws on a subject, or replay a counterexample."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from attention_ref import backends
from attention_ref.backends import DTYPES
from attention_ref.commands.command import CONFORMS, DIFFERS, check_folder, command, dtypes, show, takes_json
from attention_ref.commands.named_subjects import SUBJECT, Choice, in_process
from attention_ref.commands.terminal import colours, counter, stdout_for_reports

if TYPE_CHECKING:
    from attention_ref.conformance import Law, LawReport, Subject

_EPILOG = """\
examples:
  attention-ref laws numpy
  attention-ref laws my_module:attention --arrays torch --law causal-is-a-mask --save broken
  attention-ref laws my_module:attention --arrays torch --replay broken/causal-is-a-mask.attention.float64.json
  attention-ref laws --list
"""


def add(commands: Any) -> None:
    """Add the command to those of `attention-ref`."""
    parser = command(commands, "laws", run)
    parser.description = f"{parser.description} Needs hypothesis: pip install 'attention-ref[laws]'."
    parser.epilog, parser.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
    takes_json(parser)
    option = parser.add_argument
    option("subject", metavar="SUBJECT", nargs="?", help=SUBJECT)
    option("--list", action="store_true", help="list the laws with their statements")
    option(
        "--operation",
        metavar="OP",
        help="such as attention or Transformer; default: every operation of SUBJECT that has laws",
    )
    option("--law", metavar="ID", action="append", help="the id of a law; repeatable")
    option("--dtype", metavar="D", action="append", help=f"{', '.join(DTYPES)} or all; default: float64 and float32")
    option("--examples", metavar="N", type=_count, help="number of random calls per law; default: 50")
    option("--seed", metavar="S", type=int, default=0, help="seed of the random calls; default: 0")
    option("--save", metavar="DIR", help="write every counterexample to a file in DIR")
    option("--replay", metavar="FILE", help="run the calls of a saved counterexample")
    option(
        "--engine",
        choices=backends.ENGINES,
        help="backend of Keras; default: KERAS_BACKEND or the configuration of Keras",
    )
    option("--arrays", metavar="KIND", help="array type of module:callable; default: numpy")
    option("--dialect", metavar="D", help="calling convention of module:callable, such as torch.sdpa, or a TOML file")


def run(options: argparse.Namespace) -> int:
    """Test the laws and print the report; return 0 if all hold and 1 if one is broken."""
    if options.list:
        return _list(options.json)
    with stdout_for_reports() as write:
        report = _report(options)
        if options.json:
            write(json.dumps(report.to_dict(), indent=1, allow_nan=False))
        else:
            from attention_ref.conformance.laws import law_text

            write(law_text.write(report, colour=colours()))
    return CONFORMS if report.passed else DIFFERS


def _report(options: argparse.Namespace) -> LawReport:
    from dataclasses import replace

    from attention_ref.conformance import check_laws, replay_law

    if options.save:
        check_folder(options.save)
    subject, command = _subject(options)
    if options.replay:
        dtype = options.dtype[0] if options.dtype else None
        return replace(replay_law(subject, options.replay, dtype=dtype), command=command)
    report = check_laws(
        subject,
        options.operation,
        laws=options.law,
        dtypes=dtypes(options.dtype),
        seed=options.seed,
        progress=counter(lambda result: f"{result.operation}: {result.law.id}"),
        **({"examples": options.examples} if options.examples else {}),
    )
    report = replace(report, command=command)
    if options.save:
        _save(report, options.save)
    return report


def _save(report: LawReport, folder: str) -> None:
    from attention_ref.conformance import UsageError

    try:
        paths = report.save(folder)
    except OSError as error:
        raise UsageError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    for path in paths:
        print(f"saved {path}", file=sys.stderr)


def _subject(options: argparse.Namespace) -> tuple[Subject, str]:
    """Return the subject and the command-line arguments that name it."""
    from attention_ref.conformance import UsageError
    from attention_ref.conformance.laws.counterexample import read

    if options.subject is None:
        raise UsageError("no SUBJECT given; name one, or list the laws with --list")
    operation = read(options.replay)["operation"] if options.replay else options.operation
    choice = Choice(
        options.subject,
        operation=operation,
        arrays=options.arrays,
        dialect=options.dialect,
        engine=options.engine,
    )
    engine = [f"--engine {choice.engine}"] if choice.engine else []
    return in_process(choice), " ".join([shlex.quote(options.subject), *choice.options, *engine])


def _list(as_json: bool) -> int:
    from attention_ref.conformance import LAWS

    if as_json:
        fields = ("id", "statement", "clauses", "operations", "needs")
        show(json.dumps([{name: getattr(law, name) for name in fields} for law in LAWS], indent=1))
    else:
        show("\n".join(map(_listed, LAWS)))
    return CONFORMS


def _listed(law: Law) -> str:
    needs = f"; needs {', '.join(law.needs)}" if law.needs else ""
    facts = f"operations: {', '.join(law.operations)}{needs}\n  clauses: {', '.join(law.clauses)}"
    return f"{law.id}\n  {law.statement}\n  {facts}"


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count
