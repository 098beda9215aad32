"""Place names of HL7 v2: ``PV1-36.1`` is the first component of field 36 of PV1.

Grammar: ``SEG[n]-F[r].C.S``; ``n`` the occurrence of the segment, ``r`` the repetition of the field, both from 1 and
both left out when they do not matter; ``C`` component, ``S`` subcomponent. The notation of the v2-to-FHIR guide, with the
two indexes added."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

_PLACE = re.compile(r"([A-Z][A-Z0-9]{2})(?:\[(\d{1,5})\])?(?:-(\d{1,4})(?:\[(\d{1,5})\])?(?:\.(\d{1,4})(?:\.(\d{1,4}))?)?)?")


@dataclass(frozen=True, slots=True)
class Place:
    """``occurrence`` and ``repetition`` None: all of them (or the first, where one is asked for). ``field`` None: the
    whole segment. ``component`` and ``sub`` None: the whole field or component (or its first, where a text is asked for)."""

    segment: str
    occurrence: int | None = None
    field: int | None = None
    repetition: int | None = None
    component: int | None = None
    sub: int | None = None

    @classmethod
    def of(cls, text: str) -> Place:
        """Raises ValueError unless ``text`` is a place (numbers count from 1)."""
        return _place(text)

    def __str__(self) -> str:
        text = self.segment + (f"[{self.occurrence}]" if self.occurrence is not None else "")
        if self.field is None:
            return text
        text += f"-{self.field}" + (f"[{self.repetition}]" if self.repetition is not None else "")
        for part in (self.component, self.sub):
            if part is not None:
                text += f".{part}"
        return text

    def at(self, *, occurrence: int | None = None, repetition: int | None = None) -> Place:
        """The same place with its indexes set (None leaves one as it is)."""
        return replace(
            self,
            occurrence=self.occurrence if occurrence is None else occurrence,
            repetition=self.repetition if repetition is None else repetition,
        )

    def location(self, component: str = "^") -> str:
        """The place as ERR-2 (data type ERL): segment, its occurrence, field, repetition, component, subcomponent."""
        parts = [self.segment, str(self.occurrence or 1)]
        if self.field is not None:
            parts += [str(self.field), str(self.repetition or 1)]
            parts += [str(part) for part in (self.component, self.sub) if part is not None]
        return component.join(parts)


@lru_cache(maxsize=4096)
def _place(text: str) -> Place:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a place of HL7 v2: {text[:40]!r}")
    segment, *rest = match.groups()
    numbers = [None if number is None else int(number) for number in rest]
    if 0 in numbers:
        raise ValueError(f"places count from 1: {text[:40]!r}")
    return Place(segment, *numbers)
