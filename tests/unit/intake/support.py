"""A partner, messages, and maps that read a few fields: what intake decides itself is tested apart from the mappings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fhircase.errors import Problem
from fhircase.hl7v2 import Authorities, Message
from fhircase.plans.partner import Partner

MERCY = Partner("mercy", zone="America/New_York", senders=(("ADT", "MERCY"),), authorities={"MERCY": "urn:oid:1.2.3"})

ROUTES = {"01": "home", "06": "home-with-services", "20": "died", "30": "not-discharged", "62": "rehab"}


class At(NamedTuple):
    place: str
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    doc: dict[str, Any]
    problems: tuple[Problem, ...] = ()
    origins: Mapping[str, At] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """A code table: (code, system) → target."""

    rows: Mapping[tuple[str, str], str]

    def forward(self, code: str, system: str | None = None) -> str | None:
        return next((target for (one, of), target in self.rows.items() if one == code and system in (None, of)), None)


NUBC = "https://www.nubc.org/CodeSystem/PatDischargeStatus"
FHIR = "http://terminology.hl7.org/CodeSystem/discharge-disposition"
WORDS = "urn:fhircase:codes:discharge-disposition"
TABLES = {
    "discharge-route": Table({(code, NUBC): route for code, route in ROUTES.items()} | {("snf", FHIR): "snf", ("rehab", WORDS): "rehab"}),
    "v2-disposition": Table({("ZR", NUBC): "rehab"}),
}


def plain(message: Message, authorities: Authorities) -> Read:
    """The least of what the real mapping reads, in its shape."""
    numbers = [(n, {"value": n.get(), "system": authorities.of(n)}) for n in message.repetitions("PID-3") if n.get()]
    doc: dict[str, Any] = {
        "client": {"names": [{"family": message.get("PID-5")}], "identifiers": [doc for _, doc in numbers]},
        "visit": {
            "class": "inpatient",
            "starts": message.get("PV1-44"),
            "locations": [{"place": message.get("PV1-3")}],
            "participants": [],
            "diagnoses": [],
        },
        "diagnoses": [{"kind": "encounter-diagnosis", "code": code} for code in message.all("DG1-3")],
        "contacts": [{"names": [{"family": name}]} for name in message.all("NK1-2")],
        "providers": [],
    }
    for doctor in message.repetitions("PV1-7"):
        number = (doctor.get(), authorities.system(doctor.get(9), doctor.get(9, 2), doctor.get(9, 3)) if doctor.get(9) else None)
        doc["visit"]["participants"].append({"role": "attending", "number": number[0], "number_system": number[1]})
        doc["providers"].append({"identifiers": [{"value": number[0], "system": number[1]}]} if number[1] else {})
    doc["visit"]["diagnoses"] = [{"rank": one} for one in range(1, len(doc["diagnoses"]) + 1)]
    origins = {f"client.identifiers[{at}].value": At(f"{n.place}.1") for at, (n, _) in enumerate(numbers)}
    origins["visit.starts"] = At("PV1-44", "20261110")
    return Read(doc, origins=origins)


@dataclass(frozen=True, slots=True)
class Mapped:
    reading: Callable[[Message, Authorities], Read]
    asked: list[Any]

    def read(self, message: Message, *, zone: str | None, authorities: Authorities) -> Read:
        self.asked.append((zone, authorities))
        return self.reading(message, authorities)


@dataclass(frozen=True, slots=True)
class Maps:
    """``asked``: zone and authorities of every reading."""

    reading: Callable[[Message, Authorities], Read] = plain
    asked: list[Any] = field(default_factory=list)

    def mapping(self, name: str, site: str | None = None) -> Mapped:
        return Mapped(self.reading, self.asked)

    def codes(self, name: str, site: str | None = None) -> Table:
        return TABLES[name]


def adt(event: str, *segments: str, head: str = "", control: str = "M1", processing: str = "P", tail: str = "") -> bytes:
    first = head or f"MSH|^~\\&|ADT|MERCY|HUB|NET|20261120143005-0500||ADT^{event}|{control}|{processing}|2.5.1{tail}"
    return "\r".join((first, *(segments or (EVN, PID, PV1)), "")).encode()


EVN = "EVN||20261120143000-0500||||20261120142500-0500"
PID = "PID|1||MRN1^^^MERCY^MR~999887777^^^USSSA^SS||DOE^JANE"
PV1 = "PV1|1|I|4E^401^B||||1234^Welby^^^^^^^NPI&2.16.840.1.113883.4.6&ISO||||||||||||V1^^^MERCY^VN"


def samples(folder: str) -> Path:
    """Where other makers' messages lie; the folder may be absent."""
    root = os.environ.get("FHIRCASE_SAMPLES") or Path(__file__).resolve().parents[4] / "shared" / "data"
    return Path(root) / "samples" / folder
