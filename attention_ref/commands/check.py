"""`attention-ref check`: check an implementation against the specification."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_ref import backends
from attention_ref.backends import DTYPES
from attention_ref.commands import named_subjects
from attention_ref.commands.command import CONFORMS, DIFFERS, check_writable, command, dtypes, save, takes_json
from attention_ref.commands.named_subjects import Choice
from attention_ref.commands.report_output import written
from attention_ref.commands.terminal import colours, counter, stdout_for_reports

if TYPE_CHECKING:
    from attention_ref.conformance import Report, Result
    from attention_ref.conformance.subjects.base_subject import BaseSubject

    Watch = Callable[[Report], contextlib.AbstractContextManager[Callable[[Result | None], object]]]

FORMATS = ("text", "json", "junit", "markdown", "html")


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    parser = command(commands, "check", run)
    takes_json(parser)
    add = parser.add_argument
    text = f"{named_subjects.SUBJECT} (see attention-ref list subjects)"
    add("subject", metavar="SUBJECT", nargs="?", help=text)
    add("--exec", metavar="COMMAND", help="instead of SUBJECT: a program that answers requests in JSON line by line")
    add("--outputs", metavar="DIR", help="instead of SUBJECT: a folder of results, DIR/<case id>.<dtype>.npz")
    add("--operation", metavar="OP", help="such as attention, layer_norm or Block; default: all that SUBJECT has")
    add("--profile", metavar="P", action="append", help="a group of cases, such as core; repeatable")
    add("--no-gradients", action="store_true", help="leave out the cases that ask for gradients")
    text = "a profile that SUBJECT must support: an unsupported case of it is a failure; repeatable"
    add("--claim", metavar="P", action="append", help=text)
    add("--dtype", metavar="D", action="append", help=f"{', '.join(DTYPES)} or all; default: float64 and float32")
    add("--case", metavar="GLOB", default="*", help="only cases whose id matches, such as 'attention/causal/*'")
    add(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="seed of the numbers in the cases; all but 0 need mpmath; default: 0",
    )
    text = "backend of Keras; default: KERAS_BACKEND or the configuration of Keras"
    add("--engine", choices=backends.ENGINES, help=text)
    add("--arrays", metavar="KIND", help="array type of module:callable, such as torch; default: numpy")
    text = "calling convention of module:callable, such as torch.sdpa (see attention-ref list dialects), or a TOML file"
    add("--dialect", metavar="D", help=text)
    add(
        "--timeout", metavar="S", type=float, default=60.0, help="time limit of a call in seconds; 0: none; default: 60"
    )
    add("--known-failures", metavar="FILE", help="TOML of expected failures; exit code 0 if exactly these cases fail")
    add("--format", choices=FORMATS, default="text", help="format of the report; --json is short for --format json")
    text = "write the calling convention under which SUBJECT would be right, if one is found"
    add("--write-dialect", metavar="FILE", help=text)
    add("--verbose", action="store_true", help="show unsupported cases too, and a failure of every failing clause")
    add("--quiet", action="store_true", help="print the verdict only")
    add("--output", metavar="FILE", help="write the report to FILE; the text still goes to stdout")
    add("--html", metavar="FILE", help="short for --format html --output FILE")
    text = "write what its attention computes, as the command ask finds it, to FILE; a line of JSON for each question"
    add("--answers", metavar="FILE", help=text)


def run(options: argparse.Namespace) -> int:
    """Check a subject and write the report."""
    choice = _choice(options)
    colour, subject = colours(), named_subjects.chosen(choice)
    answers = _answers(subject, options.answers) if options.answers else None
    format, output = _report_format(options)
    check_writable(output, options.write_dialect)
    with _watcher(subject, format, output, colour) as watch, stdout_for_reports() as show_later:
        report = _checked(
            subject,
            write_dialect=options.write_dialect,
            operations=[options.operation] if options.operation else None,
            profiles=options.profile,
            dtypes=dtypes(options.dtype),
            cases=options.case,
            seed=options.seed,
            gradients=not options.no_gradients,
            reproduce=named_subjects.reproduce(subject, choice, options.seed),
            known=options.known_failures,
            watch=watch,
        )
        words = {"verbose": options.verbose, "quiet": options.quiet}
        show_later(written(report, format, output, colour=colour, **words))
        if answers is not None:
            _save_each(options.answers, answers)
    return CONFORMS if report.is_as_known else DIFFERS


def _report_format(options: argparse.Namespace) -> tuple[str, str | None]:
    """Return the format of the report and the file that it is written to; none is stdout."""
    from attention_ref.conformance import UsageError

    if not options.html:
        return "json" if options.json else options.format, options.output
    if options.output or options.json or options.format != "text":
        raise UsageError("--html FILE names the format and the file: leave out --format, --json and --output")
    return "html", options.html


def _choice(options: argparse.Namespace) -> Choice:
    from attention_ref.conformance import UsageError

    if options.outputs and options.seed:
        raise UsageError("--seed cannot be used with --outputs: a folder contains results of the released cases")
    return Choice(
        subject=options.subject,
        exec=options.exec,
        outputs=options.outputs,
        operation=options.operation,
        arrays=options.arrays,
        dialect=options.dialect,
        engine=options.engine,
        claims=tuple(options.claim or ()),
        timeout=options.timeout,
    )


@contextlib.contextmanager
def _watcher(subject: BaseSubject, format: str, output: str | None, colour: bool) -> Iterator[Watch | None]:
    """Start what watches over the calls of a subject that has a time limit."""
    from attention_ref.commands.watcher import Watcher
    from attention_ref.conformance import timeouts

    if subject.timeout is None:
        yield None
        return
    watcher = Watcher(subject.timeout + timeouts.GRACE, format=format, output=output, colour=colour)
    try:
        yield watcher.over
    finally:
        watcher.close()


def _answers(subject: BaseSubject, path: str) -> Iterator[tuple[str, str]]:
    """Return an iterator of the answers, which runs nothing yet; usage errors are raised before anything is checked."""
    from attention_ref.conformance.peers import PEERS
    from attention_ref.conformance.probes.run_probes import answers

    check_writable(path)
    return answers(subject, PEERS[subject.name].dialect if subject.name in PEERS else "")


def _save_each(path: str, answers: Iterator[tuple[str, str]]) -> None:
    """Write every answer at once: the process may not live to give the next one."""
    with Path(path).open("w", encoding="utf-8") as file:
        for question, answer in answers:
            print(json.dumps([question, answer]), file=file, flush=True)


def _checked(subject: BaseSubject, *, known: str | None, write_dialect: str | None, **choices: Any) -> Report:
    from attention_ref.conformance import PreflightError, check_subject, expected_failures

    failures = expected_failures.read(known) if known else None
    try:
        report = check_subject(subject, known=failures, progress=counter(lambda result: result.case.id), **choices)
    except PreflightError as error:
        if write_dialect:
            _save_dialect(write_dialect, error.dialect)
        raise
    if write_dialect:
        _save_dialect(write_dialect, report.suggested_dialect)
    return report


def _save_dialect(path: str, dialect: str) -> None:
    """Write the suggested dialect, or a note that there is none."""
    if dialect:
        save(path, dialect)
    text = f"{path} describes its dialect" if dialect else "no dialect was found, and none is written"
    print(text, file=sys.stderr)
