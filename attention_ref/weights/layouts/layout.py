"""A family of released models: its keys, its tensors, and its classes, from which reading and writing both derive."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.parameters import Parameter, parameters
from attention_ref.weights.layouts.config_keys import Keys, Values
from attention_ref.weights.layouts.rules import Linear, Rule

Array = np.ndarray[Any, Any]
Table = Mapping[str, "str | Rule"]
"""Our parameter, or our part with a kernel, gain or bias, to the tensor or module that holds it.

`*` is the number of the block, and a second one that of the expert; `query+key+value` are three parts in one tensor. A
name alone is a `Linear`. Where the name of a tensor is not that of the module, a dot and `weight` or `bias`, it has
`{leaf}` for `weight` or `bias`, `{our}` for `kernel`, `gain` or `bias`, or `{end}` for nothing or `_bias`. With
`{row}`, each row of our parameter is a tensor of its own, by its index.
"""

ROW = "{row}"
LEAVES = {"kernel": "weight", "gain": "weight", "bias": "bias"}


@dataclass(frozen=True)
class Architecture:
    """A class of `transformers`: what reads the result of the family's stacks.

    Arguments:
        kind: the argument of `Layout.configure`.
        table: where the tensors of the head are; a function of the configuration where they depend on it.
        prefix: what stands before the names of the family's own tensors.
        unused: tensors that such a file may have and that this class does not read: a pattern, and the reason.
        optional: whether a file may lack the whole head.
        fillers: tensors that `transformers` misses in a file without them, and does not read: where the second is in a
            file that we write, the first is a copy of it.
    """

    kind: str
    table: Table | Callable[[ModelConfig], Table] = field(default_factory=dict)
    prefix: str = ""
    unused: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False
    fillers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """A family.

    Arguments:
        name: the `model_type` of its `config.json`.
        keys: what stands in its `config.json`.
        configure: our configuration, of the values of these keys and the kind of the architecture.
        table: where the tensors of its stacks are.
        architectures: its classes by name; the first that can express a configuration is written.
        aliases: older names of keys.
        duplicates: tensors that a file may hold a second time, and the tensors whose copies they are.
        unused: tensors that a file may have and that no class reads: a pattern, and the reason.
        computed: tensors that a file may have and that we compute: their values, of their shape.
        legacy: older ends of names.
        attention: the implementation of attention in `transformers` that computes the family.
        numbering: what stands for the number of each block in the names of its tensors, of the values of the keys.
        numbers: the same for one checkpoint; the blocks' own numbers when empty.
        sharing: the keys that say which blocks have the same tensors, of a configuration, its parameters and the keys
            that are given; for a family whose configuration here does not say it.
    """

    name: str
    keys: Keys
    configure: Callable[[Values, str], ModelConfig]
    table: Table | Callable[[ModelConfig], Table]
    architectures: Mapping[str, Architecture]
    aliases: Mapping[str, str] = field(default_factory=dict)
    duplicates: Mapping[str, str] = field(default_factory=dict)
    unused: Mapping[str, str] = field(default_factory=dict)
    computed: Mapping[str, Callable[[tuple[int, ...]], Array]] = field(default_factory=dict)
    legacy: Mapping[str, str] = field(default_factory=dict)
    attention: str = "eager"
    numbering: Callable[[Values], Sequence[str]] | None = None
    numbers: Sequence[str] = ()
    sharing: Callable[[ModelConfig, Mapping[str, Any], Mapping[str, Any]], dict[str, Any]] | None = None

    def numbered(self, values: Values) -> Layout:
        """Return the layout of a checkpoint with these keys."""
        return self if self.numbering is None else replace(self, numbers=tuple(self.numbering(values)))


class Source(NamedTuple):
    """One of their tensors and the parameters of ours that it contains.

    `row` is the index along the first axis of our parameter, if the tensor contains one row of it; `parameters` then
    has the shape of the row.
    """

    name: str
    rule: Rule
    ours: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    row: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of their tensor."""
        return tuple(self.rule.shape(self.parameters))


def sources(layout: Layout, architecture: Architecture, config: ModelConfig, prefix: str) -> list[Source]:
    """Their tensors for a configuration, in the order of our parameters."""
    table = {name: _prefixed(entry, prefix) for name, entry in _table(layout.table, config).items()}
    return arrange({**table, **_table(architecture.table, config)}, parameters(config), layout.numbers)


