"""What each trigger event does to a visit (STANDARDS §5.1; HL7 v2.8 chapter 3, table 0003)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhircase.intake.findings import Action, Disposition

ADT: Mapping[str, Action] = {
    "A01": "admit",
    "A02": "transfer",
    "A03": "discharge",
    "A04": "register",
    "A05": "preadmit",
    "A06": "admit",  # an outpatient becomes an inpatient: the same visit, now of that class
    "A07": "update",  # an inpatient becomes an outpatient: class only
    "A08": "update",
    "A09": "depart",
    "A10": "depart",  # arriving: a move of the client, as leaving is
    "A11": "cancel-admit",
    "A12": "cancel-transfer",
    "A13": "cancel-discharge",
    "A14": "notice",
    "A15": "notice",
    "A16": "notice",
    "A18": "merge",
    "A20": "notice",
    "A21": "notice",
    "A22": "notice",
    "A25": "notice",
    "A26": "notice",
    "A27": "notice",
    "A28": "person",
    "A30": "merge",
    "A31": "person",
    "A34": "merge",
    "A38": "cancel-admit",
    "A39": "merge",
    "A40": "merge",
}
"""``notice`` announces or withdraws something that has not happened (pending moves), or a leave: it changes no visit."""

REF: Mapping[str, Action] = {"I12": "referral"}

VISIT = frozenset(
    {"admit", "register", "preadmit", "transfer", "discharge", "update", "depart", "cancel-admit", "cancel-transfer", "cancel-discharge"}
)
"""Actions that are told of one visit."""

DA_VINCI = "http://hl7.org/fhir/us/davinci-alerts/CodeSystem/notification-event"
TRIGGERS = "http://terminology.hl7.org/CodeSystem/v2-0003"

NOTIFICATIONS: Mapping[tuple[str, str], Action] = {
    (DA_VINCI, "notification-admit"): "admit",
    (DA_VINCI, "notification-discharge"): "discharge",
    (DA_VINCI, "notification-transfer"): "transfer",
    **{(TRIGGERS, event): action for event, action in ADT.items() if action in VISIT},
}
"""MessageHeader.event → action. The other codes of the Da Vinci guide are names without a profile; merging needs MRG."""


NUBC = "https://www.nubc.org/CodeSystem/PatDischargeStatus"
"""UB-04 form locator 17; HL7 table 0112 holds the same numbers."""

_OUR_WORDS = "urn:fhircase:codes:discharge-disposition"


def route(maps: Any, site: str | None, code: str | None, system: str | None = None) -> str | None:
    """Our reading of a discharge disposition by codes/discharge-route (a site's own first); None when no table knows it.

    Without ``system`` (a v2 message), and for any of the many names of NUBC's, the code is NUBC's, a single digit with or without
    its zero; a site's own code is known by its codes/v2-disposition. A code of another system counts only as that system's."""
    if not code:
        return None
    routes = maps.codes("discharge-route", site)
    if system is not None and "nubc" not in system.lower():
        return _read(routes, code, system)
    for spelling in dict.fromkeys((code, code.zfill(2) if code.isdigit() else code)):
        read = _read(routes, spelling, NUBC)
        if read is None and system is None:
            word = maps.codes("v2-disposition", site).forward(spelling)
            read = _read(routes, str(word), _OUR_WORDS) if word is not None else None
        if read is not None:
            return read
    return None


def _read(routes: Any, code: str, system: str) -> str | None:
    found = routes.forward(code, system)
    return None if found is None else str(found)


def disposition(
    maps: Any, site: str | None, *, code: str | None, system: str | None = None, text: str | None = None, destination: str | None = None
) -> Disposition | None:
    """What was said of the discharge; free text in place of a code (``Ready to go``) stays text and gets no route."""
    read = route(maps, site, code, system)
    if code and read is None and any(char.isspace() for char in code.strip()):
        code, text = None, code
    if code is None and text is None and destination is None:
        return None
    return Disposition(code, system, text, read, destination)
