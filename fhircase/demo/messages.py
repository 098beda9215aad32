"""The messages that the hospitals of the story send: HL7 v2.5.1 ADT (chapter 3), built segment by segment so that no
field is counted by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta


def segment(name: str, fields: Mapping[int, str]) -> str:
    """``PV1|1|I|…``: fields by number; empty ones between are empty."""
    last = max(fields)
    first = 2 if name == "MSH" else 1
    texts = [fields.get(number, "") for number in range(first, last + 1)]
    return "|".join([name, *texts])


def time_of(moment: datetime) -> str:
    """A DTM with its offset."""
    return moment.strftime("%Y%m%d%H%M%S%z")


@dataclass(frozen=True, slots=True)
class Client:
    """A made-up person; ``numbers`` as PID-3 (CX)."""

    family: str
    given: str
    born: str
    sex: str
    numbers: str
    address: str = "12 Elm St^^Springfield^MA^01101^USA"
    phone: str = "^PRN^PH^^1^413^5550142"


@dataclass(frozen=True, slots=True)
class Sender:
    application: str
    facility: str


def adt(
    event: str,
    sender: Sender,
    client: Client,
    *,
    at: datetime,
    control: str,
    visit: str,
    admitted: datetime,
    location: str,
    discharged: datetime | None = None,
    disposition: str = "",
    destination: str = "",
    diagnosis: str = "",
) -> bytes:
    """An ADT message, segments ended by CR, UTF-8."""
    visit_fields = {
        1: "1", 2: "I", 3: location, 7: "1003000126^Welby^Marcus^^^^MD", 19: visit, 36: disposition, 37: destination,
        44: time_of(admitted), 45: time_of(discharged) if discharged else "",
    }  # fmt: skip
    lines = [
        segment("MSH", {
            2: "^~\\&", 3: sender.application, 4: sender.facility, 5: "FHIRCASE", 6: "CARENET", 7: time_of(at), 9: f"ADT^{event}^ADT_A01",
            10: control, 11: "P", 12: "2.5.1", 18: "UNICODE UTF-8",
        }),
        segment("EVN", {1: event, 2: time_of(at), 6: time_of(at)}),
        segment("PID", {
            1: "1", 3: client.numbers, 5: f"{client.family}^{client.given}", 7: client.born, 8: client.sex, 11: client.address,
            13: client.phone,
        }),
        segment("NK1", {1: "1", 2: "MORENO^LUIS", 3: "SPO^Spouse^HL70063", 5: "^PRN^PH^^1^413^5550143"}),
        segment("PV1", visit_fields),
    ]  # fmt: skip
    if diagnosis:
        lines.append(segment("DG1", {1: "1", 3: diagnosis, 6: "F"}))
    return "".join(line + "\r" for line in lines).encode()


def days_before(moment: datetime, days: int) -> datetime:
    return moment - timedelta(days=days)
