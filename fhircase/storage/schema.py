"""The tables. The migrations build the same (a test proves it).

Keys of resources and versions are numbers that carry commit order: ``seq << 16 | place within the commit``. So a
version's ``vid`` orders history, ``vid >> 16`` is its ``seq``, and a resource's ``rid`` is the ``vid`` of its first version.
Flags are 0 or 1; times epoch milliseconds; JSON is kept as text, token for token."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, PrimaryKeyConstraint, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import TEXT
from sqlalchemy.types import TypeEngine

from fhircase.plans.partner import HUB

ORDINAL_BITS = 16
FOREVER = 2**62
"""An open end in ``access.until``, and the visibility time of what no path makes visible."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_TEXT: TypeEngine[str] = Text().with_variant(TEXT(collation="C"), "postgresql")
"""Compared byte by byte on both stores, so that order and prefix ranges agree."""
_SERIAL = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, _TEXT, nullable=null)


def _int(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null, autoincrement=False)


def _serial(name: str) -> Column[int]:
    return Column(name, _SERIAL, primary_key=True, autoincrement=True)


counter = Table("counter", metadata, Column("name", _TEXT, primary_key=True), _int("seq"), _int("at"))

resource = Table(
    "resource",
    metadata,
    Column("rid", _SERIAL, primary_key=True, autoincrement=False),
    _int("vid"),
    _text("type"),
    _text("id"),
    _int("version"),
    _int("updated"),
    _int("deleted"),
    _text("client", null=True),
    _text("case_id", null=True),
    _text("creator"),
    _int("sensitive"),
    _int("visible_from"),
    _text("indexed"),
    UniqueConstraint("id", "type"),
    Index(None, "type", "updated", "rid"),
    Index(None, "case_id", "type"),
    Index(None, "client", "type"),
    # The hub's own people see everything, so only others ask for what they made themselves.
    Index("ix_resource_creator_type", "creator", "type", sqlite_where=Column("creator") != HUB, postgresql_where=Column("creator") != HUB),
)

version = Table(
    "version",
    metadata,
    Column("vid", _SERIAL, primary_key=True, autoincrement=False),
    _int("rid"),
    _text("type"),
    _int("version"),
    _int("updated"),
    _int("deleted"),
    _text("method"),
    _int("mark"),
    _text("text"),
    UniqueConstraint("rid", "version"),
    Index(None, "updated", "type"),
)


def _index(name: str, columns: tuple[Column[str] | Column[int], ...], *by: tuple[str, ...], by_text: bool = False) -> Table:
    """One row per value of a search parameter, clustered by resource; ``by``: the ways it is searched. ``by_text``:
    also by ``text``, where there is one. A commit writes one page for each place that its rows go to, so the order of an
    index's columns is chosen to put rows of one client side by side."""
    written = Column("text") != ""
    return Table(
        name,
        metadata,
        _int("rid"),
        _int("n"),
        _text("name"),
        *columns,
        PrimaryKeyConstraint("rid", "n"),
        *(Index(None, *way, "rid") for way in by),
        *([Index(f"ix_{name}_name_text", "name", "text", "rid", sqlite_where=written, postgresql_where=written)] if by_text else []),
        sqlite_with_rowid=False,
    )


ix_token = _index("ix_token", (_text("system"), _text("code"), _text("text")), ("name", "code", "system"))
ix_string = _index("ix_string", (_text("text"), _text("code")), ("name", "text"))
ix_date = _index("ix_date", (_int("low"), _int("high")), ("name", "low", "high"))
ix_reference = _index("ix_reference", (_text("system"), _text("code"), _text("text")), ("code", "name", "system"), by_text=True)
ix_quantity = _index("ix_quantity", (_int("low"), _text("system"), _text("code"), _text("text")), ("name", "low"))

claim = Table(
    "claim",
    metadata,
    _text("type"),
    _text("system"),
    _text("value"),
    _int("rid"),
    PrimaryKeyConstraint("type", "value", "system"),
    Index(None, "rid"),
    sqlite_with_rowid=False,
)

access = Table(
    "access",
    metadata,
    _serial("n"),
    _text("partner"),
    _text("client"),
    _text("case_id"),
    _text("kind"),
    _text("item_type"),
    _text("item_id"),
    _int("since"),
    _int("until"),
    _int("stamped"),
    _int("start"),
    UniqueConstraint("partner", "case_id", "client", "kind", "item_id", "item_type", "since", name="uq_access_grant"),
    Index(None, "partner", "client"),
    Index(None, "partner", "item_id"),
    Index(None, "client"),
    Index(None, "case_id"),
)

message = Table(
    "message",
    metadata,
    _serial("n"),
    _text("id"),
    _text("partner"),
    _text("kind"),
    _text("key"),
    _text("digest"),
    _int("received"),
    Column("raw", LargeBinary, nullable=True),
    Column("head", LargeBinary, nullable=False),
    _text("content_type"),
    _text("control_id"),
    _text("event"),
    _text("state"),
    _text("code"),
    Column("answer", LargeBinary, nullable=False),
    _text("became"),
    _text("problems"),
    _text("client", null=True),
    _int("replays"),
    UniqueConstraint("id"),
    Index(None, "partner", "key"),
    Index(None, "control_id"),
    Index(None, "client"),
    Index(None, "received"),
    Index(None, "state"),
)

