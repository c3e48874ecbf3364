"""Errata: corrections of released vectors. A released case must not change without an erratum.

`errata.toml` lists the corrections. `released/<version>.json` contains a digest of every case as released with a
version of the specification; `python -m attention_ref.vectors.release.errata` writes it, once, when that version is
released.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from attention_ref import vectors
from attention_ref.spec import VERSION

_HERE = resources.files("attention_ref.vectors.release")


@dataclass(frozen=True)
class Erratum:
    """One correction.

    Arguments:
        id: the version of the specification and a number.
        date: the date, such as `2027-01-31`.
        cases: the ids of the changed or removed cases.
        was: what was wrong.
        now: the correction, and its consequences for implementations checked before.
    """

    id: str
    date: str
    cases: tuple[str, ...]
    was: str
    now: str


def errata() -> tuple[Erratum, ...]:
    """Return every correction of a released vector, the oldest first."""
    tables = tomllib.loads(_HERE.joinpath("errata.toml").read_text(encoding="utf-8")).get("erratum", [])
    return tuple(Erratum(**{**table, "cases": tuple(table["cases"])}) for table in tables)


def digest(case: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a case, independent of file layout."""
    text = json.dumps(case, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digests() -> dict[str, str]:
    """Return the digest of every case by its id."""
    files = [vectors.load(name, profile) for name in vectors.operations() for profile in vectors.profiles(name)]
    return {case["id"]: digest(case) for file in files for case in file["cases"]}


def released(version: str = VERSION) -> dict[str, str]:
    """Return the digests of the cases as released with a version; empty if it is not released."""
    path = _HERE.joinpath("released", f"{version}.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def unexplained(before: Mapping[str, str], now: Mapping[str, str], corrections: Iterable[Erratum]) -> list[str]:
    """Return the released cases that changed or disappeared without an erratum. New cases are allowed."""
    explained = {case for erratum in corrections for case in erratum.cases}
    return [case for case, value in before.items() if now.get(case) != value and case not in explained]


def main() -> None:
    """Write the digests of a release."""
    path = Path(__file__).parent / "released" / f"{VERSION}.json"
    if path.exists():
        raise SystemExit(f"{path.name} exists: {VERSION} is released, so changes need an erratum")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(digests(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
