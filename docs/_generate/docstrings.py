"""Modules as pages: every public name of a module with its signature and docstring, in the order of the file."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from _generate.text import docstring, fence

SECTION = re.compile(r"^(Arguments|Returns|Raises|Example):\n((?:(?:    .*)?\n)+)", re.MULTILINE)
ENTRY = re.compile(r"(?s)^([\w*][\w*, ]*?): (.*)$")
Definition = ast.FunctionDef | ast.ClassDef


def module(name: str, *only: str) -> str:
    """Document a module, or some names of it."""
    tree = ast.parse(source(name).read_text(encoding="utf-8"))
    intro = "" if only else markdown(ast.get_docstring(tree) or "")
    parts = [part for found, part in _members(name, tree) if not only or found in only]
    return "\n".join([intro, *parts])


def source(name: str) -> Path:
    """Return the file of a module without importing it."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise LookupError(f"there is no module {name}")
    return Path(found.origin)


def markdown(text: str) -> str:
    """Turn a docstring into Markdown: its sections become lists of terms, its formulas code blocks."""
    text = SECTION.sub(_section, text + "\n")
    text = re.sub(r"(?m)^(Source|How others differ): ", r"**\1:** ", _fenced(text))
    return docstring(text).strip() + "\n"


def _members(name: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, Definition) and _is_public(node):
            yield node.name, _definition(node, name)
        elif (target := _constant(node, after)) and isinstance(after, ast.Expr):
            options = [f":module: {name}"]
            yield target, fence(f"py:data {target}", markdown(inspect.cleandoc(ast.literal_eval(after.value))), options)


def _definition(node: Definition, module_name: str) -> str:
    options = [f":module: {module_name}"]
    if isinstance(node, ast.FunctionDef):
        return fence(f"py:function {node.name}({_signature(node)})", markdown(ast.get_docstring(node) or ""), options)
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef) and _has_docstring(each)]
    inner = [markdown(ast.get_docstring(node) or ""), *map(_method, methods)]
    return fence(f"py:class {node.name}{_construction(node)}", "\n".join(inner), options, colons=4)


def _method(node: ast.FunctionDef) -> str:
    decorators = {ast.unparse(each) for each in node.decorator_list}
    text = markdown(ast.get_docstring(node) or "")
    if "property" in decorators:
        return fence(f"py:property {node.name}", text)
    options = [f":{kind}:" for kind in ("classmethod", "staticmethod") if kind in decorators]
    return fence(f"py:method {node.name}({_signature(node, skip='staticmethod' not in decorators)})", text, options)


def _construction(node: ast.ClassDef) -> str:
    """Return the arguments of a class: of its `__init__`, or the fields of a dataclass or a named tuple."""
    inits = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    if inits:
        return f"({_signature(inits[0], skip=True)})"
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
    is_keyword = any("kw_only=True" in ast.unparse(each) for each in node.decorator_list)
    shown = [ast.unparse(each.target) + (f"={ast.unparse(each.value)}" if each.value else "") for each in fields]
    return f"({', '.join(['*'] * (is_keyword and bool(shown)) + shown)})" if shown else ""


def _signature(node: ast.FunctionDef, *, skip: bool = False) -> str:
    """Write the arguments without annotations, which the text says better."""
    arguments = node.args
    for each in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
        if each is not None:
            each.annotation = None
    if skip:
        arguments.args = arguments.args[1:]
    return ast.unparse(arguments)


def _section(found: re.Match[str]) -> str:
    body = textwrap.dedent(found[2]).strip("\n")
    if found[1] == "Example":
        return f"**Example**\n\n```pycon\n{body}\n```\n\n"
    items = re.split(r"\n(?! )", body) if found[1] != "Returns" else []
    entries = [ENTRY.match(re.sub(r"\s*\n\s+", " ", item)) for item in items]
    if not items or not all(entries):
        return f"**{found[1]}**\n\n{body}\n\n"
    terms = [f"`{entry[1].replace(', ', '`, `')}`\n: {entry[2]}\n" for entry in entries if entry]
    return f"**{found[1]}**\n\n" + "\n".join(terms) + "\n"


def _fenced(text: str) -> str:
    """Put what is indented under a paragraph between fences."""
    blocks = re.compile(r"(?<=\n\n)((?: {4}.*\n|\n(?= {4}))+)")
    return blocks.sub(lambda block: f"```text\n{textwrap.dedent(block[1]).strip()}\n```\n", text)


def _is_public(node: Definition) -> bool:
    return not node.name.startswith("_") and ast.get_docstring(node) is not None


def _has_docstring(node: ast.FunctionDef) -> bool:
    return (not node.name.startswith("_") or node.name == "__call__") and ast.get_docstring(node) is not None


def _constant(node: ast.stmt, after: ast.stmt | None) -> str:
    """Return the name of a constant that has a docstring behind it."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    is_described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    return ast.unparse(targets[0]) if targets and is_described else ""
