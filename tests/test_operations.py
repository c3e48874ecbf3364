"""The table of operations says what the specification, the clauses and the vectors say, and everything follows it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any, get_args

import pytest

from attention_ref import vectors
from attention_ref.spec.arguments import REQUIRED, Argument, Operation, Stage
from attention_ref.spec.clauses import clauses
from attention_ref.spec.operations import ATTENTION, ATTENTIONS, OPERATIONS
from attention_ref.spec.primitives import ACTIVATIONS
from attention_ref.spec.shapes import LEGEND

EVERY = [pytest.param(operation, id=name) for name, operation in OPERATIONS.items()]


def parameters(operation: Operation) -> list[inspect.Parameter]:
    called = operation.function.__call__ if operation.is_layer else operation.function
    return [each for each in inspect.signature(called).parameters.values() if each.name != "self"]


@pytest.mark.parametrize("operation", EVERY)
def test_the_arguments_are_those_of_the_signature(operation: Operation) -> None:
    found: dict[bool, list[tuple[str, Any]]] = {True: [], False: []}
    for parameter in parameters(operation):
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        found[parameter.kind is parameter.KEYWORD_ONLY].append((parameter.name, default))
    assert [(each.name, each.default) for each in operation.positional] == found[False]
    assert [(each.name, each.default) for each in operation.named] == found[True]


@pytest.mark.parametrize("operation", EVERY)
def test_what_an_argument_names_exists(operation: Operation) -> None:
    groups = {name.partition(".")[0] for name in clauses()}
    assert operation.group in groups
    for argument in operation.arguments.values():
        assert set(argument.letters) <= set(LEGEND), argument.name
        assert bool(argument.axes) == argument.is_array, argument.name
        assert {*argument.needs, *argument.modifies} <= set(operation.arguments), argument.name
        assert argument.clause in clauses() if argument.clause else argument.stage is None or argument.is_array
        assert bool(argument.choices) == (argument.kind == "choice")
    for result in operation.results:
        assert set(result.axes.strip(".")) <= set(LEGEND)
        assert not result.asked_by or operation[result.asked_by].stage == "result"


def test_every_option_of_attention_has_a_stage_a_clause_and_a_profile_of_the_vectors() -> None:
    for name in ATTENTION.options:
        argument = ATTENTION[name]
        assert argument.stage in get_args(Stage)
        assert argument.clause in clauses()
        assert argument.profile in vectors.profiles("attention")


def test_the_vectors_are_of_the_operations_and_their_arguments() -> None:
    assert set(vectors.operations()) == set(OPERATIONS)
    for name, operation in OPERATIONS.items():
        for profile in vectors.profiles(name):
            for case in vectors.load(name, profile)["cases"]:
                assert {*case["inputs"], *case["options"]} <= set(operation.arguments), case["id"]
                assert ("config" in case) == (operation.record is not None), case["id"]
                returned = [result.name for result in operation.returned(case["options"])]
                assert list(case["expected"]) == returned, case["id"]


def test_the_activations_are_those_of_the_specification() -> None:
    assert OPERATIONS["activate"]["name"].choices == tuple(ACTIVATIONS)


def test_views_of_attention() -> None:
    assert ATTENTIONS == ("attention", "additive_attention", "multiplicative_attention")
    assert ATTENTION.hiding == ("mask", "bias", "causal", "window", "key_lengths")
    assert ATTENTION.visibility == ("mask", "bias", "causal", "query_offset", "window", "key_lengths")
    independent = ("scale", "softcap", "sinks", "dropout")
    assert ATTENTION.independent_options == (*ATTENTION.hiding, *independent)
    assert [name for name in ATTENTION.options if ATTENTION[name].counts_positions] == [
        *("causal", "query_offset", "window", "key_lengths")
    ]
    assert OPERATIONS["alibi_bias"].takes_like
    assert not OPERATIONS["rotate"].takes_like


def test_what_is_passed_by_position_ends_where_one_is_missing() -> None:
    assert ATTENTION.passed_by_position({"query", "key", "value", "mask"}) == ("query", "key", "value")
    assert OPERATIONS["linear"].passed_by_position({"array", "kernel"}) == ("array", "kernel")
    assert OPERATIONS["MultiHeadAttention"].passed_by_position({"query", "value"}) == ("query",)


@pytest.mark.parametrize(
    ("range_", "inside", "outside"),
    [
        ("[0, 1)", (0, 0.5), (-0.1, 1)),
        ("(0, inf)", (1e-300, 1e300), (0, -1, float("inf"))),
        ("(-inf, inf)", (-1.0, 0), (float("inf"), float("-inf"), float("nan"))),
        ("[0, k]", (0, 7), (-1, 8)),
        ("", (-5, float("inf")), ()),
    ],
)
def test_a_range_is_an_interval(range_: str, inside: tuple[float, ...], outside: tuple[float, ...]) -> None:
    argument = Argument("number", "number", range=range_)
    assert all(argument.contains(number, {"k": 7}) for number in inside)
    assert not any(argument.contains(number, {"k": 7}) for number in outside)


def test_an_unknown_argument_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"rms_norm has no argument 'bias'; it has array, gain, eps, gain_offset"):
        OPERATIONS["rms_norm"]["bias"]


# A made-up option, `value_scale (h)`, and a table without `softcap`, each in a process of its own: what is derived from
# the table is derived when it is imported.

CHANGED_TABLE = """
from dataclasses import replace
from attention_ref.spec import operations
from attention_ref.spec.arguments import Argument

