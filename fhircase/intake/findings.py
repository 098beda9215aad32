"""What intake makes of untrusted bytes: what happened, to whom, and every problem at once. No identity is decided
here and nothing is looked up: ``flows.take_in`` does that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fhircase.errors import Problem
from fhircase.plans.change import Origin, Resource

Action = Literal[
    "admit", "register", "preadmit", "transfer", "discharge", "update", "depart",
    "cancel-admit", "cancel-transfer", "cancel-discharge", "person", "merge", "referral", "notice",
]
"""What an event does to a visit (STANDARDS §5.1). ``notice`` is understood and changes no visit (A25)."""

LOCAL = "urn:fhircase:local:"
"""References between facts of one finding: ``urn:fhircase:local:`` + ``Fact.local``."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A business identifier that may find a resource. ``claims``: given by an assigning authority (MRN and the like),
    so that one resource alone may hold it; social security and insurance numbers never do (DECISIONS 5)."""

    system: str
    value: str
    claims: bool = True


@dataclass(frozen=True, slots=True)
class Fact:
    """One resource that the sender speaks of. Either ``doc`` with the name of its ``mapping`` (v2: absent keeps,
    None deletes) or ``resource`` as sent (FHIR). ``local`` names it within the finding. ``origins``: FHIR element ←
    place in the message."""

    type: str
    local: str
    mapping: str | None = None
    doc: Mapping[str, Any] | None = None
    resource: Resource | None = None
    identities: tuple[Identity, ...] = ()
    origins: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class Disposition:
    """``code`` as sent with ``system``/``text``; ``route``: our reading of it (codes/discharge-route): home,
    home-with-services, rehab, snf, long-term-care, hospice, psychiatric, other-facility, against-advice, died, not-discharged, None if
    no table knows it. ``destination``: PV1-37 / hospitalization.destination as sent (the receiver's own name)."""

    code: str | None = None
    system: str | None = None
    text: str | None = None
    route: str | None = None
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """``event`` as sent (A03, notification-discharge); ``control_id`` MSH-10 or Bundle identifier/id; ``key`` what
    makes a duplicate together with the body's digest (DECISIONS 19); ``sender`` (MSH-3, MSH-4) or the source endpoint;
    ``happened`` FHIR dateTime text with offset, or a day, and ``happened_ms`` for ordering; ``visit`` the visit's
    identity; ``retired`` for merges: the identities that MRG names, a tuple per PID/MRG pair, aligned with the Patient facts."""

    event: str
    action: Action
    control_id: str
    key: str
    sender: tuple[str, str]
    processing_id: str
    happened: str | None
    happened_ms: int | None
    facts: tuple[Fact, ...]
    visit: Identity | None = None
    disposition: Disposition | None = None
    retired: tuple[tuple[Identity, ...], ...] = ()
    problems: tuple[Problem, ...] = ()
    version: str = ""
    acknowledge: bool = True
