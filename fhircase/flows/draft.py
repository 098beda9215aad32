"""A write on its way through ``flows.commit``."""

from __future__ import annotations

from dataclasses import dataclass

from fhircase.plans.change import Resource, Write
from fhircase.ports import Stored


@dataclass(frozen=True, slots=True)
class Draft:
    """A write with what stands now and where it belongs. ``rule``: which rule of the hub made it, for what nobody asked for."""

    write: Write
    before: Stored | None
    body: Resource | None
    client: str | None
    case: str | None
    creator: str
    sensitive: bool
    rule: str = ""
