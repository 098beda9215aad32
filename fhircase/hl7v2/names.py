"""What the standard calls a place: ``PID-5.1`` is ``Patient Name / Family Name``. For showing only; nothing is read by name.

One table for all versions: numbers keep their meaning from version to version, so the newest name is told.
Source: HL7 v2.7.1 and v2.8.2 chapters 2A, 3, 4, 6, 7, 11 and 15; withdrawn fields by the last version that had them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files

from fhircase.hl7v2.message import Message, Repetition
from fhircase.hl7v2.places import Place

#: By segment or by data type: (name, data type) of the first, second ... field or component.
_Rows = dict[str, list[tuple[str, str]]]


@lru_cache(maxsize=1)
def _tables() -> tuple[_Rows, _Rows]:
    """Of segments, and of composite data types."""
    table = json.loads(files(__package__).joinpath("names.json").read_text("utf-8"))
    return table["segments"], table["types"]


def name(place: Place) -> str:
    """The name of a field, with those of its component and subcomponent after slashes. What the table does not know has
    none: '' for a Z segment, an unknown segment or a field that it does not have; a part of a field that is no composite
    goes by the name of the field."""
    segments, types = _tables()
    told: list[str] = []
    rows = segments.get(place.segment, [])
    for number in (place.field, place.component, place.sub):
        if number is None or number > len(rows):
            break
        text, datatype = rows[number - 1]
        told.append(text)
        rows = types.get(datatype, [])
    return " / ".join(told)


def filled(message: Message) -> Iterator[tuple[Place, str]]:
    """Every place that says anything, in order, down to the component or subcomponent that the sender divided it into, with
    its text (``""`` as written where the sender deletes)."""
    for segment in message.segments():
        for field in range(1, len(segment) + 1):
            for repetition in segment.repetitions(field):
                if segment.name == "MSH" and field <= 2:
                    yield repetition.place, repetition.raw
                else:
                    yield from _parts(repetition, message.delimiters.component)


def _parts(repetition: Repetition, delimiter: str) -> Iterator[tuple[Place, str]]:
    components = repetition.raw.count(delimiter) + 1 if delimiter else 1
    for component in range(1, components + 1):
        subs = repetition.subs(component)
        for sub, text in enumerate(subs, 1):
            if text is not None:
                divided = component if components > 1 or len(subs) > 1 else None
                yield replace(repetition.place, component=divided, sub=sub if len(subs) > 1 else None), text or '""'
