"""The commands of `attention-ref`, one file each; a file is imported when its command is chosen."""

from collections.abc import Mapping

COMMANDS: Mapping[str, str] = {
    "check": "check an implementation against the specification",
    "diagnose": "name the mistakes that reproduce wrong numbers",
    "ask": "determine the conventions of an attention: empty rows, masks, offsets, dtypes",
    "locate": "find the first tensor in which a model differs from a reference, and why",
    "judge": "judge an attention kernel at real sizes, on random inputs that it has not seen",
    "laws": "test laws on random calls: properties that need no expected values",
    "list": "list what can be checked, and the profiles, clauses and cases",
    "explain": "explain a clause or a case",
    "peers": "check every installed peer in a separate process, and write the matrix of peers and clauses",
    "vectors": "export the vectors for other languages, or verify an export",
    "inspect": "show the architecture of a checkpoint and the keys that are not supported",
    "convert": "write a checkpoint as one of another family",
    "verify": "run a checkpoint in every backend and in transformers, and compare",
    "doctor": "show what is installed here and what can run",
    "bench": "time the backends beside the attention and the models of their frameworks",
}
"""What each command does, by its name."""

FILES: Mapping[str, str] = {"list": "listing"}
"""The files that have another name than their command."""
