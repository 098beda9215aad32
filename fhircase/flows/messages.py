"""What arrived, who may see it, and what is kept of a message that was too large to take (DECISIONS 12, 20)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fhircase.access.principal import Principal
from fhircase.errors import Forbidden, Invalid, NotFound, Problem
from fhircase.flows.hub import Hub
from fhircase.plans.partner import Partner
from fhircase.ports import Message

HEAD = 1_024
"""Bytes kept of a message that was too large."""

STATES = ("applied", "review", "kept", "rejected", "replayed")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters of the list: times are epoch milliseconds; ``partner`` is for those who see all."""

    partner: str | None = None
    control_id: str | None = None
    client: str | None = None
    state: str | None = None
    since: int | None = None
    until: int | None = None
    cursor: str | None = None
    count: int = 50


def index(hub: Hub, who: Principal, wanted: Wanted) -> tuple[Sequence[Message], str | None]:
    """Newest first, and the next cursor. A partner sees what it sent, the hub's people see all."""
    if wanted.partner is not None and wanted.partner != who.partner and not who.everything:
        return (), None
    with hub.store.read() as tx:
        return tx.inbox.list(
            partner=wanted.partner if who.everything else who.partner,
            control_id=wanted.control_id,
            client=wanted.client,
            state=wanted.state,
            since=wanted.since,
            until=wanted.until,
            cursor=wanted.cursor,
            count=wanted.count,
        )


def find(hub: Hub, who: Principal, id: str) -> Message:
    """Raises NotFound when there is none, and for another's (DECISIONS 5)."""
    with hub.store.read() as tx:
        message = tx.inbox.get(id)
    if message is None or not (who.everything or message.partner == who.partner):
        raise NotFound("there is no such message", path=id[:64])
    return message


def sender(hub: Hub, who: Principal, named: str | None, pair: tuple[str, str] | None = None) -> Partner:
    """The partner that a message comes from: the credential decides; an administrator may post for any, by name or, when
    exactly one partner may use them, by MSH-3 and MSH-4.

    Raises Forbidden for a partner that names another, Invalid when none or several fit."""
    with hub.store.read() as tx:
        if not who.admin:
            if named is not None and named != who.partner:
                raise Forbidden("a partner posts for itself alone", path="partner", hint="leave out ?partner=")
            found = tx.partners.get(who.partner)
            fitting = [found] if found is not None else []
        elif named is not None:
            found = tx.partners.get(named)
            fitting = [found] if found is not None else []
        else:
            fitting = [partner for partner in tx.partners.all() if pair in partner.senders]
    if len(fitting) != 1:
        what = "which partner sent this is not clear" if named is None else "there is no such partner"
        raise Invalid(Problem(what, "partner", "name it with ?partner=, or post with the partner's own key", "not-found"))
    return fitting[0]


def keep_head(
    hub: Hub, partner: str, kind: Literal["hl7v2", "message", "document"], *, head: bytes, digest: str, size: int, content_type: str
) -> Message:
    """Keep what is known of a message that was too large to take, so that a person can find out whose it was; the same
    one again is kept once. It is answered 413 and cannot be replayed."""
    key = f"too-large|{digest}"
    with hub.store.write() as tx:
        kept = tx.inbox.find(partner, key)
        if kept is None:
            told = {
                "path": "",
                "what": f"the message has {size} bytes",
                "hint": "send less at once",
                "code": "too-long",
                "severity": "error",
            }
            kept = Message(
                id=hub.ids.new(),
                partner=partner,
                kind=kind,
                key=key,
                digest=digest,
                received=hub.now(),
                raw=None,
                head=head[:HEAD],
                content_type=content_type,
                control_id="",
                event="",
                state="rejected",
                code="AR",
                answer=b"",
                problems=(told,),
            )
            tx.inbox.add(kept)
    return kept
