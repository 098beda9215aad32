"""Take in one message: raw bytes → finding → Change → one transaction, and only then the answer (DECISIONS 18–20).

The order is the promise. Reading, deciding and checking happen on a snapshot, outside any write transaction; then one write
transaction looks whether what was decided upon still stands, commits the Change with the message, its place in the visit's
history, its reviews and the bytes of the answer, and ends; then the answer is given. If the ground moved meanwhile
everything is decided anew. What cannot be applied is kept with its answer in a transaction of its own (AE, AR); where
nothing could be stored at all, ``Unavailable`` is raised and there is no answer, so that the sender sends again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fhircase import hl7v2
from fhircase.errors import Conflict, FhircaseError, NotFound, Problem, Refused, Stale, Unavailable
from fhircase.fhir import jsontext, outcome
from fhircase.flows import commit, drafting
from fhircase.flows.drafting import Decided
from fhircase.flows.hub import Hub
from fhircase.flows.scene import Kind
from fhircase.intake import adt
from fhircase.intake import message as notification
from fhircase.intake.findings import Finding
from fhircase.intake.refusal import Unacceptable
from fhircase.plans.change import Agent, Change
from fhircase.plans.partner import Partner
from fhircase.ports import Message, MessageState, Tx
from fhircase.telemetry import Log, place, tell

_TRIES = 6
_HEAD = 1_024
_STATUS: Mapping[str, int] = {"AA": 200, "AE": 422, "AR": 400}


@dataclass(frozen=True, slots=True)
class Taken:
    """``message`` as it was stored, ``message.answer`` the bytes to send back (b'' when the sender wants none);
    ``duplicate``: it had come before, the first answer is given again. ``status`` the HTTP status."""

    message: Message
    duplicate: bool = False

    @property
    def status(self) -> int:
        return _STATUS[self.message.code]


def take_in(
    hub: Hub,
    partner_name: str,
    kind: Kind,
    raw: bytes,
    content_type: str,
    *,
    agent: Agent,
    correlation: str = "",
    key: str | None = None,
) -> Taken:
    """Take in what ``partner_name`` sends: an HL7 v2 message (``hl7v2``) or a FHIR message Bundle (``message``).

    ``key`` is the id of the caller's API key, for the audit. Content that cannot be applied is kept and answered, never
    raised. Raises NotFound for an unknown partner and Unavailable when nothing was stored."""
    with hub.store.read() as tx:
        partner = tx.partners.get(partner_name)
    if partner is None:
        raise NotFound("this sender is not known here", hint="add it as a partner first")
    taken = _Intake(hub, partner, kind, raw, content_type, agent, correlation, key).run()
    hub.tally("intake", kind, taken.message.code, 1)
    return taken


def replay(hub: Hub, message_id: str, agent: Agent, *, correlation: str = "", key: str | None = None) -> Taken:
    """Apply a kept message again, after a mapping or a setting was mended (DECISIONS 20). What was applied before changes
    nothing. The sender's answer stays what it was; state, problems and what it became are brought up to date.

    Raises NotFound, Conflict when its bytes were too large to keep or it is a document, Unavailable."""
    with hub.store.read() as tx:
        message = tx.inbox.get(message_id)
        partner = tx.partners.get(message.partner) if message is not None else None
    if message is None or partner is None:
        raise NotFound("this message is not known here")
    if message.raw is None or message.kind == "document":
        raise Conflict("this message cannot be replayed", hint="its bytes were not kept: let the sender send it again")
    return _Intake(hub, partner, message.kind, message.raw, message.content_type, agent, correlation, key, again=message).run()


# ------------------------------------------------------------------------------------------------ the use case


class _Intake:
    """One message on its way in."""

    def __init__(
        self,
        hub: Hub,
        partner: Partner,
        kind: Kind,
        raw: bytes,
        content_type: str,
        agent: Agent,
        correlation: str,
        key: str | None,
        *,
        again: Message | None = None,
    ) -> None:
        self.hub, self.partner, self.kind, self.raw = hub, partner, kind, raw
        self.content_type, self.correlation, self.key, self.again = content_type, correlation, key, again
        self.agent = agent if agent.partner == partner.name else Agent(partner.name, None, agent.admin)
        self.received = again.received if again else hub.now()
        self.id = again.id if again else hub.ids.new()
        self.digest = hashlib.sha256(raw).hexdigest()
        self.parsed: hl7v2.Message | None = None

    def run(self) -> Taken:
        """A defect of ours must not stop the sender's queue: the message is kept, answered AE, and can be replayed."""
        try:
            return self._run()
        except FhircaseError:
            raise
        except Exception as error:
            tell(Log.INTAKE_DEFECT, partner=self.partner.name, message=self.id, error=type(error).__name__, where=place(error))
            first = hl7v2.header(self.raw) if self.kind == "hl7v2" else None
            self.parsed = self.parsed or first
            wrong = Problem("a defect of the hub kept it from being applied", "", "it is kept; its operator can replay it", "exception")
            return self._keep("AE", (wrong,), control_id=first.control_id if first else "", event=first.event if first else "")

    def _run(self) -> Taken:
        try:
            finding = self._read()
        except Unacceptable as refused:
            self.parsed = refused.message
            return self._keep(refused.ack, refused.problems, control_id=refused.control_id, event=refused.event, key=refused.key)
        except Refused as refused:
            return self._keep("AR", refused.problems)
        conflict: Conflict | None = None
        for _ in range(_TRIES):
            with self.hub.store.read() as tx:
                known = self._known(tx, finding.key)
                if known is not None:
                    return known
                draft = drafting.draft(self.hub, tx, self.partner, finding, self.kind, self.id)
            change = replace(draft.change, agent=self.agent)
            try:
                change = commit.check(change, lenient=self.kind == "hl7v2" or self.partner.lenient)
                return self._apply(finding, draft, change)
            except (Stale, _Moved):
                conflict = None
                continue
            except Conflict as refused:
                conflict = refused
                continue
            except Refused as refused:
                return self._unapplied(finding, refused.problems)
        if conflict is not None:
            # Not a race: deciding anew each time ends in the same conflict.
            return self._unapplied(finding, conflict.problems)
        raise Unavailable("others keep changing the same client", hint="send it again")

    def _read(self) -> Finding:
        if self.kind == "hl7v2":
            return adt.read(self.raw, self.partner, self.hub.maps)
        bundle = jsontext.loads(self.raw)
        return notification.read(bundle, self.partner, self.hub.maps)

    def _known(self, tx: Tx, key: str) -> Taken | None:
        """The first answer again for the same bytes (DECISIONS 19)."""
        if self.again is not None or not key:
            return None
        for name in (key, _second(key, self.digest)):
            found = tx.inbox.find(self.partner.name, name)
            if found is not None and found.digest == self.digest:
                return Taken(found, duplicate=True)
        return None

    def _apply(self, finding: Finding, draft: Decided, change: Change) -> Taken:
        hub = self.hub
        with hub.store.write() as tx:
            # The message first, and everybody in the same order: two copies at once become one, and nobody waits in a ring.
            tx.plans.lock(f"message|{self.partner.name}|{finding.key}")
            known = self._known(tx, finding.key)
            if known is not None:
                return known
            if self.again is None and finding.key and tx.inbox.find(self.partner.name, finding.key) is not None:
                wrong = Problem(
                    "another message came before under the same id", "MSH-10", "give each message an id of its own", "duplicate"
                )
                return self._store(
                    tx,
                    "AE",
                    (wrong, *finding.problems),
                    key=_second(finding.key, self.digest),
                    control_id=finding.control_id,
                    event=finding.event,
                    silent=not finding.acknowledge,
                )
            for name in draft.locks:
                tx.plans.lock(name)
            if not draft.stands(tx):
                raise _Moved
            done = commit.commit(hub, tx, change, key=self.key, correlation=self.correlation, message=self.id)
            if draft.event is not None:
                tx.inbox.add_event(draft.event)
            became = tuple(str(ref) for ref in draft.became)
            return self._store(
                tx,
                "AA",
                finding.problems,
                key=finding.key,
                control_id=finding.control_id,
                event=finding.event,
                became=became,
                client=draft.client,
                reviewed=bool(done.reviews),
                silent=not finding.acknowledge,
            )

    # -------------------------------------------------------------------------------------- the record and the answer

    def _unapplied(self, finding: Finding, problems: Sequence[Problem]) -> Taken:
        return self._keep(
            "AE",
            (*problems, *finding.problems),
            control_id=finding.control_id,
            event=finding.event,
            key=finding.key,
            silent=not finding.acknowledge,
        )

    def _keep(
        self,
        code: Literal["AE", "AR"],
        problems: Sequence[Problem],
        *,
        control_id: str = "",
        event: str = "",
        key: str = "",
        silent: bool = False,
    ) -> Taken:
        """Content that is not applied: kept with its answer, in a transaction of its own."""
        key = key or f"unread|{self.digest}"
        with self.hub.store.write() as tx:
            tx.plans.lock(f"message|{self.partner.name}|{key}")
            known = self._known(tx, key)
            if known is not None:
                return known
            if self.again is None and tx.inbox.find(self.partner.name, key) is not None:
                key = _second(key, self.digest)
            return self._store(tx, code, problems, key=key, control_id=control_id, event=event, silent=silent)

    def _store(
        self,
        tx: Tx,
        code: Literal["AA", "AE", "AR"],
        problems: Sequence[Problem],
        *,
        key: str,
        control_id: str,
        event: str,
        became: tuple[str, ...] = (),
        client: str | None = None,
        reviewed: bool = False,
        silent: bool = False,
    ) -> Taken:
        state: MessageState = {"AA": "review" if reviewed else "applied", "AE": "kept", "AR": "rejected"}[code]
        told = tuple({"path": p.path, "what": p.what, "hint": p.hint, "code": p.code, "severity": p.severity} for p in problems)
        if self.again is not None:
            message = replace(
                self.again,
                state=state,
                code=code,
                became=became or self.again.became,
                problems=told,
                client=client or self.again.client,
                replays=self.again.replays + 1,
            )
            tx.inbox.update(message)
            return Taken(message)
        keep = len(self.raw) <= self.hub.policy.bundle_bytes
        message = Message(
            id=self.id,
            partner=self.partner.name,
            kind=self.kind,
            key=key,
            digest=self.digest,
            received=self.received,
            raw=self.raw if keep else None,
            head=self.raw[:_HEAD],
            content_type=self.content_type,
            control_id=control_id,
            event=event,
            state=state,
            code=code,
            answer=b"" if silent else self._answer(code, problems),
            became=became,
            problems=told,
            client=client,
        )
        tx.inbox.add(message)
        return Taken(message)

    def _answer(self, code: Literal["AA", "AE", "AR"], problems: Sequence[Problem]) -> bytes:
        if self.kind == "hl7v2":
            parsed = self.parsed
            if parsed is None:
                try:
                    parsed = hl7v2.parse(self.raw)
                except Refused:
                    parsed = hl7v2.header(self.raw)
            return hl7v2.ack(parsed, code, problems, control_id=self.id.replace("-", "")[:20], now=self.hub.clock.now())
        return jsontext.dumps(outcome.of(problems)).encode()


class _Moved(Exception):
    """What was decided upon changed before it could be written: decide anew."""


def _second(key: str, digest: str) -> str:
    """The key under which another body of an id that was used before is kept."""
    return f"{key}|{digest[:32]}"
