"""YAML read as text with places: every scalar stays the text that was written (``06``, ``no``, ``2026-11-01``), every
node knows its line and column, and a key written twice is a mistake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from fhircase.mapping.mistakes import Mistake

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Node:
    """``value``: a text, a list of nodes, or a dict of key → node. ``line`` and ``column`` from 1; ``path`` within the
    file; ``keys``: where each key of a dict stands."""

    value: Any
    file: str
    line: int
    column: int
    path: str
    keys: dict[str, tuple[int, int]]

    @property
    def text(self) -> str | None:
        return self.value if isinstance(self.value, str) else None

    def get(self, key: str) -> Node | None:
        return self.value.get(key) if isinstance(self.value, dict) else None

    def items(self) -> Iterator[tuple[str, Node]]:
        return iter(self.value.items()) if isinstance(self.value, dict) else iter(())

    def texts(self) -> list[str] | None:
        """A text, or a list of texts; None for anything else."""
        if isinstance(self.value, str):
            return [self.value]
        if isinstance(self.value, list) and all(isinstance(one.value, str) for one in self.value):
            return [one.value for one in self.value]
        return None

    def plain(self) -> Any:
        """Without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def mistake(self, what: str, key: str | None = None) -> Mistake:
        """``key``: a key of this node stands at fault, not the whole."""
        if key is not None and key in self.keys:
            line, column = self.keys[key]
            return Mistake(self.file, line, column, f"{self.path}.{key}".lstrip("."), what)
        return Mistake(self.file, self.line, self.column, self.path, what)


def read(text: str, file: str, mistakes: list[Mistake]) -> Node | None:
    """The tree of one file; None (and a mistake) when it is not YAML."""
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        mistakes.append(Mistake(file, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, "", f"not YAML: {error.problem}"))
        return None
    except yaml.YAMLError:
        mistakes.append(Mistake(file, 1, 1, "", "not YAML"))
        return None
    if root is None:
        mistakes.append(Mistake(file, 1, 1, "", "the file is empty"))
        return None
    return _node(root, file, "", mistakes)


def _node(node: Any, file: str, path: str, mistakes: list[Mistake]) -> Node:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    if isinstance(node, yaml.ScalarNode):
        return Node(node.value, file, line, column, path, {})
    if isinstance(node, yaml.SequenceNode):
        return Node([_node(one, file, f"{path}[{i}]", mistakes) for i, one in enumerate(node.value)], file, line, column, path, {})
    value: dict[str, Node] = {}
    keys: dict[str, tuple[int, int]] = {}
    for key, child in node.value:
        at = (key.start_mark.line + 1, key.start_mark.column + 1)
        if not isinstance(key, yaml.ScalarNode):
            mistakes.append(Mistake(file, *at, path, "a key must be a text"))
            continue
        name = key.value
        below = f"{path}.{name}".lstrip(".")
        if name in value:
            mistakes.append(Mistake(file, *at, below, f"written twice (first at line {keys[name][0]})"))
            continue
        keys[name] = at
        value[name] = _node(child, file, below, mistakes)
    return Node(value, file, line, column, path, keys)
