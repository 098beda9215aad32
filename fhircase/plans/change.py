"""What every way in makes: a Change. ``flows.commit`` is the only reader that writes (law 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fhircase.errors import Problem

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ref:
    """A literal local reference, ``Type/id``."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"

    @classmethod
    def of(cls, text: str) -> Ref:
        """Raises ValueError unless ``text`` is exactly ``Type/id``."""
        type_, _, id_ = text.partition("/")
        if not type_ or not id_ or "/" in id_:
            raise ValueError("not Type/id")
        return cls(type_, id_)


@dataclass(frozen=True, slots=True)
class Agent:
    """Who acts. ``partner`` is the organisation's name in this hub (``hub`` for the case management
    organisation, DECISIONS 7); ``user`` a person's name or Practitioner reference; ``admin`` an administrator."""

    partner: str
    user: str | None = None
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """From what. ``kind``: where the facts came from; ``message`` the intake message id; ``identifier`` the
    sender's own name for it (MSH-10, Bundle.identifier, a partner's ``Type/id/_history/v``); ``at`` when the
    sender says that it happened (FHIR dateTime text)."""

    kind: Literal["hl7v2", "message", "document", "fhir", "case", "partner", "hub"]
    message: str | None = None
    identifier: str | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """An element and the place that it was read from: ``period.end`` ← ``PV1-45``. ``raw`` is the original text
    where it could not be carried over whole (a time without zone)."""

    element: str
    place: str
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """One resource as it shall be. ``body`` None deletes. ``expect``: the version that the writer saw
    (None: whatever is there; 0: must not exist). ``client``/``case``: the Patient id and EpisodeOfCare id that it
    belongs to; None lets ``flows.commit`` derive them from the body and the stored version. ``claims``: business
    identities (system, value) that this resource alone may hold from now on (DECISIONS 15); None: those that it holds.
    ``creator``: whose contribution a new
    resource is, when it is not the agent's: what intake opens by rule is the hub's, not the sender's."""

    type: str
    id: str
    body: Resource | None
    expect: int | None = None
    client: str | None = None
    case: str | None = None
    origins: tuple[Origin, ...] = ()
    claims: tuple[tuple[str, str], ...] | None = None
    creator: str | None = None

    @property
    def ref(self) -> Ref:
        return Ref(self.type, self.id)


@dataclass(frozen=True, slots=True)
class Review:
    """Something that only a person can settle (law 5). ``kind`` is a row of REVIEW_KINDS; ``detail`` holds what a
    person needs (element, ours, theirs, candidates …). ``key`` makes it one: an open review of the same key is not
    opened twice. ``holds``: the element of ``subject`` that stays untouched until it is settled (DECISIONS 11)."""

    kind: str
    key: str
    what: str
    hint: str = ""
    subject: Ref | None = None
    client: str | None = None
    case: str | None = None
    partner: str | None = None
    holds: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


WHOLE = "*"
"""``Review.holds`` of a whole resource: it is not sent until the review is settled."""

REVIEW_KINDS: Mapping[str, str] = {
    "identity": "Which client is this?",
    "conflict": "Two sides changed the same element",
    "unmapped": "A code or value that no table knows",
    "no-zone": "A time without an offset, and the sender has no zone",
    "order": "Events of one visit contradict each other",
    "destination": "Who takes over is not clear",
    "which-case": "Several open cases fit",
    "invalid": "It breaks the checks and was stored as sent",
    "undeliverable": "A partner refuses this content",
    "partner-deleted": "A partner deleted its copy",
    "partner-behind": "A partner's copy is older than what it held",
    "widening": "A partner's edit would change who may see what",
    "missing": "Something that is needed was not sent",
    "closing": "Should this case be closed?",
    "withdrawal": "A hand-over was completed, and now its discharge is taken back",
}


@dataclass(frozen=True, slots=True)
class Change:
    """Writes that stand or fall together. ``at``: when we learnt of it is set by commit, not here.
    ``from_partner``: the partner whose own state this is (its lane is not told what it just said). ``informant``: the client or
    guardian (a reference) who decided what the agent wrote down."""

    writes: tuple[Write, ...]
    agent: Agent
    source: Source
    reason: str
    reviews: tuple[Review, ...] = ()
    settles: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()
    warnings: tuple[Problem, ...] = ()
    activity: str = ""
    informant: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """Whose (DECISIONS 2). ``kind`` member: a case's resources and its client's unlabelled ones, written and pushed;
    invited: only ``item``; former: nothing but what it contributed. Times are epoch milliseconds, ``until`` None
    while open."""

    partner: str
    client: str
    case: str | None
    kind: Literal["member", "invited", "former"]
    since: int
    until: int | None = None
    item: Ref | None = None