visit_event = Table(
    "visit_event",
    metadata,
    _serial("n"),
    _text("visit"),
    _text("message"),
    _text("event"),
    _int("at"),
    _text("facts"),
    Index(None, "visit"),
)

lane = Table(
    "lane",
    metadata,
    Column("key", _TEXT, primary_key=True),
    _text("target"),
    _text("kind"),
    _int("fifo"),
    _text("waits_for"),
    _text("owner", null=True),
    _int("lease"),
    _int("turn"),
    _int("not_before"),
    _int("fence"),
    _int("fails"),
    Index(None, "turn"),
)

mark = Table(
    "mark",
    metadata,
    _serial("n"),
    _text("partner"),
    _text("ref"),
    _text("lane"),
    _int("rev"),
    _int("at"),
    _text("correlation"),
    _text("parked", null=True),
    UniqueConstraint("partner", "ref"),
    Index("ix_mark_lane_ready", "lane", "n", sqlite_where=Column("parked").is_(None), postgresql_where=Column("parked").is_(None)),
    Index("ix_mark_lane_parked", "lane", sqlite_where=Column("parked").is_not(None), postgresql_where=Column("parked").is_not(None)),
)

event = Table(
    "event",
    metadata,
    _serial("n"),
    _text("id"),
    _text("type"),
    _int("at"),
    _int("seq"),
    _text("client", null=True),
    _text("case_id", null=True),
    _text("partner"),
    _text("data"),
    UniqueConstraint("id"),
    Index(None, "at"),
)

delivery = Table(
    "delivery",
    metadata,
    _serial("n"),
    _text("endpoint"),
    _int("event"),
    _text("lane"),
    _text("state"),
    _int("attempts"),
    _int("not_before"),
    _int("last_status", null=True),
    _text("last_problem", null=True),
    _int("last_at", null=True),
    Index("ix_delivery_lane_ready", "lane", "n", sqlite_where=Column("state") == "ready", postgresql_where=Column("state") == "ready"),
    Index(
        "ix_delivery_lane_due", "lane", "not_before", sqlite_where=Column("state") == "ready", postgresql_where=Column("state") == "ready"
    ),
    Index(None, "endpoint", "n"),
    Index(None, "event"),
)

endpoint = Table("endpoint", metadata, Column("id", _TEXT, primary_key=True), _text("partner"), _int("disabled"), _text("doc"))

link = Table(
    "link",
    metadata,
    _text("partner"),
    _text("ref"),
    _text("type"),
    _text("remote", null=True),
    _text("etag", null=True),
    _text("updated", null=True),
    _text("stored", null=True),
    _text("sent", null=True),
    _text("pend", null=True),
    _text("state"),
    PrimaryKeyConstraint("partner", "ref"),
    Index(None, "partner", "remote", "type"),
)

sync_cursor = Table("sync_cursor", metadata, _text("partner"), _text("type"), _text("value"), PrimaryKeyConstraint("partner", "type"))

exchange = Table(
    "exchange",
    metadata,
    _serial("n"),
    _text("partner"),
    _int("at"),
    _text("direction"),
    _text("verb"),
    _text("ref"),
    _text("remote"),
    _int("status"),
    _text("outcome"),
    _text("correlation"),
    _text("detail"),
    Index(None, "partner", "n"),
)

review = Table(
    "review",
    metadata,
    _serial("n"),
    _text("id"),
    _text("kind"),
    _text("key"),
    _text("what"),
    _text("hint"),
    _text("subject", null=True),
    _text("client", null=True),
    _text("case_id", null=True),
    _text("partner", null=True),
    _text("holds", null=True),
    _text("detail"),
    _int("opened"),
    _text("message", null=True),
    _int("settled", null=True),
    _text("settled_by", null=True),
    _text("resolution", null=True),
    UniqueConstraint("id"),
    Index("uq_review_open_key", "key", unique=True, sqlite_where=Column("settled").is_(None), postgresql_where=Column("settled").is_(None)),
    Index("ix_review_open_subject", "subject", sqlite_where=Column("settled").is_(None), postgresql_where=Column("settled").is_(None)),
    Index(None, "client"),
    Index(None, "case_id"),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", _TEXT, primary_key=True),
    _text("name"),
    _text("digest"),
    _text("partner"),
    _text("user_name", null=True),
    _text("scopes"),
    _int("admin"),
    _int("created"),
    _int("revoked", null=True),
    UniqueConstraint("digest"),
)

partner = Table("partner", metadata, Column("name", _TEXT, primary_key=True), _int("paused"), _text("doc"))

secret = Table("secret", metadata, Column("name", _TEXT, primary_key=True), _text("sealed"))

audit = Table(
    "audit",
    metadata,
    Column("n", _SERIAL, primary_key=True, autoincrement=False),
    _int("batch"),
    _int("at"),
    _text("partner"),
    _text("entry"),
    Index(None, "partner", "n"),
    Index(None, "at"),
)

audit_client = Table("audit_client", metadata, _text("client"), _int("n"), PrimaryKeyConstraint("client", "n"), sqlite_with_rowid=False)

audit_chain = Table(
    "audit_chain", metadata, Column("batch", _SERIAL, primary_key=True, autoincrement=False), _int("last"), _text("before"), _text("hash")
)
