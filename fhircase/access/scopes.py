"""SMART App Launch v2 scopes of systems (https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html):
``system/CarePlan.rs``, ``system/*.cruds``; the v1 forms ``.read``, ``.write`` and ``.*`` mean rs, cud and cruds.

Scopes say what kind of resource and of interaction, grants say whose (DECISIONS 2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fhircase.errors import Forbidden, Invalid, Problem

_SHAPE = re.compile(r"(system|user|patient)/([A-Z][A-Za-z]*|\*)\.([a-z]+|\*)(\?.*)?")
_V1 = {"read": "rs", "write": "cud", "*": "cruds"}

INTERACTIONS: Mapping[str, str] = {
    "create": "c",
    "read": "r",
    "vread": "r",
    "history-instance": "r",
    "update": "u",
    "patch": "u",
    "delete": "d",
    "search-type": "s",
    "history-type": "s",
    "history-system": "s",
    "search-system": "s",
}
"""The letter that each FHIR interaction needs."""


def letters(scope: str) -> tuple[str, str]:
    """``system/CarePlan.rs`` → (``CarePlan``, ``rs``). Raises Invalid, with what to write instead."""
    found = _SHAPE.fullmatch(scope)
    if not found:
        raise Invalid(Problem("not a scope", scope[:80], "write system/CarePlan.rs, or system/*.cruds for all"))
    context, type_, what, query = found.groups()
    if context != "system":
        raise Invalid(
            Problem(
                f"{context}/ scopes are for people and launch contexts; systems get system/ scopes",
                scope[:80],
                f"write system/{type_}.{what}",
            )
        )
    if query:
        raise Invalid(
            Problem("scopes with a search query are not supported", scope[:80], f"write system/{type_}.{what}; grants narrow whose")
        )
    what = _V1.get(what, what)
    if not what or not re.fullmatch("c?r?u?d?s?", what):
        raise Invalid(
            Problem("the letters after the dot are c, r, u, d, s, in this order", scope[:80], f"write system/{type_}.rs or .cruds")
        )
    return type_, what


@dataclass(frozen=True, slots=True)
class Scopes:
    """What a credential may do, compiled from scope texts."""

    texts: tuple[str, ...]
    _by_type: Mapping[str, frozenset[str]] = field(repr=False, compare=False)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Scopes:
        """Raises Invalid with every text that is not a scope."""
        by_type: dict[str, frozenset[str]] = {}
        problems: list[Problem] = []
        kept = tuple(texts)
        for text in kept:
            try:
                type_, what = letters(text)
            except Invalid as error:
                problems += error.problems
                continue
            by_type[type_] = by_type.get(type_, frozenset()) | frozenset(what)
        if problems:
            raise Invalid(problems)
        return cls(kept, by_type)

    def allow(self, interaction: str, type: str | None) -> bool:
        """Whether an interaction with a resource type is covered; ``type`` None asks for all types."""
        letter = INTERACTIONS[interaction]
        if letter in self._by_type.get("*", ()):
            return True
        return type is not None and letter in self._by_type.get(type, ())

    def require(self, interaction: str, type: str | None) -> None:
        """Raises Forbidden, naming the scope that is missing."""
        if not self.allow(interaction, type):
            needed = f"system/{type or '*'}.{INTERACTIONS[interaction]}"
            raise Forbidden(f"the scope {needed} is missing", hint=f"ask for a key with {needed}")


ALL = Scopes.of(("system/*.cruds",))
