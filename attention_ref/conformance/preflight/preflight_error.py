"""The error for something that cannot be called as attention: the reason, and what to do."""

from __future__ import annotations

from attention_ref.conformance.errors import UsageError


class PreflightError(UsageError):
    """A function that cannot be called as the specification's is.

    Arguments:
        sentence: what is the matter, and what to do.
        dialect: TOML that describes its conventions, where they are known.
        wrapper: Python that calls it, where it takes code; the dialect then describes the wrapper.
    """

    def __init__(self, sentence: str, dialect: str = "", wrapper: str = "") -> None:
        parts = [sentence]
        if wrapper:
            parts.append(f"Or add this wrapper behind it, and check `{WRAPPER}` instead:\n\n{_indented(wrapper)}\n")
        if dialect:
            described = f"`{WRAPPER}`" if wrapper else "it"
            how = "for --dialect FILE, or dialect=...; --write-dialect FILE writes it"
            parts.append(f"This dialect describes {described}, {how}:\n\n{dialect}")
        super().__init__("\n".join(parts))
        self.sentence = sentence
        self.dialect = dialect
        self.wrapper = wrapper


WRAPPER = "checked"
"""The name of the wrapper."""


def _indented(code: str) -> str:
    return "\n".join(f"    {line}" for line in code.splitlines())
