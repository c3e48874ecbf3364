"""The vectors as a folder: written the same every time, read in another language, and every change of it found."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from attention_ref import cli, vectors
from attention_ref.conformance import budget, cases
from attention_ref.spec.clauses import clauses
from attention_ref.vectors.release import errata, verification
from attention_ref.vectors.release.errata import Erratum
from attention_ref.vectors.release.export import export
from attention_ref.vectors.release.export_files import BUDGET, ExportError, choose, contents

pytestmark = pytest.mark.bare
CORE = "vectors/attention/core.json"
MANIFEST, INDEX = "SHA256SUMS", "index.json"
NEEDS_NODE = pytest.mark.skipif(
    shutil.which("node") is None, reason="the README's reader is JavaScript; node is needed"
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of everything, which is only read."""
    folder = tmp_path_factory.mktemp("whole") / "new" / "folder"
    export(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small export, which a test may change."""
    export(tmp_path / "part", ["attention", "Block"], ["core", "cache"])
    return tmp_path / "part"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_is_there_and_small(whole: Path) -> None:
    there = files(whole)
    index = json.loads(there[INDEX])
    named = {entry["path"]: entry["cases"] for entry in index["files"]}
    assert set(there) == {*named, INDEX, MANIFEST, "README.md", "clauses.json", "vectors.schema.json"}
    assert named == {path: len(json.loads(there[path])["cases"]) for path in named}
    assert {(entry["operation"], entry["profile"]) for entry in index["files"]} == {
        (operation, profile) for operation in vectors.operations() for profile in vectors.profiles(operation)
    }
    assert [clause["id"] for clause in json.loads(there["clauses.json"])["clauses"]] == list(clauses())
    assert sum(map(len, there.values())) < 10_000_000


def test_the_manifest_lists_every_other_file_sorted(whole: Path) -> None:
    there = files(whole)
    lines = there.pop(MANIFEST).decode().splitlines()
    assert lines == [f"{sha256(there[path]).hexdigest()}  {path}" for path in sorted(there)]


def test_another_process_writes_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "attention_ref", "vectors", "export", str(tmp_path / "again")]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "LC_ALL": "C", "PYTHONUTF8": "0"}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert files(tmp_path / "again") == files(whole)


def test_the_budget_is_the_one_that_the_kit_uses() -> None:
    assert BUDGET["factor"] == budget.FACTOR
    formats = {"float64": "float64", "float32": "float32", "float16": "float32"}  # and what is computed in
    limits = {name: np.finfo(name) for name in formats}
    assert {name: BUDGET["dtypes"][name] for name in formats} == {
        name: {
            "arithmetic": arithmetic,
            "unit_roundoff": limits[name].eps / 2,
            "smallest_normal": limits[name].smallest_normal,
            "smallest_subnormal": limits[name].smallest_subnormal,
        }
        for name, arithmetic in formats.items()
    }
    assert BUDGET["dtypes"]["bfloat16"]["arithmetic"] == "float32"


# The README's programs


@pytest.fixture(scope="module")
def scripts(whole: Path) -> dict[str, str]:
    """The programs in the README by their file names."""
    text = (whole / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"```js\n// (\S+)\n(.*?)```", text, flags=re.DOTALL))


def node(folder: Path, scripts: dict[str, str], name: str, *arguments: object) -> str:
    for each, code in scripts.items():
        (folder / each).write_text(code, encoding="utf-8")
    command = ["node", str(folder / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout


@NEEDS_NODE
def test_the_readme_reads_and_compares(whole: Path, scripts: dict[str, str], tmp_path: Path) -> None:
    assert len(scripts["reader.mjs"].splitlines()) <= 20
    count = len(cases("attention", "core"))
    assert node(tmp_path, scripts, "check.mjs", whole).strip() == f"{count} passed, 0 failed"


@NEEDS_NODE
def test_the_readme_finds_a_wrong_function(whole: Path, scripts: dict[str, str], tmp_path: Path) -> None:
    wrong = {**scripts, "check.mjs": scripts["check.mjs"].replace("Math.sqrt(query.shape.at(-1))", "1")}
    assert wrong != scripts
    assert "attention/core/plain: " in node(tmp_path, wrong, "check.mjs", whole)


RATIOS = """
import { cases, read } from "./reader.mjs";
import { errorRatios } from "./compare.mjs";
const [folder, results] = process.argv.slice(2);
const { budget } = read(`${folder}/index.json`);
const found = read(results).map(([operation, profile, id, dtype, values]) => {
  const expected = cases(folder, operation, profile).find((item) => item.id === id).expected.output;
  return errorRatios(values.map(Number), expected, dtype, budget).map(String);
});
console.log(JSON.stringify(found));
"""
OF_EACH_KIND = [("attention", "core"), ("attention", "mask"), ("rotate", "core"), ("Block", "cache")]


@NEEDS_NODE
def test_the_readme_compares_as_the_kit_does(whole: Path, scripts: dict[str, str], tmp_path: Path) -> None:
    generator, results, expected = np.random.default_rng(0), [], []
    for name in OF_EACH_KIND:
        for case in cases(*name):
            truth = case.expected["output"]
            for dtype in case.dtypes:
                noise = generator.choice([0, 1e-9, np.nan, np.inf], truth.values.shape, p=[0.5, 0.4, 0.05, 0.05])
                with np.errstate(invalid="ignore"):
                    got = truth.values + noise
                results.append(
                    (*name, case.id, dtype, [str(value).replace("inf", "Infinity") for value in got.ravel()])
                )
                allowed = budget.budget(truth.roundings, dtype)
                expected.append(budget.compare(got, truth.values, allowed).error_ratio.ravel())
    (tmp_path / "results.json").write_text(json.dumps(results).replace('"nan"', '"NaN"'))
    found = json.loads(
        node(tmp_path, {**scripts, "ratios.mjs": RATIOS}, "ratios.mjs", whole, tmp_path / "results.json")
    )
    for (*_, case, dtype, _), ratios, error_ratio in zip(results, found, expected, strict=True):
        np.testing.assert_allclose(np.array(ratios, float), error_ratio, rtol=1e-12, err_msg=f"{case} {dtype}")


# Where an export may be written


def test_an_export_replaces_an_earlier_one(folder: Path) -> None:
    assert set(export(folder, ["linear"])) == set(files(folder))
    assert not (folder / "vectors" / "attention").exists()
    assert verification.verify(folder).problems == ()


def test_an_export_that_was_cut_short_is_written_again(folder: Path) -> None:
    (folder / CORE).unlink()
    (folder / "README.md").unlink()
    export(folder)
    assert verification.verify(folder).problems == ()


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  thesis.tex\n")
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(ExportError, match="not empty and is not an earlier export"):
        export(tmp_path)
    assert set(files(tmp_path)) == {"SHA256SUMS", "thesis.tex"}


def test_a_file_beside_an_earlier_export_is_left_alone(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    before = files(folder)
    with pytest.raises(ExportError, match=r"files besides an earlier export: notes\.txt"):
        export(folder)
    assert files(folder) == before


def test_a_manifest_that_lists_a_file_elsewhere_reaches_none(folder: Path) -> None:
    outside = folder.parent / "outside.txt"
    outside.write_text("mine")
    with (folder / MANIFEST).open("a") as manifest:
        manifest.write(f"{'0' * 64}  ../outside.txt\n{'0' * 64}  {outside}\n")
    export(folder)
    assert outside.exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="is not a folder"):
        export(tmp_path / "file")


@pytest.mark.parametrize(
    ("operations", "profiles", "message"),
    [
        (["atention"], None, "no operation 'atention'"),
        (None, ["cores"], "no profile 'cores'"),
        (["linear"], ["gqa"], "no selected operation"),
    ],
)
def test_unknown_parts_are_named(operations: list[str] | None, profiles: list[str] | None, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        choose(operations, profiles)


# What verifying finds


def flip_digit(folder: Path) -> None:
    """Change one digit of one expected value of the first case."""
    text = (folder / CORE).read_text()
    place = text.index('"expected"')
    place = text.index(".", place) + 5
    changed = text[:place] + ("1" if text[place] != "1" else "2") + text[place + 1 :]
    (folder / CORE).write_text(changed)


def list_again(folder: Path) -> None:
    """Make the manifest agree with the files."""
    there = {path: data for path, data in files(folder).items() if path != MANIFEST}
    (folder / MANIFEST).write_text("".join(f"{sha256(there[path]).hexdigest()}  {path}\n" for path in sorted(there)))


def edit_digest(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(re.sub(rf"\w{{64}}  {CORE}", f"{'a' * 64}  {CORE}", text))


def unlist(folder: Path) -> None:
    lines = (folder / MANIFEST).read_text().splitlines(keepends=True)
    (folder / MANIFEST).write_text("".join(line for line in lines if CORE not in line))


def reverse(folder: Path) -> None:
    lines = (folder / MANIFEST).read_text().splitlines(keepends=True)
    (folder / MANIFEST).write_text("".join(reversed(lines)))


def link(folder: Path) -> None:
    (folder / CORE).rename(folder.parent / "elsewhere.json")
    (folder / CORE).symlink_to(folder.parent / "elsewhere.json")


def version(name: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text()) | {name: value}
        (folder / INDEX).write_text(json.dumps(index))
        list_again(folder)

    return change


def then_list(change: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: (change(folder), list_again(folder))  # type: ignore[func-returns-value]


def remove(folder: Path) -> None:
    (folder / CORE).unlink()


def append(folder: Path) -> None:
    with (folder / CORE).open("ab") as file:
        file.write(b"\n")


def add(folder: Path) -> None:
    (folder / "vectors" / "more.json").write_text("{}")


def break_line(folder: Path) -> None:
    with (folder / MANIFEST).open("a") as file:
        file.write("hello\n")


CHANGES = {
    "changed-digit": (
        flip_digit,
        "changed",
        CORE,
        r"line \d+ .* in attention/core/plain .corrected by erratum 2026.11-1.$",
    ),
    "changed-and-listed": (
        then_list(flip_digit),
        "differs",
        CORE,
        r"agrees with the manifest.* in attention/core/plain .corrected by erratum 2026.11-1.$",
    ),
    "longer": (append, "changed", CORE, "its length differs"),
    "missing": (remove, "missing", CORE, "listed but missing"),
    "missing-and-unlisted": (then_list(remove), "missing", CORE, "neither present nor listed"),
    "extra": (add, "extra", "vectors/more.json", "not listed"),
    "extra-and-listed": (then_list(add), "differs", "vectors/more.json", "listed, but not part of the package"),
    "link": (link, "changed", CORE, "digest"),
    "digest-edited": (edit_digest, "manifest", CORE, "lists another digest"),
    "line-removed": (unlist, "manifest", CORE, "but not listed in the manifest"),
    "lines-moved": (reverse, "manifest", MANIFEST, "its lines were changed"),
    "line-broken": (break_line, "manifest", MANIFEST, "line 9 is not a digest and a path"),
    "spec": (version("spec", "2025.01"), "version", INDEX, "spec 2025.01 differs from 2026.11"),
    "format": (version("format_version", 0), "version", INDEX, "format_version 0 differs from 2"),
    "title": (version("title", "mine"), "differs", INDEX, "not with the package"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found_and_nothing_else(name: str, folder: Path) -> None:
    change, kind, path, text = CHANGES[name]
    assert verification.verify(folder).problems == ()
    change(folder)
    (problem,) = verification.verify(folder).problems
    assert (problem.kind, problem.path) == (kind, path)
    assert re.search(text, problem.text)


BROKEN = [
    *(b"", b"{", b"[]", b'{"files": [3]}', b"[" * 100_000, b'{"files": "abc"}', b'{"files": 3}', b"\xff"),
    *(b'{"files": [{"operation": [], "profile": "core", "cases": 3}]}',),
    *(b'{"files": [{"operation": "linear", "profile": "core", "cases": "3"}]}',),
    b'{"files": [{"operation": "linear", "profile": "core", "cases": ' + b"9" * 5000 + b"}]}",
]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_index_is_found(content: bytes, folder: Path) -> None:
    (folder / INDEX).write_bytes(content)
    assert [(problem.kind, problem.path) for problem in verification.verify(folder).problems] == [("changed", INDEX)]


NEEDS_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@NEEDS_PIPES
@pytest.mark.parametrize("path", [INDEX, MANIFEST, CORE, "more"])
def test_a_pipe_is_found_without_waiting_for_its_writer(path: str, folder: Path) -> None:
    (folder / path).unlink(missing_ok=True)
    os.mkfifo(folder / path)
    assert path in {problem.path for problem in verification.verify(folder).problems}
    with pytest.raises(ExportError, match=f"contains something other than files of an export, such as a link: {path}"):
        export(folder)


def test_vectors_that_are_nested_deeply_are_found(folder: Path) -> None:
    (folder / CORE).write_bytes(b"[" * 100_000)
    assert [(problem.kind, problem.path) for problem in verification.verify(folder).problems] == [("changed", CORE)]


@pytest.mark.parametrize("path", [INDEX, MANIFEST, "README.md", "clauses.json", CORE, "vectors/attention"])
def test_what_a_link_points_to_is_never_written(path: str, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (folder / path).rename(outside)
    before = outside.read_bytes() if outside.is_file() else files(outside)
    (folder / path).symlink_to(outside)
    with pytest.raises(ExportError, match=f"{folder} contains .*: {path}"):
        export(folder)
    assert (outside.read_bytes() if outside.is_file() else files(outside)) == before


def test_a_second_name_of_a_file_keeps_what_it_had(folder: Path, tmp_path: Path) -> None:
    text = b"mine"
    (folder / "README.md").write_bytes(text)
    (tmp_path / "mine").hardlink_to(folder / "README.md")
    export(folder, ["linear"])
    assert (tmp_path / "mine").read_bytes() == text
    assert verification.verify(folder).problems == ()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="file/folder cannot be written: Not a directory"):
        export(tmp_path / "file" / "folder")


def test_a_folder_without_a_manifest_says_so(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    assert verification.verify(folder).problems[0].kind == "missing"


def test_any_changed_byte_is_found(folder: Path) -> None:
    generator = np.random.default_rng(1)
    for path, data in files(folder).items():
        place = int(generator.integers(len(data)))
        (folder / path).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert verification.verify(folder).problems, path
        (folder / path).write_bytes(data)
    assert verification.verify(folder).problems == ()


# Errata

CORRECTED = Erratum("2026.11-1", "2027-01-31", ("attention/core/plain",), "a digit was wrong", "it is right")


def test_a_corrected_case_is_told_with_its_erratum(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    then_list(flip_digit)(folder)
    monkeypatch.setattr(verification, "errata", lambda: (CORRECTED,))
    (problem,) = verification.verify(folder).problems
    assert problem.text.endswith("in attention/core/plain (corrected by erratum 2026.11-1)")


def test_errata_are_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attention_ref.vectors.release.export_files.errata", lambda: (CORRECTED,))
    index = json.loads(contents([("linear", "core")])[INDEX])
    assert index["errata"][0]["id"] == "2026.11-1"
    assert index["errata"][0]["cases"] == ["attention/core/plain"]


def test_no_released_case_changes_without_an_erratum() -> None:
    assert errata.unexplained(errata.released(), errata.digests(), errata.errata()) == []
    assert all(set(erratum.cases) for erratum in errata.errata())


def test_a_silent_change_is_found() -> None:
    now = errata.digests()
    before = {**now, "attention/core/plain": "another", "attention/core/gone": "digest"}
    now["attention/core/new"] = "digest"
    assert errata.unexplained(before, now, ()) == ["attention/core/plain", "attention/core/gone"]
    assert errata.unexplained(before, now, (CORRECTED,)) == ["attention/core/gone"]


# The command


def test_the_command_writes_and_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "out")
    assert cli.main(["vectors", "export", target, "--operation", "linear", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 6
    assert cli.main(["vectors", "verify", target]) == 0
    assert capsys.readouterr().out.startswith("unchanged: 1 file of vectors with ")
    (tmp_path / "out" / "README.md").unlink()
    assert cli.main(["vectors", "verify", target]) == 1
    assert capsys.readouterr().out == "missing  README.md: listed but missing\nchanged: 1 of its files\n"
    assert cli.main(["vectors", "verify", target, "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["verified"] is False
    assert data["problems"] == [{"kind": "missing", "path": "README.md", "text": "listed but missing"}]


@pytest.mark.parametrize("arguments", [["verify", "nowhere"], ["export", "x", "--operation", "atention"]])
def test_what_makes_no_sense_is_a_usage_error(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["vectors", *arguments]) == 2
    assert capsys.readouterr().err.startswith("attention-ref: there is no ")


def test_writing_and_verifying_need_the_standard_library_alone(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['numpy'] = None; from attention_ref.cli import main;"
        f"sys.exit(main(['vectors', 'export', {str(tmp_path)!r}]) or main(['vectors', 'verify', {str(tmp_path)!r}]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
