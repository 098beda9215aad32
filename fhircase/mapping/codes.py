"""Code tables: FHIR R4 ConceptMaps read once at start, looked up both ways (MAPPING §7.4).

The source side of a group is the word of the case document (or, in the ``v2-…`` tables, the code of the message), the target
side the FHIR code. ``equal``/``equivalent`` win on the way back; ``wider`` and the like are taken there only where nothing
equal stands; ``unmatched`` says that a code has no counterpart, which is no mistake."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fhircase.mapping.mistakes import Mistake, likely

EQUAL = frozenset({"equal", "equivalent"})
LOOSE = frozenset({"wider", "subsumes", "narrower", "specializes", "inexact", "relatedto"})
NONE = frozenset({"unmatched", "disjoint"})
# R5 turned the wording round: its source is narrower where R4's target is wider.
_R5 = {
    "equivalent": "equivalent", "source-is-narrower-than-target": "wider", "source-is-broader-than-target": "narrower",
    "related-to": "relatedto", "not-related-to": "unmatched",
}  # fmt: skip
_CODE = re.compile(r"[^\s]+( [^\s]+)*")
_WORD = re.compile(r"[^\s]+")


@dataclass(frozen=True, slots=True)
class Target:
    system: str
    code: str
    display: str = ""

    def coding(self) -> dict[str, str]:
        made = {"code": self.code}
        if self.system:
            made = {"system": self.system, "code": self.code}
        if self.display:
            made["display"] = self.display
        return made


@dataclass(slots=True)
class Group:
    """One group of a ConceptMap. ``rows``: source code → (target, equivalence); ``unmapped``: ``provided`` lets codes that no
    row knows pass as they are, a Target stands in for all of them; ``other``: the url of the table to ask for them."""

    source: str
    target: str
    rows: dict[str, tuple[Target, str]] = field(default_factory=dict)
    none: set[str] = field(default_factory=set)
    unmapped: Target | str | None = None
    other: str = ""
    back: dict[str, str] = field(default_factory=dict)
    clashes: dict[str, list[str]] = field(default_factory=dict)

    def finish(self) -> None:
        """Work out the way back. Two equal winners for one target code are a clash."""
        self.back, self.clashes = {}, {}
        found: dict[str, list[tuple[str, bool]]] = {}
        for code, (target, equivalence) in self.rows.items():
            found.setdefault(target.code, []).append((code, equivalence in EQUAL))
        for code, sources in found.items():
            winners = [source for source, equal in sources if equal] or [source for source, _ in sources]
            if len(winners) == 1:
                self.back[code] = winners[0]
            else:
                self.clashes[code] = winners


class Codes:
    """One ConceptMap of ``mappings/codes``. ``name`` is its file's; ``groups`` in file order; ``resource`` as it was read."""

    def __init__(self, name: str, groups: Iterable[Group], file: str = "", resource: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.resource: Any = resource or {"group": []}
        self.file = file
        self.groups = tuple(groups)
        self.url = str(self.resource.get("url", ""))

    def forward(self, code: str, system: str | None = None) -> str | None:
        """The target code of ``code``, in the group whose target or source is ``system`` if one is given; None when no row
        knows it."""
        for group in self._of(system):
            target = group.rows.get(code)
            if target is not None:
                return target[0].code
        if not self.matchless(code):
            for group in self._of(system):
                target_ = passed(group, code)
                if target_ is not None:
                    return target_.code
        return None

    def back(self, code: str, system: str | None = None) -> str | None:
        """The source code that a target code stands for; None when no row knows it or it cannot be told which."""
        for group in self._of(system):
            source = group.back.get(code)
            if source is not None:
                return source
        for group in self._of(system):
            if group.unmapped == "provided" and code not in group.rows and code not in group.clashes and _WORD.fullmatch(code):
                return code
        return None

    def matchless(self, code: str) -> bool:
        """True when a row says that the code has no counterpart."""
        return any(code in group.none for group in self.groups)

    def sources(self) -> list[str]:
        return list(dict.fromkeys(code for group in self.groups for code in group.rows))

    def _of(self, system: str | None) -> list[Group]:
        return [group for group in self.groups if system is None or system in (group.target, group.source)]


def passed(group: Group, code: str) -> Target | None:
    """What ``unmapped`` makes of a code that no row knows."""
    if group.unmapped == "provided":
        return Target(group.target, code) if _WORD.fullmatch(code) else None
    return group.unmapped if isinstance(group.unmapped, Target) else None


def read(text: str, name: str, file: str, mistakes: list[Mistake]) -> Codes | None:
    """A ConceptMap in JSON, R4 or R5 wording; None (and mistakes) when it is none."""

    def wrong(what: str, path: str = "", needle: str = "") -> None:
        line, column = _place(text, needle)
        mistakes.append(Mistake(file, line, column, path, what))

    try:
        resource: Any = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        mistakes.append(Mistake(file, error.lineno, error.colno, "", f"not JSON: {error.msg}"))
        return None
    except _Twice as error:
        wrong("written twice", str(error), f'"{error}"')
        return None
    if not isinstance(resource, dict) or resource.get("resourceType") != "ConceptMap":
        wrong("not a ConceptMap", "resourceType")
        return None
    groups = []
    for at, row in enumerate(resource.get("group", ())):
        group = Group(str(row.get("source", "")), str(row.get("target", "")))
        path = f"group[{at}]"
        for element in row.get("element", ()):
            code = element.get("code")
            if not isinstance(code, str) or not _CODE.fullmatch(code):
                wrong("an element has no code", f"{path}.element")
                continue
            needle = f'"{code}"'
            if code in group.rows or code in group.none:
                wrong(f"'{code}' stands twice in this group", f"{path}.element", needle)
            targets = element.get("target", ())
            if not targets:
                group.none.add(code)
            for target in targets:
                equivalence = target.get("equivalence") or _R5.get(target.get("relationship", ""), "")
                if equivalence in NONE:
                    group.none.add(code)
                elif equivalence not in EQUAL | LOOSE:
                    wrong(f"'{code}': '{equivalence}' is not an equivalence", f"{path}.element", needle)
                elif not isinstance(target.get("code"), str):
                    wrong(f"'{code}' has a target without code", f"{path}.element", needle)
                elif code not in group.rows:
                    group.rows[code] = (Target(group.target, target["code"], target.get("display", "")), equivalence)
        unmapped = row.get("unmapped")
        if unmapped is not None:
            mode = unmapped.get("mode")
            if mode == "provided":
                group.unmapped = "provided"
            elif mode == "fixed" and isinstance(unmapped.get("code"), str):
                group.unmapped = Target(group.target, unmapped["code"], unmapped.get("display", ""))
            elif mode == "other-map" and isinstance(unmapped.get("url"), str):
                group.other = unmapped["url"]
            else:
                what = "unmapped must be 'provided', 'fixed' with a code, or 'other-map' with the url of another table"
                wrong(what, f"{path}.unmapped", '"unmapped"')
        group.finish()
        groups.append(group)
    if not groups:
        wrong("has no group", "group")
    return Codes(name, groups, file, resource)


def follow(tables: Iterable[Codes], known: Mapping[str, Codes], mistakes: list[Mistake]) -> None:
    """Let tables that send their unknown codes on (``unmapped: other-map``) know what the other one knows of the same target.
    Their own rows come first, there and back. ``known``: url → table."""

    def join(table: Codes, asked: tuple[str, ...]) -> None:
        for group in table.groups:
            url, group.other = group.other, ""
            if not url:
                continue
            other = known.get(url)
            if other is None or url in asked:
                what = "leads back to itself" if other is not None else f"no table has that url{likely(url, known)}"
                mistakes.append(Mistake(table.file, 1, 1, "group.unmapped.url", f"'{url}': {what}"))
                continue
            join(other, (*asked, url))
            taken = {target.code for target, _ in group.rows.values()}
            for there in other.groups:
                if there.target != group.target:
                    continue
                for code, (target, equivalence) in there.rows.items():
                    if code not in group.rows and code not in group.none:
                        group.rows[code] = (target, "wider" if target.code in taken and equivalence in EQUAL else equivalence)
                group.none |= there.none - group.rows.keys()
                group.unmapped = there.unmapped
            group.finish()

    for table in tables:
        join(table, (table.url,))


class _Twice(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _Twice(name)
            seen.add(name)
    return made


def _place(text: str, needle: str) -> tuple[int, int]:
    at = text.find(needle) if needle else 0
    at = max(at, 0)
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1
