"""FHIR resources: versions, index, claims, grants (ports.Plans)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast

from fhircase.errors import Conflict, Stale
from fhircase.fhir.query import Query
from fhircase.plans.change import Grant, Ref
from fhircase.ports import Page, Record, Stamp, Stored, Viewer
from fhircase.storage import paging, rows, schema, visible
from fhircase.storage.engine import Insert, Row, Session
from fhircase.storage.schema import FOREVER, ORDINAL_BITS
from fhircase.storage.search_sql import Search

_CURRENT = f"SELECT {rows.columns('v.updated')} FROM resource r JOIN version v ON v.vid = r.vid"
_ANY = f"SELECT {rows.columns('v.updated')} FROM resource r JOIN version v ON v.rid = r.rid"
_LIVE = f"{_CURRENT} WHERE r.deleted = 0"

_STAMP = "UPDATE counter SET seq = seq + 1, at = GREATEST(at + 1, ?) WHERE name = 'commit' RETURNING seq, at"
_KNOWN = "SELECT rid, type, id, version, client, case_id, sensitive, visible_from, indexed FROM resource WHERE id IN LIST(?)"
_NEW_VERSION = Insert(schema.version, "vid", "rid", "type", "version", "updated", "deleted", "method", "mark", "text")
_NEW_RESOURCE = Insert(
    schema.resource,
    *("rid", "vid", "type", "id", "version", "updated", "deleted", "client", "case_id", "creator", "sensitive", "visible_from", "indexed"),
)
_UPDATE_RESOURCE = (
    "UPDATE resource SET vid = ?, version = ?, updated = ?, deleted = ?, client = ?, case_id = ?, creator = ?, sensitive = ?,"
    " visible_from = ?, indexed = ? WHERE rid = ?"
)
_CLAIM = Insert(schema.claim, "type", "system", "value", "rid", behind=" ON CONFLICT DO NOTHING")
_GRANT = (
    "INSERT INTO access (partner, client, case_id, kind, item_type, item_id, since, until, stamped, start)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (partner, case_id, client, kind, item_id, item_type, since) DO UPDATE SET until = excluded.until,"
    # one that had ended and begins again is seen anew from now on
    " stamped = CASE WHEN access.until <= excluded.stamped AND excluded.until > access.until THEN excluded.stamped ELSE access.stamped END,"
    " start = CASE WHEN access.until <= excluded.stamped AND excluded.until > access.until THEN excluded.start ELSE access.start END"
)


class SqlPlans:
    """ports.Plans over one transaction."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    # ------------------------------------------------------------------------------------------ as a viewer sees them

    def read(self, viewer: Viewer, ref: Ref) -> Stored | None:
        return self._seen(viewer, "JOIN version v ON v.vid = r.vid WHERE r.id = ? AND r.type = ?", (ref.id, ref.type))

    def vread(self, viewer: Viewer, ref: Ref, version: int) -> Stored | None:
        joined = "JOIN version v ON v.rid = r.rid WHERE r.id = ? AND r.type = ? AND v.version = ?"
        return self._seen(viewer, joined, (ref.id, ref.type, rows.within(version)))

    def _seen(self, viewer: Viewer, where: str, args: tuple[Any, ...]) -> Stored | None:
        if viewer.everything:
            row = self._session.one(f"SELECT {rows.columns('v.updated')} FROM resource r {where}", args)
            return rows.stored(row) if row else None
        seen, seen_args = visible.seen(viewer)
        row = self._session.one(f"SELECT {rows.columns('v.updated')}, {seen} AS seen FROM resource r {where}", (*seen_args, *args))
        if row is None or row[rows.WIDTH] >= FOREVER:
            return None
        return rows.stored(rows.effective(row, row[rows.WIDTH]))

    def search(self, viewer: Viewer, query: Query) -> Page:
        """Ordered by effective time, oldest first, unless the query sorts: so a caller that pages while others write,
        and goes on later from the last time it saw, misses nothing. Raises Malformed for a cursor of another search,
        Invalid for a modifier that the store does not know, TooLarge when over 1,000 resources would be included."""
        return Search(self._session, viewer, query).page()

    def history(
        self,
        viewer: Viewer,
        type: str | None,
        id: str | None,
        *,
        since: int | None,
        at: tuple[int, int] | None = None,
        count: int,
        cursor: str | None,
        total: bool = False,
    ) -> Page:
        where: list[str] = []
        args: list[Any] = []
        opening, seen = "", "0"
        if id is not None:
            where += ["r.id = ?", "r.type = ?"]
            args += [id, type]
        elif type is not None:
            where.append("v.type = ?")
            args.append(type)
        source = "version v JOIN resource r ON r.rid = v.rid"
        if not visible.unscoped(viewer, type):
            granted, more = visible.rows(viewer, type) if id is None else self._one(viewer, Ref(cast(str, type), id))
            opening, seen = f"WITH m AS MATERIALIZED ({granted}) ", "m.seen"
            source = "m JOIN resource r ON r.rid = m.rid JOIN version v ON v.rid = r.rid"
            where.append(f"m.seen < {FOREVER}")
            args = [*more, *args]
        effective = "v.updated" if seen == "0" else f"GREATEST(v.updated, {seen})"
        if since is not None:
            where.append(f"{effective} >= ?")
            args.append(rows.within(since))
            if seen != "0":  # spares the versions of what has neither changed nor appeared since
                where.append(f"(r.updated >= ? OR {seen} >= ?)")
                args += [rows.within(since), rows.within(since)]
        if at is not None:
            following = "(SELECT min(n.updated) FROM version n WHERE n.rid = v.rid AND n.version > v.version)"
            where.append(f"{effective} < ? AND GREATEST(coalesce({following}, {FOREVER}), {seen}) > GREATEST({effective}, ?)")
            args += [rows.within(at[1]), rows.within(at[0])]
        counted = None
        if total or count <= 0:
            found = self._session.one(f"{opening}SELECT count(*) FROM {source}{_where(where)}", args)
            counted = int(found[0]) if found else 0
            if count <= 0:
                return Page((), total=counted)
        scope = repr(("history", type, id, since, at, viewer.partner, viewer.everything))
        if cursor is not None:
            time, vid = paging.decode(scope, cursor, (int, int))
            where.append(f"({effective} < ? OR ({effective} = ? AND v.vid < ?))")
            args += [time, time, vid]
        got = self._session.all(
            f"{opening}SELECT {rows.columns(effective)} FROM {source}{_where(where)}"
            f" ORDER BY {effective} DESC, v.vid DESC LIMIT {int(count) + 1}",
            args,
        )
        next_ = None
        if len(got) > count:
            got = got[:count]
            next_ = paging.encode(scope, (got[-1][10], got[-1][4]))
        matches = [rows.stored(row) for row in got]
        return Page(matches, (), next_, counted, max((stored.effective for stored in matches), default=0))

    @staticmethod
    def _one(viewer: Viewer, ref: Ref) -> tuple[str, tuple[Any, ...]]:
        seen, args = visible.seen(viewer)
        return f"SELECT r.rid, {seen} AS seen FROM resource r WHERE r.id = ? AND r.type = ?", (*args, ref.id, ref.type)

    # ------------------------------------------------------------------------------------------ unscoped

    def get(self, ref: Ref) -> Stored | None:
        row = self._session.one(f"{_CURRENT} WHERE r.id = ? AND r.type = ?", (ref.id, ref.type))
        return rows.stored(row) if row else None

    def get_many(self, refs: Iterable[Ref]) -> Mapping[Ref, Stored]:
        wanted = set(refs)
        if not wanted:
            return {}
        ids = self._session.array(sorted({ref.id for ref in wanted}))
        found = (rows.stored(row) for row in self._session.all(f"{_CURRENT} WHERE r.id IN LIST(?)", (ids,)))
        return {stored.ref: stored for stored in found if stored.ref in wanted}

    def get_version(self, ref: Ref, version: int) -> Stored | None:
        row = self._session.one(f"{_ANY} WHERE r.id = ? AND r.type = ? AND v.version = ?", (ref.id, ref.type, rows.within(version)))
        return rows.stored(row) if row else None

    def by_identifier(self, type: str, system: str, value: str) -> Sequence[Stored]:
        inner = "SELECT t.rid FROM ix_token t WHERE t.name = ? AND t.code = ? AND t.system = ?"
        return self._live(f"r.rid IN ({inner})", (f"{type}.identifier", rows.short(value), rows.short(system)))

    def holder(self, type: str, system: str, value: str) -> Ref | None:
        row = self._session.one(
            "SELECT r.type, r.id FROM claim c JOIN resource r ON r.rid = c.rid WHERE c.type = ? AND c.value = ? AND c.system = ?",
            (type, rows.short(value), rows.short(system)),
        )
        return Ref(row[0], row[1]) if row else None

    def of_case(self, case: str, types: Sequence[str] = ()) -> Sequence[Stored]:
        return self._typed("r.case_id = ?", case, types)

    def of_client(self, client: str, types: Sequence[str] = ()) -> Sequence[Stored]:
        return self._typed("r.client = ?", client, types)

    def referring(self, target: Ref, type: str, param: str) -> Sequence[Stored]:
        inner = "SELECT t.rid FROM ix_reference t WHERE t.name = ? AND t.code = ? AND t.system = ?"
        return self._live(f"r.rid IN ({inner})", (f"{type}.{param}", rows.short(target.id), target.type))

    def _typed(self, where: str, value: str, types: Sequence[str]) -> Sequence[Stored]:
        if not types:
            return self._live(where, (value,))
        return self._live(f"{where} AND r.type IN LIST(?)", (value, self._session.array(types)))

    def _live(self, where: str, args: tuple[Any, ...]) -> Sequence[Stored]:
        return [rows.stored(row) for row in self._session.all(f"{_LIVE} AND {where} ORDER BY r.rid", args)]

    # ------------------------------------------------------------------------------------------ writing

    def lock(self, key: str) -> None:
        if self._session.dialect.postgres:
            number = int.from_bytes(hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=8).digest(), "big", signed=True)
            self._session.all("SELECT pg_advisory_xact_lock(?)", (number,))

    def stamp(self, now: int) -> Stamp:
        """Other commits wait from here until this one ends."""
        row = self._session.one(_STAMP, (now,))
        if row is None:
            raise LookupError("the counter row is missing: the database was not migrated")
        return Stamp(row[0], row[1])

    def save(self, stamp: Stamp, records: Sequence[Record]) -> None:
        """Raises Stale when a stored version is not the one before a record's, Conflict when another resource holds a
        claim or the id is taken."""
        session = self._session
        known = self._known([record for record in records if record.version > 1])
        place = stamp.seq << ORDINAL_BITS
        versions: list[Row] = []
        fresh: list[Row] = []
        changed: list[Row] = []
        outdated: list[int] = []
        index: dict[str, list[Row]] = {}
        claims: list[Row] = []
        unclaimed: list[tuple[int]] = []
        for record in records:
            before = known.get((record.type, record.id))
            client = record.client or (record.id if record.type == "Patient" else None)
            made = rows.index_rows(record.type, record.index)
            mine = tuple(dict.fromkeys((rows.short(system), rows.short(value)) for system, value in record.claims or ()))
            digest = rows.digest(made, ())
            deleted, sensitive = int(record.deleted), int(record.sensitive)
            if before is None:
                rid = place
                fresh.append(
                    (
                        rid,
                        place,
                        record.type,
                        record.id,
                        record.version,
                        stamp.at,
                        deleted,
                        client,
                        record.case,
                        record.creator,
                        sensitive,
                        stamp.at,
                        digest,
                    )
                )
                differs = True
            else:
                rid, _, _, version, old_client, old_case, old_sensitive, visible_from, old_digest = before
                if version >= record.version:
                    raise Stale("the version that the change was made on is not the latest", hint="read it again, then repeat")
                if (old_client, old_case) != (client, record.case) or (old_sensitive and not sensitive):
                    visible_from = stamp.at
                changed.append(
                    (place, record.version, stamp.at, deleted, client, record.case, record.creator, sensitive, visible_from, digest, rid)
                )
                differs = digest != old_digest
                if differs:
                    outdated.append(rid)
                if record.claims is not None:
                    unclaimed.append((rid,))
            versions.append((place, rid, record.type, record.version, stamp.at, deleted, record.method, record.mark, record.text))
            if differs:
                for n, (table, row) in enumerate(made):
                    index.setdefault(table, []).append((rid, n, *row))
            claims += [(record.type, system, value, rid) for system, value in mine]
            place += 1
        if place - (stamp.seq << ORDINAL_BITS) >> ORDINAL_BITS:
            raise ValueError("too many records in one commit")
        session.insert(_NEW_VERSION, versions)
        session.insert(_NEW_RESOURCE, fresh)
        session.many(_UPDATE_RESOURCE, changed)
        if outdated:
            old = session.array(outdated)
            for table in rows.INSERT:
                session.run(f"DELETE FROM {table} WHERE rid IN LIST(?)", (old,))
        session.many("DELETE FROM claim WHERE rid = ?", unclaimed)
        for table, values in index.items():
            session.insert(rows.INSERT[table], values)
        if claims and session.insert(_CLAIM, claims) != len(claims):
            raise Conflict("an identifier belongs to another record already", hint="update that record, or remove the identifier")

    def _known(self, records: Sequence[Record]) -> dict[tuple[str, str], Row]:
        if not records:
            return {}
        found = self._session.all(_KNOWN, (self._session.array(record.id for record in records),))
        known = {(row[1], row[2]): row for row in found}
        if any((record.type, record.id) not in known for record in records):
            raise Stale("a later version of something that is not stored", hint="read it again, then repeat")
        return known

    def assign(self, stamp: Stamp, refs: Sequence[Ref], client: str, case: str) -> None:
        self._session.many(
            "UPDATE resource SET client = ?, case_id = ?, visible_from = ? WHERE id = ? AND type = ?"
            " AND (case_id IS NULL OR case_id <> ? OR client IS NULL OR client <> ?)",
            [(client, case, stamp.at, ref.id, ref.type, case, client) for ref in refs],
        )

    def grant(self, stamp: Stamp, grants: Sequence[Grant]) -> None:
        self._session.many(
            _GRANT,
            [
                (
                    grant.partner,
                    grant.client,
                    grant.case or "",
                    grant.kind,
                    grant.item.type if grant.item else "",
                    grant.item.id if grant.item else "",
                    grant.since,
                    FOREVER if grant.until is None else grant.until,
                    stamp.at,
                    max(grant.since, stamp.at),
                )
                for grant in grants
            ],
        )

    def grants(
        self, *, partner: str | None = None, client: str | None = None, case: str | None = None, at: int | None = None
    ) -> Sequence[Grant]:
        """``at``: only those in force then."""
        where: list[str] = []
        args: list[Any] = []
        for column, value in (("partner", partner), ("client", client), ("case_id", case)):
            if value is not None:
                where.append(f"{column} = ?")
                args.append(value)
        if at is not None:
            where.append("since <= ? AND until > ?")
            args += [at, at]
        found = self._session.all(
            f"SELECT partner, client, case_id, kind, since, until, item_type, item_id FROM access{_where(where)} ORDER BY n", args
        )
        return [
            Grant(
                row[0],
                row[1],
                row[2] or None,
                cast(Literal["member", "invited", "former"], row[3]),
                row[4],
                None if row[5] >= FOREVER else row[5],
                Ref(row[6], row[7]) if row[7] else None,
            )
            for row in found
        ]


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""
