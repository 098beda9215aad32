"""FHIR paths of mapping lines: a legal subset of FHIRPath, checked against the tables of a release and turned into hops.

    name   name[n]   name.ofType(date)   name.where(system='x')   name.where(a='x' and b='y')   extension('url')

joined by dots, below the resource type (or the element of the enclosing group)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from fhircase.fhir.definitions import Release
from fhircase.mapping import definitions
from fhircase.mapping.definitions import PRIMITIVE, Element
from fhircase.mapping.mistakes import likely, some

_STEP = re.compile(
    r"""(?:(?P<ext>extension\('(?P<url>[^']+)'\))|(?P<name>[A-Za-z][A-Za-z0-9]*))
        (?P<tail>(?:\[\d{1,4}\]|\.where\([^()]*\)|\.ofType\([^()]*\))*)(?:\.(?=[A-Za-z])|$)""",
    re.VERBOSE,
)
_TAIL = re.compile(r"\[(\d+)\]|\.where\(([^()]*)\)|\.ofType\(\s*([A-Za-z0-9]+)\s*\)")
_EQUAL = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*'([^']*)'\s*")


@dataclass(frozen=True, slots=True)
class Hop:
    """One step in the JSON. ``many``: the member is a list; then the entry that has all ``fixed`` members, else the one at
    ``index``."""

    key: str
    many: bool = False
    index: int = 0
    fixed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Path:
    """``hops`` down to the element; ``element`` what the tables say of it, ``type`` its one type; ``whole``: the last
    hop names a list as such (no index, no where), so that a line may take all of it. ``inside``: the last hop is the one part
    of such a list's entries that a line takes (``reason.reference``)."""

    text: str
    hops: tuple[Hop, ...]
    element: Element
    type: str
    whole: bool
    choice: str = ""
    inside: bool = False

    @property
    def listed(self) -> bool:
        """Whether a line may say ``many``."""
        return self.whole or self.inside

    @property
    def kind(self) -> str | None:
        """text, number, date …; None when the type is not a primitive."""
        return PRIMITIVE.get(self.type)


class BadPath(ValueError):
    """Says what is wrong; its text is for the mistake list."""


@lru_cache(maxsize=8192)
def resolve(text: str, type_: str, name: str = "", targets: tuple[str, ...] = (), release: Release = "R4") -> Path:
    """``type_``: where the path begins; ``name``: how to call it in messages. ``targets``: when the path begins at a
    Reference, what it may point to. Raises BadPath."""
    steps = _steps(text)
    hops: list[Hop] = []
    here = type_
    element: Element | None = None
    whole, inside, choice = False, False, ""
    shown = name or type_
    for at, (step, tail) in enumerate(steps):
        if step.startswith("extension('"):
            known: Mapping[str, Element] = {"extension": Element(f"{shown}.extension", ("Extension",), False, True, (), None)}
            plain, fixed = "extension", [("url", step[11:-2])]
        else:
            known, plain, fixed = definitions.children(here, release), step, []
        if here in PRIMITIVE:
            if plain != "extension":
                raise BadPath(f"'{text}': {shown} is {here} and has no parts")
            last = hops.pop()
            hops.append(Hop("_" + last.key))
        if plain not in known:
            raise BadPath(f"'{text}': {shown} has no element '{plain}'{likely(plain, known)}")
        above, element = element, known[plain]
        index, of = 0, ""
        indexed = False
        for number, condition, wanted in _TAIL.findall(tail):
            if number:
                index, indexed = int(number), True
            elif wanted:
                of = wanted
            else:
                fixed += _conditions(condition, text)
        if (fixed or indexed) and not element.many:
            raise BadPath(f"'{text}': {element.path} is a single element, not a list")
        key = plain
        choice = ""
        if here not in PRIMITIVE and element.choice:
            options = ", ".join(f"{plain}.ofType({one})" for one in element.types[:12])
            if not of:
                raise BadPath(f"'{text}': {element.path} has several types, say which: {options}")
            if of not in element.types:
                raise BadPath(f"'{text}': {element.path} cannot be {of}; allowed: {some(element.types, 12)}")
            choice, key = plain, definitions.choice_key(plain, of)
            type_now = of
        else:
            type_now = element.types[0]
            if of and of != type_now:
                raise BadPath(f"'{text}': {element.path} is {type_now}, not {of}")
        for member, _ in fixed:
            if member not in definitions.children(type_now, release):
                raise BadPath(f"'{text}': {type_now} has no element '{member}'{likely(member, definitions.children(type_now, release))}")
        inside = whole and not element.many
        whole = element.many and not fixed and not indexed
        hops.append(Hop(key, element.many, index, tuple(fixed)))
        shown = element.path + (f".ofType({of})" if choice else "")
        if here == "Reference" and plain == "reference" and at == 0 and targets:
            element = replace(element, targets=targets)
        if here == "CodeableReference" and plain == "reference":
            element = replace(element, targets=above.targets if above is not None else targets)
        here = type_now
        if at < len(steps) - 1 and here == "Resource":
            raise BadPath(f"'{text}': a contained resource has a mapping of its own")
    assert element is not None
    return Path(text, tuple(hops), element, here, whole, choice, inside)


def syntax(text: str) -> None:
    """Check the form of a path alone. Raises BadPath."""
    for _, tail in _steps(text):
        for _, condition, _ in _TAIL.findall(tail):
            if condition:
                _conditions(condition, text)


def _steps(text: str) -> list[tuple[str, str]]:
    made: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or found.end() == at:
            raise BadPath(
                f"'{text}': cannot be read from column {at + 1} on; a path is names, [n], ofType(), where(a='x'), extension('url')"
            )
        tail = found["tail"]
        if _TAIL.sub("", tail):
            raise BadPath(f"'{text}': cannot be read: '{tail}'")
        made.append((f"extension('{found['url']}')" if found["ext"] else found["name"], tail))
        at = found.end()
    if not made:
        raise BadPath("the path is empty")
    return made


def _conditions(text: str, path: str) -> list[tuple[str, str]]:
    made = []
    for part in text.split(" and "):
        found = _EQUAL.fullmatch(part)
        if found is None:
            raise BadPath(f"'{path}': where() takes a='x', joined by and")
        made.append((found[1], found[2]))
    return made