row = Argument(
    "value_scale", "real", "h", None, "weights", clause="attention.formula", profile="value-scale"
)
named = [each for each in operations.ATTENTION.named if each.name != without]
operations.ATTENTION = replace(operations.ATTENTION, named=(*named[:-3], row, *named[-3:]))
operations.OPERATIONS = {**operations.OPERATIONS, "attention": operations.ATTENTION}

import numpy as np
from attention_ref.vectors.call import Call

def refuses(error, words, action):
    try:
        action()
    except error as raised:
        assert words in str(raised), raised
    else:
        raise AssertionError("nothing was raised")

query = np.ones((1, 2, 3, 4))
call = Call("attention", {"query": query, "key": query, "value": query})
"""

ADDED = {
    "laws draw it": """
from attention_ref.conformance.laws.strategies import EVERYTHING, Draw
assert "value_scale" in EVERYTHING
drawn = Draw(lambda items: items[0], "attention", {"value_scale"}).option("value_scale", call)
assert drawn["value_scale"].shape == (2,)
assert call.changed(**drawn).taken("h", [1]).inputs["value_scale"].shape == (1,)
""",
    "laws about it are tried before the others": """
from attention_ref.conformance.laws.scheduling import _subjects
assert "value_scale" in _subjects()
""",
    "dialects have a word for it": """
from attention_ref.conformance import Dialect, adapted
def function(query, key, value, factors=None):
    return query * factors[:, None, None]
adapter = adapted(function, Dialect(arguments={"value_scale": "factors"}))
scaled = adapter(query, query, query, value_scale=np.array([2.0, 3.0]))
assert scaled[0, :, 0, 0].tolist() == [2.0, 3.0]
""",
    "recipes make it, and cases list its clause": """
from attention_ref.vectors.build import attention_clauses, recipe_arrays
sizes = {"b": 1, "h": 2, "q": 3, "k": 3, "d": 4}
inputs = recipe_arrays.inputs("attention", "id", None, sizes, {"value_scale": {}})
assert list(inputs) == ["query", "key", "value", "value_scale"]
assert inputs["value_scale"].shape == (2,)
assert "attention.formula" in list(attention_clauses._given_clauses(Call("attention", inputs)))
""",
    "schemas allow it": """
from attention_ref import vectors
inputs = vectors.schema("vectors")["$defs"]["case"]["properties"]["inputs"]["properties"]
assert inputs["value_scale"] == {"$ref": "#/$defs/real"}
assert "value_scale" in vectors.schema("recipe")["properties"]["case"]["items"]["properties"]
""",
    "a level must be found for its profile": """
from dataclasses import replace
from attention_ref.conformance import profiles
from attention_ref.conformance.case import cases
case = replace(cases("attention", "core")[0], call=call.changed(value_scale=np.ones(2)))
refuses(ValueError, "LEVELS must name its profiles value-scale", lambda: profiles._level(case))
""",
    "the specification must take it": """
refuses(TypeError, "value_scale", lambda: call.changed(value_scale=np.ones(2)).specified())
""",
}

REMOVED = {
    "calls, and so vectors": """
from attention_ref import vectors
case = vectors.load("attention", "softcap")["cases"][0]
refuses(KeyError, "attention has no argument 'softcap'", lambda: Call.from_json("attention", case))
""",
    "recipes": """
from attention_ref.vectors.build import recipe
refuses(KeyError, "attention has no argument 'softcap'", lambda: list(recipe.cases("attention", "softcap")))
""",
    "laws, and so the kit": """
refuses(ValueError, "the law softcap-bound names options that no operation has", lambda: __import__(
    "attention_ref.conformance.laws.scores"))
""",
}


@pytest.mark.parametrize(
    ("without", "check"),
    [
        *(pytest.param("", check, id=f"added: {name}") for name, check in ADDED.items()),
        *(pytest.param("softcap", check, id=f"removed: {name}") for name, check in REMOVED.items()),
    ],
)
def test_everything_follows_the_table_and_refuses_what_it_lacks(without: str, check: str) -> None:
    script = f"without = {without!r}\n{CHANGED_TABLE}\n{check}"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
