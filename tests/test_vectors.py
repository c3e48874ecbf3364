"""The files of vectors: generated as they are committed, valid, complete, and exact in every dtype that they name."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import ml_dtypes
import numpy as np
import pytest

from attention_ref import vectors
from attention_ref.conformance import ATTENTIONS
from attention_ref.conformance.case import all_cases, case_of
from attention_ref.conformance.case_heads import all_heads, foundations
from attention_ref.spec.clauses import clauses
from attention_ref.vectors.build import recipe

pytestmark = pytest.mark.bare
FILES = [(operation, profile) for operation in vectors.operations() for profile in vectors.profiles(operation)]
DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
FOLDER = Path(vectors.__file__).parent


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    return [case for name in FILES for case in vectors.load(*name)["cases"]]


@pytest.mark.long
def test_generating_again_gives_the_same_bytes() -> None:
    command = [sys.executable, "-m", "attention_ref.vectors.build.generate", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_recipe_has_its_file_and_every_file_its_recipe() -> None:
    assert recipe.names() == FILES


@pytest.mark.parametrize("name", FILES, ids="/".join)
def test_files_follow_their_schemas(name: tuple[str, str]) -> None:
    document = vectors.load(*name)
    jsonschema.validate(document, vectors.schema("vectors"))
    jsonschema.validate(recipe.load(*name), vectors.schema("recipe"))
    assert (document["operation"], document["profile"]) == name
    assert all(case["id"].startswith("/".join(name) + "/") for case in document["cases"])
    assert all(_sizes_agree(table) for case in document["cases"] for table in _tables(case))


@pytest.mark.parametrize(
    "broken", [{"dtypes": []}, {"catches": ""}, {"bug": "mask.invert"}, {"id": "plain"}, {"expected": {}}]
)
def test_the_schema_rejects_broken_cases(broken: dict[str, Any]) -> None:
    document = vectors.load("attention", "core")
    document["cases"] = [document["cases"][0] | broken]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, vectors.schema("vectors"))


def test_files_of_version_1_are_read() -> None:
    stored = json.loads((Path(__file__).parent / "stored" / "vectors-v1.json").read_text(encoding="utf-8"))
    document = vectors.current(stored)
    assert document["format_version"] == vectors.FORMAT_VERSION
    (item,) = document["cases"]
    new = next(case for case in vectors.load("linear", "core")["cases"] if case["id"] == item["id"])
    assert item == {name: value for name, value in new.items() if name != "bug"}
    assert case_of("linear", "core", item).catches == stored["cases"][0]["hunts"]
    assert vectors.current(vectors.load("linear", "core")) == vectors.load("linear", "core")
    with pytest.raises(ValueError, match="format version 3 of vectors is not supported; expected 2 or 1"):
        vectors.current({**stored, "format": 3})


def test_heads_of_cases_are_those_of_the_whole_files() -> None:
    assert list(all_heads()) == [case.head for case in all_cases()]


def test_every_kind_of_bug_is_described_and_caught(cases: list[dict[str, Any]]) -> None:
    assert {case["bug"] for case in cases} == set(vectors.bugs())
    assert all(len(text) > 15 and text.endswith(".") for text in vectors.bugs().values())


def test_ids_are_unique_and_attention_has_many_cases(cases: list[dict[str, Any]]) -> None:
    ids = [case["id"] for case in cases]
    assert len(ids) == len(set(ids))
    assert sum(name.startswith("attention/") for name in ids) >= 150


def test_every_clause_has_a_case_and_every_case_known_clauses(cases: list[dict[str, Any]]) -> None:
    named = {clause for case in all_cases() for clause in case.clauses}
    assert named >= {clause for case in cases for clause in case["clauses"]}
    implied = {clause.id for operation in vectors.operations() for clause in foundations(operation)}
    assert named | implied == set(clauses())


def test_only_the_hygiene_profile_needs_the_optional_clause(cases: list[dict[str, Any]]) -> None:
    optional = {clause.id for clause in clauses().values() if clause.optional}
    needing = {case["id"] for case in cases if optional & set(case["clauses"])}
    assert needing == {case["id"] for case in cases if "/hygiene/" in case["id"]}


@pytest.mark.parametrize("field", ["title", "statement", "reason", "differ"])
def test_clauses_say_everything(field: str) -> None:
    assert all(len(getattr(clause, field)) > 15 for clause in clauses().values())


def test_inputs_are_exact_in_every_dtype_that_a_case_names(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        for name in case["dtypes"]:
            for array in (*case["inputs"].values(), *case.get("parameters", {}).values()):
                if array.get("dtype", "real") == "real":
                    given = np.array([float(value) for value in array["values"]])
                    with np.errstate(over="ignore"):
                        np.testing.assert_array_equal(given.astype(DTYPES[name]).astype(np.float64), given, case["id"])


def test_results_are_in_range_of_every_dtype_that_a_case_names(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        results = {**case["expected"], **case.get("gradient", {"expected": {}})["expected"]}
        results.pop("log_sum_exp", None)  # at least float32
        finite = [abs(value) for result in results.values() for value in result["values"] if not isinstance(value, str)]
        for name in case["dtypes"]:
            assert max(finite, default=0.0) <= float(ml_dtypes.finfo(DTYPES[name]).max), case["id"]


def test_gradients_of_attention_are_given_where_the_output_is_finite(cases: list[dict[str, Any]]) -> None:
    attending = [case for case in cases if case["id"].partition("/")[0] in ATTENTIONS]
    without = {case["id"]: case["expected"]["output"]["values"] for case in attending if "gradient" not in case}
    finite = [name for name, values in without.items() if not any(isinstance(value, str) for value in values)]
    left_out = {
        f"{operation}/{profile}/{table['name']}"
        for operation, profile in FILES
        for table in recipe.load(operation, profile)["case"]
        if table.get("gradient") is False
    }
    assert set(finite) <= left_out


def test_the_vectors_stay_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.json")) < 10_000_000


def test_loading_vectors_needs_the_standard_library_alone() -> None:
    program = (
        "import sys; from attention_ref import vectors; vectors.load('attention', 'core');"
        "assert not {'numpy', 'mpmath', 'attention_ref.vectors.build.recipe'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", [("attention", "nothing"), ("nothing", "core")])
def test_unknown_vectors_are_named(name: tuple[str, str]) -> None:
    with pytest.raises(KeyError, match="'nothing'; choose from"):
        vectors.load(*name)


def test_files_are_plain_json(cases: list[dict[str, Any]]) -> None:
    json.dumps(cases, allow_nan=False)


def _tables(case: dict[str, Any]) -> list[dict[str, Any]]:
    gradient = case.get("gradient", {"cotangents": {}, "expected": {}})
    groups = (case["inputs"], case["expected"], gradient["cotangents"], gradient["expected"])
    groups += (case.get("parameters", {}), case.get("taps", {}))
    return [table for group in groups for table in group.values()]


def _sizes_agree(table: dict[str, Any]) -> bool:
    lists = [table["values"], *table.get("rounding", {}).values()]
    return all(len(values) == math.prod(table["shape"]) for values in lists)
