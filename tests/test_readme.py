"""Every block of the README runs: the Python prints what it says that it prints, the commands exit with their codes."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
FILES = {block.split()[1]: block for block in PYTHON if re.match(r"# \w+\.py\n", block)}
BLOCKS = [block for block in PYTHON if block not in FILES.values()]
SHELL = "".join(re.findall(r"^```shell\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
COMMANDS = dict(re.findall(r"^(.*?) *# exit code (\d): .*$", SHELL, re.MULTILINE))
SHOWN = dict(re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
PRINTED = re.compile(r"^print\(.*\)  # (.*)$", re.MULTILINE)
PLUGIN = [] if "attention_ref" in entry_points(group="pytest11").names else ["-p", "attention_ref.pytest_plugin"]
PROGRAMS = {
    "attention-ref": [sys.executable, "-m", "attention_ref"],
    "pytest": [sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the files that the README names."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS, ids=range(1, len(BLOCKS) + 1))
@pytest.mark.usefixtures("folder")
def test_a_block_prints_what_it_says(block: str) -> None:
    for framework in set(re.findall(r"attention_ref\.(torch|keras)\b", block)):
        pytest.importorskip(framework)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "README.md", "exec"), {})
    if block in SHOWN:  # the block of text under it is the beginning of what it prints
        assert printed.getvalue().startswith(SHOWN[block])
    else:
        assert printed.getvalue().splitlines() == PRINTED.findall(block)
    assert printed.getvalue(), "the block shows nothing"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_exits_as_it_says(command: str, folder: Path) -> None:
    program, *arguments = shlex.split(command)
    if "./attention" in arguments:
        _compile(folder)
    if "laws" in arguments and find_spec("hypothesis") is None:
        pytest.skip("hypothesis is not installed")
    done = subprocess.run([*PROGRAMS[program], *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == int(COMMANDS[command]), done.stdout + done.stderr


def test_every_command_has_its_exit_code() -> None:
    assert len(COMMANDS) == len(SHELL.splitlines())


def test_every_block_of_text_stands_under_the_python_that_prints_it() -> None:
    assert len(SHOWN) == README.count("```text\n") > 0
    assert set(SHOWN) <= set(BLOCKS)


def test_the_pages_that_it_links_are_there() -> None:
    links = re.findall(r"(?:\]\(|src(?:set)?=\")(docs/[^)#\"]*)[)\"]", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def _compile(folder: Path) -> None:
    """Make the program of docs/kit/c."""
    sources = ROOT / "docs" / "kit" / "c"
    compiler = shutil.which("cc")
    if compiler is None or not sources.exists():
        pytest.skip("there is no C compiler, or no docs")
    subprocess.run([compiler, "-O2", "-o", folder / "attention", sources / "attention.c", "-lm"], check=True)
