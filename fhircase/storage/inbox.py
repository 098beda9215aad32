"""Messages that arrived and what they told of visits (ports.Inbox)."""

from __future__ import annotations

from collections.abc import Sequence

from fhircase.ports import Message, VisitEvent
from fhircase.storage.engine import Row, Session
from fhircase.storage.listing import Listing
from fhircase.storage.packed import clean, pack, unpack

_COLUMNS = (
    "n, id, partner, kind, key, digest, received, raw, head, content_type, control_id, event, state, code, answer,"
    " became, problems, client, replays"
)
_SELECT = f"SELECT {_COLUMNS} FROM message"


class SqlInbox:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def find(self, partner: str, key: str) -> Message | None:
        """The first that came with this key."""
        row = self._session.one(f"{_SELECT} WHERE partner = ? AND key = ? ORDER BY n LIMIT 1", (partner, clean(key)))
        return _message(row) if row else None

    def get(self, id: str) -> Message | None:
        row = self._session.one(f"{_SELECT} WHERE id = ?", (clean(id),))
        return _message(row) if row else None

    def add(self, message: Message) -> None:
        """Raises Conflict when there is one with this id."""
        values = _values(message)
        self._session.run(f"INSERT INTO message ({_COLUMNS.removeprefix('n, ')}) VALUES ({', '.join('?' * len(values))})", values)

    def update(self, message: Message) -> None:
        """By id. Raises LookupError when there is none."""
        names = _COLUMNS.split(", ")[2:]
        values = _values(message)[1:]
        if self._session.run(f"UPDATE message SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?", (*values, message.id)) != 1:
            raise LookupError("no such message")

    def list(
        self,
        *,
        partner: str | None = None,
        control_id: str | None = None,
        client: str | None = None,
        state: str | None = None,
        since: int | None = None,
        until: int | None = None,
        cursor: str | None = None,
        count: int = 50,
    ) -> tuple[Sequence[Message], str | None]:
        """Newest first. ``since`` inclusive, ``until`` exclusive, on the time received."""
        listing = Listing("messages", _SELECT)
        for column, value in (("partner", partner), ("control_id", control_id), ("client", client), ("state", state)):
            if value is not None:
                listing.where(f"{column} = ?", clean(value))
        if since is not None:
            listing.where("received >= ?", since)
        if until is not None:
            listing.where("received < ?", until)
        found, following = listing.rows(self._session, cursor, count)
        return [_message(row) for row in found], following

    def events(self, visit: str) -> Sequence[VisitEvent]:
        """In order of arrival."""
        found = self._session.all("SELECT visit, message, event, at, n, facts FROM visit_event WHERE visit = ? ORDER BY n", (clean(visit),))
        return [VisitEvent(visit, message, event, at, n, unpack(facts)) for visit, message, event, at, n, facts in found]

    def add_event(self, event: VisitEvent) -> None:
        self._session.run(
            "INSERT INTO visit_event (visit, message, event, at, facts) VALUES (?, ?, ?, ?, ?)",
            (clean(event.visit), event.message, clean(event.event), event.at, pack(event.facts)),
        )


def _values(message: Message) -> Row:
    return (
        message.id,
        message.partner,
        message.kind,
        clean(message.key),
        message.digest,
        message.received,
        message.raw,
        message.head,
        clean(message.content_type),
        clean(message.control_id),
        clean(message.event),
        message.state,
        message.code,
        message.answer,
        pack(message.became),
        pack(message.problems),
        message.client,
        message.replays,
    )


def _message(row: Row) -> Message:
    (
        _,
        id,
        partner,
        kind,
        key,
        digest,
        received,
        raw,
        head,
        content_type,
        control_id,
        event,
        state,
        code,
        answer,
        became,
        problems,
        client,
        replays,
    ) = row
    return Message(
        id,
        partner,
        kind,
        key,
        digest,
        received,
        None if raw is None else bytes(raw),
        bytes(head),
        content_type,
        control_id,
        event,
        state,
        code,
        bytes(answer),
        tuple(unpack(became)),
        tuple(unpack(problems)),
        client,
        replays,
    )