def arrange(table: Table, tree: Mapping[str, Parameter], numbers: Sequence[str] = ()) -> list[Source]:
    """Their tensors for a tree of parameters, whose blocks have these numbers.

    Raises:
        KeyError: for a parameter that the table does not have.
    """
    parts = {part: key for key in table for part in _parts(key)}
    found: dict[str, tuple[Rule, list[str]]] = {}
    places: dict[str, int] = {}  # of a part in its tensor
    for name in tree:
        pattern, indices = _pattern(name)
        scope, _, leaf = pattern.rpartition(".")
        is_whole = pattern in parts
        entry = table[parts[pattern if is_whole else scope]]
        rule = entry if isinstance(entry, Rule) else Linear(entry)
        places[name] = _parts(parts[pattern if is_whole else scope]).index(pattern if is_whole else scope)
        theirs = rule.name if is_whole else f"{rule.name}.{LEAVES[leaf]}"
        if "{" in rule.name:
            end = "_bias" if leaf == "bias" else ""
            theirs = rule.name.format(leaf=LEAVES.get(leaf, leaf), our=leaf, end=end, row="{row}")
        for i, place in enumerate(indices):
            theirs = theirs.replace("*", numbers[int(place)] if numbers and i == 0 else place, 1)
        found.setdefault(theirs, (rule, []))[1].append(name)
    return [
        source
        for theirs, (rule, ours) in found.items()
        for names in [sorted(ours, key=places.__getitem__)]
        for source in _rows(Source(theirs, rule, tuple(names), tuple(tree[name] for name in names)))
    ]


def _rows(source: Source) -> list[Source]:
    """A source for each row of a parameter whose rows are tensors of their own; else the source itself."""
    if ROW not in source.name:
        return [source]
    whole = source.parameters[0]
    part = (whole._replace(shape=whole.shape[1:]),)
    names = [source.name.replace(ROW, str(row)) for row in range(whole.shape[0])]
    return [source._replace(name=name, parameters=part, row=row) for row, name in enumerate(names)]


def best_prefix(architecture: Architecture, layout: Layout, config: ModelConfig, names: Iterable[str]) -> str:
    """The prefix with which most of the expected tensors are among `names`: files of one class differ in it."""
    present = set(names)
    candidates = dict.fromkeys([architecture.prefix, *(other.prefix for other in layout.architectures.values()), ""])

    def count(prefix: str) -> int:
        return sum(source.name in present for source in sources(layout, architecture, config, prefix))

    return max(candidates, key=count)


def current_name(layout: Layout, name: str) -> str:
    """The present name of a tensor whose name has an older end."""
    for old, new in layout.legacy.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def reason_unused(layout: Layout, architecture: Architecture, name: str) -> str | None:
    """The reason why a tensor of a file is not read; None if there is none."""
    for pattern, reason in {**layout.unused, **architecture.unused}.items():
        if re.fullmatch(rf"(.*\.)?{pattern}", name):
            return reason
    return None


def within(scope: str, other: str, table: Table) -> dict[str, str | Rule]:
    """The table with the same prefixes before every name."""
    return {f"{scope}.{ours}": _prefixed(theirs, f"{other}.") for ours, theirs in table.items()}


def _table(table: Table | Callable[[ModelConfig], Table], config: ModelConfig) -> Table:
    return table(config) if callable(table) else table


def _prefixed(entry: str | Rule, prefix: str) -> str | Rule:
    if isinstance(entry, str):
        return prefix + entry
    return type(entry)(**{**vars(entry), "name": prefix + entry.name})


def _parts(key: str) -> list[str]:
    scope, _, last = key.rpartition(".")
    return [f"{scope}.{name}" if scope else name for name in last.split("+")]


def _pattern(name: str) -> tuple[str, list[str]]:
    """The name with `*` for its numbers, and these."""
    number = r"(?<=\.)\d+(?=\.)"
    return re.sub(number, "*", name), re.findall(number, name)


@dataclass(frozen=True)
class LayerLayout:
    """A layer of another library, whose tensors are in memory.

    Arguments:
        keys: its options by their own names.
        configure: our configuration, of the values of the options and the shapes of the tensors.
        table: where the tensors are.
        unsupported: tensors of options that we do not compute, and the options.
    """

    keys: Keys
    configure: Callable[[Values, Mapping[str, tuple[int, ...]]], Any]
    table: Callable[[Any], Table]
    unsupported: Mapping[str, str] = field(default_factory=dict)
