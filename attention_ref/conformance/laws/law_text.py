"""A report on laws as text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from attention_ref.conformance.laws.evaluate import Outcome
from attention_ref.conformance.laws.law import Term
from attention_ref.conformance.laws.law_results import LawResults
from attention_ref.conformance.laws.search_loop import FAILS, HOLDS, UNSUPPORTED, LawResult
from attention_ref.spec.records import to_json
from attention_ref.vectors.call import Call

_COLOURS = {HOLDS: "32", FAILS: "31", UNSUPPORTED: "33"}
_WORDS = {HOLDS: "hold", FAILS: "broken", UNSUPPORTED: "unsupported"}
_LONGEST = 400


def write(report: LawResults, *, colour: bool = False) -> str:
    """Write a report as text: summary, table of laws, counterexamples."""
    parts = [_summary(report, colour), _table(report, colour), *(_broken(report, each) for each in report.failures)]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _painted(word: str, verdict: str, colour: bool) -> str:
    return f"\033[{_COLOURS[verdict]}m{word}\033[0m" if colour else word


def _summary(report: LawResults, colour: bool) -> list[str]:
    verdicts = [result.verdict for result in report.results]
    name = " ".join(filter(None, (report.subject.name, report.subject.version)))
    word = _painted("obeys", HOLDS, colour) if report.passed else _painted("breaks", FAILS, colour)
    laws = "every law that was tested" if report.passed else "laws"
    if FAILS not in verdicts and not report.passed:
        word, laws = _painted("was not tested:", UNSUPPORTED, colour), "no law could be run"
    counts = ", ".join(f"{verdicts.count(each)} {word}" for each, word in _WORDS.items())
    how = f"replay of {report.replayed}" if report.replayed else f"seed {report.seed}"
    return [f"{name} {word} {laws}", f"  {counts}, in {' and '.join(report.dtypes)}; {how}"]


def _table(report: LawResults, colour: bool) -> list[str]:
    """Return one line for every law, or several if its verdicts differ between dtypes."""
    rows: dict[tuple[str, str], list[LawResult]] = {}
    for result in report.results:
        rows.setdefault((_name(result), result.verdict), []).append(result)
    width = max(len(name) for name, _ in rows)
    lines = [f"  {'law':{width}}  {'verdict':11}  {'calls':>5}  worst error / budget"]
    for (name, verdict), results in rows.items():
        word = _painted(f"{verdict:11}", verdict, colour)
        ratios = [result.error_ratio for result in results if result.error_ratio is not None]
        note = f"{max(ratios):.2f}" if ratios else results[0].reason
        dtypes = [result.dtype for result in results]
        where = "" if len(dtypes) == len(report.dtypes) else f"  in {' and '.join(dtypes)}"
        tried = str(sum(result.examples for result in results) or "")
        lines.append(f"  {name:{width}}  {word}  {tried:>5}  {note}{where}".rstrip())
    return lines


def _name(result: LawResult) -> str:
    return f"{result.operation}: {result.law.id}"


def _broken(report: LawResults, result: LawResult) -> list[str]:
    """Describe a counterexample: the law, the calls, their results and the violated demand."""
    if result.outcome is None:
        return []
    lines = [f"{_name(result)} in {result.dtype} ({', '.join(result.law.clauses)})", f"  law: {result.law.statement}"]
    if result.reason:
        lines.append(f"  {result.reason}")
    lines += [f"  {line}" for line in (*_calls(result.outcome), *_demand(result.outcome))]
    return [*lines, f"  reproduce: {report.reproduce(result)}"]


def _calls(outcome: Outcome) -> Iterator[str]:
    """Describe the first call in full, and the differences of the others."""
    first = arguments(outcome.trial.calls[0])
    answers = [*outcome.answers, *({} for _ in outcome.trial.calls)]
    for number, (call, answer) in enumerate(zip(outcome.trial.calls, answers, strict=False)):
        given = arguments(call)
        shown = {name: value for name, value in given.items() if not number or first.get(name) != value}
        without = [name for name in first if name not in given]
        yield f"call {number + 1}" + (": as the first, except" if number and (shown or without) else "")
        yield from (f"  {name} {_cut(value)}" for name, value in shown.items())
        if without:
            yield f"  without {', '.join(without)}"
        yield from (f"  returned {name} {_cut(_array(array))}" for name, array in answer.items())


def arguments(call: Call) -> Mapping[str, str]:
    """Return every argument of a call as text."""
    parameters = {f"parameter {name}": _array(array) for name, array in call.parameters.items()}
    options = {name: json.dumps(value) for name, value in call.options.items()}
    config = {"config": json.dumps(to_json(call.config))} if call.config is not None else {}
    chunks = {"in chunks of": ", ".join(map(str, call.chunks))} if call.chunks else {}
    return {**{name: _array(array) for name, array in call.inputs.items()}, **options, **config, **chunks, **parameters}


def _array(array: np.ndarray) -> str:
    return f"{tuple(array.shape)} {_nested(array.tolist())}"


def _nested(item: Any) -> str:
    if isinstance(item, list):
        return f"[{', '.join(map(_nested, item))}]"
    return f"{item:.9g}" if isinstance(item, float) else str(item)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _demand(outcome: Outcome) -> Iterator[str]:
    if outcome.fault is not None:
        yield f"call {len(outcome.answers) + 1}: {outcome.fault.reason}"
        yield from ([f"  {outcome.fault.where}"] if outcome.fault.where else [])
    if outcome.broken is None:
        return
    demand, found = outcome.trial.demands[outcome.broken], outcome.judgements[outcome.broken]
    worst = int(np.argmax(found.error_ratio))
    constant = float(np.broadcast_to(np.ravel(demand.constant), (demand.size,))[worst])
    left, right = _side(outcome, demand.left, worst, 0.0), _side(outcome, demand.right, worst, constant)
    yield f"the law demands {left} {demand.relation} {right}"
    yield f"the subject returned: {found.left[worst]:.17g} and {found.right[worst]:.17g}"
    error, budget = float(found.error[worst]), float(found.budget[worst])
    if np.isnan([found.left[worst], found.right[worst]]).any():
        yield "no law allows NaN here"
    elif not math.isfinite(error):
        yield "one of the two values is not finite"
    elif budget == 0:
        yield f"error {error:.3g} where the values must be equal"
    else:
        yield f"error {error:.3g}, {error / budget:.3g} times the budget {budget:.3g}"


def _side(outcome: Outcome, terms: Sequence[Term], number: int, constant: float) -> str:
    words = []
    for term in terms:
        shape = outcome.answers[term.call][term.result].shape
        index = ", ".join(str(int(position)) for position in np.unravel_index(term.places.ravel()[number], shape))
        factor = float(np.broadcast_to(term.factor, term.places.shape).ravel()[number])
        times = "" if factor == 1 else "-" if factor == -1 else f"{factor:.9g} * "
        words.append(f"{times}{term.result}[{index}] of call {term.call + 1}")
    return " + ".join([*words, *([f"{constant:.17g}"] if constant or not words else [])])
