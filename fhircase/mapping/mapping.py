"""One loaded mapping: ``into`` (FHIR → case), ``out`` (case → FHIR, onto the original), ``read`` (HL7 v2 → case)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field
from typing import Any

from fhircase.errors import Problem
from fhircase.fhir.definitions import Release
from fhircase.hl7v2 import Authorities, Message
from fhircase.mapping.fhirside import Scope, Unit, maker
from fhircase.mapping.lines import Line
from fhircase.mapping.paths import Hop, Path
from fhircase.mapping.v2side import Place, Run, V2Scope
from fhircase.mapping.values import copied, typed

Doc = dict[str, Any]
Resource = dict[str, Any]
Trail = tuple[str | int, ...]

__all__ = ["Doc", "In", "Lines", "Mapping", "Out", "Place", "Resource"]

#: Members that are not part of what a mapping says: the store's and the reader's.
_ASIDE = frozenset({"resourceType", "id", "meta", "implicitRules"})


@dataclass(frozen=True, slots=True)
class Out:
    """``resource`` is the caller's to keep. ``problems``: paths are case fields (``members[0].role``); severity error: the
    value was not written; warning: it was kept as text, or (code not-supported) the release asked for has no place for it."""

    resource: Resource
    problems: tuple[Problem, ...]
    _scope: Scope = field(repr=False)

    @property
    def elements(self) -> dict[str, str]:
        """Case field → FHIRPath below the type, for what the resource holds now: ``ends`` → ``period.end``,
        ``members[1].role`` → ``participant[1].role``."""
        return {case: fhir for case, fhir, _ in _walk(self._scope, self.resource)}


@dataclass(frozen=True, slots=True)
class In:
    """``problems``: paths are FHIRPath or v2 places; an unknown code is a warning, its value was kept. ``origins``: case
    field → place in the message (v2 only): ``visit.ends`` → ``Place("PV1-45")``, ``client.identifiers[1].value`` →
    ``Place("PID-3[2].1")``."""

    doc: Doc
    problems: tuple[Problem, ...]
    _run: Run | None = field(default=None, repr=False)
    _scope: Scope | None = field(default=None, repr=False)
    _resource: Resource | None = field(default=None, repr=False)

    @property
    def origins(self) -> dict[str, Place]:
        return self._run.origins() if self._run is not None else {}

    @property
    def contained(self) -> dict[str, Resource]:
        """FHIR only: the contained resources by the reference that points to them (``#p1``), to be read by a mapping of their
        own type. An edit of the resource keeps them."""
        held = self._resource.get("contained") if self._resource is not None else None
        parts = [one for one in held if type(one) is dict] if type(held) is list else []
        return {f"#{one['id']}": one for one in parts if type(one.get("id")) is str}

    @property
    def loss(self) -> tuple[str, ...]:
        """FHIR only: the elements that the mapping did not read, in the order of the resource (``target[1].dueDate``). They
        stay in the resource; this is what to show a partner who asks."""
        if self._scope is None or self._resource is None:
            return ()
        read = {trail for _, _, trails in _walk(self._scope, self._resource) for trail in trails}
        return tuple(_shown(trail) for trail in _leaves(self._resource) if not any(trail[:n] in read for n in range(1, len(trail) + 1)))


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a mapping as one FHIR release has them: ``type`` the resource type there, ``always`` its fixed values."""

    type: str
    lines: tuple[Line, ...]
    always: tuple[tuple[Path, Any], ...] = ()


class _Side:
    """A release compiled. ``always`` is a resource with the fixed values alone, ``flat`` when a shallow copy of it will do."""

    __slots__ = ("lines", "scope", "always", "flat", "elements")

    def __init__(self, given: Lines, others: Sequence[Line] = ()) -> None:
        self.lines = given.lines
        self.scope = Scope(given.lines, others)
        self.flat = all(len(path.hops) == 1 and not isinstance(value, list) for path, value in given.always)
        self.always: Resource = {"resourceType": given.type}
        for path, value in given.always:
            _set(self.always, path, value)
        self.elements = dict(_templates(given.lines))


class Mapping:
    """``name`` as in the file, ``fhir`` the R4 resource type (None for v2 mappings), ``v2`` the message type (None for FHIR
    ones), ``lines`` as read for R4, ``releases`` those that the file serves (none for v2). Made by ``Mappings``; safe to share
    between threads. What a release needs is compiled at its first use."""

    __slots__ = ("name", "fhir", "v2", "about", "site", "lines", "always", "releases", "examples", "_given", "_sides", "_side_r4", "_v2")

    def __init__(
        self, name: str, *, lines: Sequence[Line], fhir: str | None = None, v2: str | None = None, about: str = "",
        site: str | None = None, always: Sequence[tuple[Path, Any]] = (), examples: Sequence[Any] = (),
        releases: MappingOf[Release, Callable[[], Lines]] | None = None,
    ) -> None:  # fmt: skip
        """``releases``: releases beside R4 → their lines, read and checked when first asked for; raises MappingErrors then."""
        self.name = name
        self.fhir = fhir
        self.v2 = v2
        self.about = about
        self.site = site
        self.lines = tuple(lines)
        self.always = tuple(always)
        self.examples = tuple(examples)
        self.releases: tuple[Release, ...] = ("R4", *(releases or ())) if fhir is not None else ()
        self._given = dict(releases or {})
        self._sides: dict[str, _Side] = {}
        self._side_r4: _Side | None = None
        self._v2: V2Scope | None = None

    def out(self, doc: Doc, *, onto: Resource | None = None, partial: bool = False, release: Release = "R4") -> Out:
        """Case → FHIR.

        Without ``onto`` a new resource: ``always``, ``need`` and ``else`` act (DECISIONS 14). Onto an original only what
        differs is written, and what the mapping does not know stays; the original is not touched. ``partial``: an absent key
        keeps, None deletes, and a list with ``key`` speaks only for the entries whose key it names (v2 messages). Not
        partial: the document is the whole truth of the mapped fields. ``release``: the one that the resource is of.

        Raises ValueError for a mapping that is not FHIR's or does not serve the release, MappingErrors for one whose lines of
        that release hold mistakes."""
        side = self._side_r4 if release == "R4" and self._side_r4 is not None else self._side(release)
        problems: list[Problem] = []
        if onto is None:
            resource = dict(side.always) if side.flat else copied(side.always)
            side.scope.put(doc, resource, problems)
        else:
            resource = copied(onto)
            side.scope.edit(doc, resource, problems, partial)
        return Out(resource, tuple(problems), side.scope)

    def into(self, resource: Resource, *, release: Release = "R4") -> In:
        """FHIR → case. Raises as ``out`` does."""
        side = self._side_r4 if release == "R4" and self._side_r4 is not None else self._side(release)
        problems: list[Problem] = []
        doc = side.scope.read(resource, problems)
        return In(doc, tuple(problems), None, side.scope, resource)

    def lines_of(self, release: Release) -> tuple[Line, ...]:
        """The lines as a release has them. Raises as ``out`` does."""
        return self._side(release).lines

    def read(self, message: Message, *, zone: str | None = None, authorities: Authorities | MappingOf[str, str] | None = None) -> In:
        """HL7 v2 → case. ``zone``: the sender's IANA zone for times without offset (without it they are kept to the day and
        told). ``authorities``: assigning authority → identifier system. ``""`` in the message is None in the doc, an empty
        place is an absent key. Raises ValueError for a mapping that is not v2's."""
        if self.v2 is None:
            raise ValueError(f"mapping '{self.name}' does not read HL7 v2")
        if self._v2 is None:
            self._v2 = V2Scope(self.lines)
        if not isinstance(authorities, Authorities):
            authorities = Authorities("", dict(authorities or {}))
        run = Run(message, zone, authorities)
        doc = self._v2.read(run, None, None, None, None)
        return In(doc, tuple(run.problems), _run=run)

    def element(self, field: str) -> str:
        """The R4 element that a case field lives in: ``ends`` → ``period.end``, ``identifiers[1].value`` →
        ``identifier[1].value``. Raises KeyError for a field that the mapping has not."""
        indexes = re.findall(r"\[(\d+)\]", field)
        plain = re.sub(r"\[\d+\]", "[]", field)
        elements = self._side("R4").elements
        found = elements.get(plain) or elements[plain.removesuffix("[]")]
        for index in indexes:
            found = found.replace("[]", f"[{index}]", 1)
        return found.replace("[]", "")

    def origins(self, origins: MappingOf[str, Place], prefix: str = "") -> tuple[tuple[str, str, str | None], ...]:
        """What ``read`` of a v2 mapping found below ``prefix`` (``visit``, ``diagnoses[0]``), as (FHIR element, place, raw) of
        this mapping: ``("period.end", "PV1-45", None)``."""
        start = f"{prefix}." if prefix else ""
        made = []
        for case, place in origins.items():
            if case.startswith(start):
                try:
                    made.append((self.element(case[len(start) :]), place.place, place.raw))
                except KeyError:
                    continue
        return tuple(made)

    def example(self, value: Any) -> Doc:
        """A case document of the mapping file (all texts) with its values typed by the fields; in a v2 mapping ``null`` stands
        for what the sender deletes."""
        return _typed(value, self.lines)

    def _side(self, release: Release) -> _Side:
        side = self._sides.get(release)
        if side is None:
            if self.fhir is None:
                raise ValueError(f"mapping '{self.name}' is not FHIR's")
            if release == "R4":
                side = self._side_r4 = _Side(Lines(self.fhir, self.lines, self.always))
            elif release in self._given:
                side = _Side(self._given[release](), self.lines)
            else:
                raise ValueError(f"mapping '{self.name}' does not serve {release}; it serves {' and '.join(self.releases)}")
            # Two threads may compile the same at once: both are equal, and either may stay.
            self._sides[release] = side
        return side


def _set(node: Resource, path: Path, value: Any) -> None:
    *above, last = path.hops
    maker(above)(node)[last.key] = value


def _typed(value: Any, lines: Sequence[Line]) -> Doc:
    by_name = {line.name: line for line in lines}
    made = {}
    for name, one in value.items():
        line = by_name.get(name)
        made[name] = one if line is None else _typed_value(one, line)
    return made


def _typed_value(value: Any, line: Line) -> Any:
    if isinstance(value, list):
        return [_typed_value(one, line) for one in value]
    if isinstance(value, dict):
        return _typed(value, line.fields or ())
    if value == "null" and line.node.get("v2") is not None:
        return None
    kinds = [path.kind or "text" for path in line.paths] if line.kind == "either" else [line.kind]
    for kind in kinds:
        if kind in ("code", "ref", "group"):
            return value
        found = typed(value, kind)
        if found is not None:
            return found
    return value


# ------------------------------------------------------------------------------------------------ where things stand


def _templates(lines: Sequence[Line], case: str = "", fhir: str = "") -> Iterator[tuple[str, str]]:
    for line in lines:
        if not line.paths:
            continue
        text = fhir + line.paths[0].text
        name = case + line.name
        if line.fields is not None:
            mark = "[]" if line.many else ""
            yield name, text
            yield from _templates(line.fields, f"{name}{mark}.", f"{text}{mark}.")
        elif line.many:
            yield f"{name}[]", f"{text}[]"
            yield name, text
        else:
            yield name, text


def _trail(node: Any, hops: Sequence[Hop]) -> tuple[Any, Trail] | None:
    trail: list[str | int] = []
    for hop in hops:
        if type(node) is not dict:
            return None
        child = node.get(hop.key)
        trail.append(hop.key)
        if hop.many:
            if type(child) is not list:
                return None
            at: int | None = hop.index
            if hop.fixed:
                at = next((i for i, one in enumerate(child) if type(one) is dict and all(one.get(n) == v for n, v in hop.fixed)), None)
            if at is None or at >= len(child):
                return None
            trail.append(at)
            child = child[at]
        if child is None:
            return None
        node = child
    return node, tuple(trail)


def _walk(scope: Scope, node: Any, case: str = "", fhir: str = "", base: Trail = ()) -> list[tuple[str, str, list[Trail]]]:
    """(case field, FHIR element, trails in the JSON that it takes) of everything that the lines read here."""
    made: list[tuple[str, str, list[Trail]]] = []
    for unit in scope.units:
        made.extend(_walk_unit(unit, node, case, fhir, base))
    return made


def _walk_unit(unit: Unit, node: Any, case: str, fhir: str, base: Trail) -> Iterator[tuple[str, str, list[Trail]]]:
    line = unit.line
    if unit.get(node, []) is None:
        return
    name = case + line.name
    for path in (*line.paths, *line.alsoread):
        if line.many:
            *above, last = path.hops
            part = last.key if path.inside else ""
            if path.inside:
                last = above.pop()
            holder = _trail(node, above)
            items = holder[0].get(last.key) if holder is not None and type(holder[0]) is dict else None
            if holder is None or type(items) is not list:
                continue
            index = 0
            for at, entry in enumerate(items):
                here: Trail = (*base, *holder[1], last.key, at, *((part,) if part else ()))
                item = (entry.get(part) if type(entry) is dict else None) if part else entry
                if item is None:
                    continue
                text = f"{fhir}{path.text}[{at}]" if not part else f"{fhir}{path.text.rpartition('.')[0]}[{at}].{part}"
                if unit.scope is not None:
                    if type(item) is dict and unit.scope.read(item, []):
                        if _mine(unit, entry):
                            yield from _walk(unit.scope, item, f"{name}[{index}].", f"{text}.", here)
                            index += 1
                else:
                    trails = _taken(line, item, here)
                    if trails:
                        yield f"{name}[{index}]", text, trails
                        index += 1
            continue
        spot = _trail(node, path.hops)
        if spot is None:
            continue
        element, trail = spot
        here = (*base, *trail)
        if unit.scope is not None:
            yield from _walk(unit.scope, element, f"{name}.", f"{fhir}{path.text}.", here)
            continue
        trails = _taken(line, element, here)
        for n, hop in enumerate(path.hops):
            if hop.fixed:
                owner = _trail(node, path.hops[: n + 1])
                if owner is not None:
                    trails += [(*base, *owner[1], member) for member, _ in hop.fixed]
        yield name, fhir + path.text, trails
        if not line.codes:
            if len(line.paths) > 1 and not line.alternatives:
                continue
            break


def _mine(unit: Unit, item: Any) -> bool:
    """True for an entry that the list's line reads (not one that another line names by where())."""
    *above, last = unit.line.paths[0].hops
    if unit.line.paths[0].inside:
        last = above.pop()
    alone: Any = {last.key: [item]}
    for hop in reversed(above):
        alone = {hop.key: [alone] if hop.many else alone}
        if hop.fixed:
            alone[hop.key][0].update(dict(hop.fixed))
    return unit.get(alone, []) is not None


def _taken(line: Line, element: Any, here: Trail) -> list[Trail]:
    """What a line takes of an element: of a code its known codings, of a Reference the reference."""
    if line.ref:
        if type(element) is dict:
            return [(*here, "reference"), (*here, "type")] if "reference" in element else []
        return [here]
    if line.coders:
        coder = line.coders[0]
        if coder.shape == "CodeableConcept" and type(element) is dict:
            word, known = coder.read(element)
            if word is None:
                return []
            codings = element.get("coding", [])
            trails: list[Trail] = [(*here, "coding", i) for i, one in enumerate(codings) if coder.ours(one)]
            return trails or ([(*here, "text")] if "text" in element else [(*here, "coding", 0)])
    return [here]


def _leaves(value: Any, trail: Trail = ()) -> Iterator[Trail]:
    if type(value) is dict:
        for key, one in value.items():
            if not trail and key in _ASIDE:
                continue
            yield from _leaves(one, (*trail, key))
    elif type(value) is list:
        for index, one in enumerate(value):
            yield from _leaves(one, (*trail, index))
    else:
        yield trail


def _shown(trail: Trail) -> str:
    text = ""
    for step in trail:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")
