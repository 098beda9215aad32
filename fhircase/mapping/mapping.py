"""One loaded mapping: ``into`` (FHIR → case), ``out`` (case → FHIR, onto the original), ``read`` (HL7 v2 → case)."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import Any, NamedTuple

from fhircase.errors import Problem

Doc = dict[str, Any]
Resource = dict[str, Any]


class Place(NamedTuple):
    """Where a case value was read from: ``PV1-36.1``, ``PID-3[2].1`` (second repetition), ``DG1[2]-3.1`` (second DG1).
    ``raw``: the text as sent where it could not be carried over whole (a time without zone, an unknown code)."""

    place: str
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Out:
    """``problems``: paths are case fields (``members[0].role``). ``elements``: case field → FHIRPath below the type (``period.end``)."""

    resource: Resource
    problems: tuple[Problem, ...]

    @property
    def elements(self) -> dict[str, str]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class In:
    """``problems``: paths are FHIRPath or v2 places. ``loss``: elements that the mapping did not read (FHIR only).
    ``origins``: case field → place in the message (v2 only), e.g. ``visit.ends`` → ``Place("PV1-45")``,
    ``client.identifiers[1].value`` → ``Place("PID-3[2].1")``."""

    doc: Doc
    problems: tuple[Problem, ...]
    origins: MappingOf[str, Place]

    @property
    def loss(self) -> tuple[str, ...]:
        raise NotImplementedError


class Mapping:
    name: str
    fhir: str | None

    def out(self, doc: Doc, *, onto: Resource | None = None, partial: bool = False, release: str = "R4") -> Out:
        """Without ``onto`` a new resource (``always``, ``need`` and ``else`` act). Onto an original only what differs is
        written; the original is not touched. ``partial``: an absent key keeps, None deletes, a list speaks only for the
        entries whose key it names (v2 messages). Not partial: the document is the whole truth of the mapped fields."""
        raise NotImplementedError

    def into(self, resource: Resource, *, release: str = "R4") -> In:
        raise NotImplementedError

    def read(self, message: Any, *, zone: str | None = None, authorities: MappingOf[str, str] | None = None) -> In:
        """v2 mappings. ``message``: ``hl7v2.Message``. ``zone``: the sender's IANA zone for times without offset (without
        it they are kept to the day). ``authorities``: CX.4.1 → identifier system. ``""`` in the message is None in the doc, an
        empty place is an absent key."""
        raise NotImplementedError

    def element(self, field: str) -> str:
        """The FHIR element that a case field lives in: ``ends`` → ``period.end``, ``identifiers[1].value`` → ``identifier[1].value``."""
        raise NotImplementedError

    def origins(self, origins: MappingOf[str, Place], prefix: str = "") -> tuple[tuple[str, str, str | None], ...]:
        """What ``read`` of a v2 mapping found below ``prefix`` (``visit``, ``diagnoses[0]``) as (FHIR element, place, raw) of
        this mapping: ``("period.end", "PV1-45", None)``."""
        raise NotImplementedError
