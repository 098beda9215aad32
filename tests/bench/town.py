"""Processes of the bench: the hub as it is served, with a hospital that sends and a rehab that receives; bare servers beside."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from fhircase import storage
from fhircase.demo import messages
from fhircase.demo.processes import Server, free_port
from fhircase.demo.servers import Api
from fhircase.fhir import jsontext
from fhircase.storage import engine, schema
from tests.bench.bare import Template
from tests.bench.load import TOKEN

ROOT = Path(__file__).resolve().parents[2]
ADMIN = "bench-" + "k" * 40
NOW = datetime.now(UTC).replace(microsecond=0)
SENDER = messages.Sender("EPIC", "MERCY")


def discharge(number: str) -> bytes:
    """An A03 of a client whom nobody knew: a case, a plan and its team, goals and services open, and a hand-over to rehab."""
    who = messages.Client(f"BENCH{number}", "ANNA", "19500101", "F", f"{number}^^^MERCY^MR")
    return messages.adt(
        "A03", SENDER, who, at=NOW, control=number, visit=f"{number}^^^MERCY^VN", admitted=NOW - timedelta(days=3), location="1^1^1",
        discharged=NOW, disposition="62", destination="RIVERSIDE", diagnosis="S72.001A^Fracture of neck of right femur^I10",
    )  # fmt: skip


@contextmanager
def hub(home: Path, url: str) -> Iterator[Server]:
    """``fhircase serve`` with its default settings on the store at ``url``; ready, and both partners enrolled but paused: what is
    queued for them stays queued."""
    settings = {"FHIRCASE_DATABASE_URL": url, "FHIRCASE_SECRET_KEY": "a secret of the bench, of thirty-two characters and more"}
    server = Server("hub", home, ADMIN, settings=settings)
    server.start()
    try:
        admin = Api(server.url, ADMIN)
        for name, role in (("mercy", "hospital"), ("riverside", "rehab")):
            admin.call("POST", "/partners", {
                "name": name, "title": name.title(), "role": role, "base_url": "http://127.0.0.1:9/fhir", "networks": ["127.0.0.0/8"],
                "auth": {"kind": "none"}, "zone": "UTC", "authorities": {"MERCY": "urn:oid:2.16.840.1.113883.19.5.1"},
                "senders": [["EPIC", "MERCY"]] if name == "mercy" else [], "identifiers": [["urn:fhircase:facility", name.upper()]],
            })  # fmt: skip
            admin.call("PATCH", f"/partners/{name}", {"paused": True})
        yield server
    finally:
        server.stop()


def key(server: Server, partner: str) -> str:
    asked = {"name": partner, "partner": partner, "scopes": ["system/*.cruds"]}
    text: str = jsontext.loads(Api(server.url, ADMIN).call("POST", "/keys", asked).content)["key"]
    return text


@contextmanager
def bare(what: str, url: str, file: Path) -> Iterator[str]:
    """A bare server (tests.bench.bare) in a process of its own; its base URL."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FHIRCASE_")}
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.bare", what, str(port), url, str(file)], cwd=ROOT, env=environment)
    try:
        base = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                requests.get(base, timeout=1)
                break
            except requests.ConnectionError:
                time.sleep(0.05)
        yield base
    finally:
        process.terminate()
        process.wait(20)


# ---------------------------------------------------------------------------------------------- what one discharge adds

SERIAL = {table.name: "n" for table in schema.metadata.sorted_tables if "n" in table.c and table.c.n.autoincrement is True}
PLACED = {"rid": 1 << schema.ORDINAL_BITS, "vid": 1 << schema.ORDINAL_BITS}
CHAINED = {("audit", "n"), ("audit", "batch"), ("audit_client", "n"), ("audit_chain", "batch"), ("audit_chain", "last")}
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Snapshot:
    """The rows of every table, and the ids that stand in them."""

    def __init__(self, url: str) -> None:
        database = engine.connect(url)
        self.rows: dict[str, dict[tuple[Any, ...], None]] = {}
        with database.read() as session:
            for table in schema.metadata.sorted_tables:
                columns = ", ".join(column.name for column in table.columns)
                self.rows[table.name] = dict.fromkeys(session.all(f"SELECT {columns} FROM {table.name}"))
        database.close()
        cells = (cell for rows in self.rows.values() for row in rows for cell in row if isinstance(cell, str))
        self.ids = {id for cell in cells for id in _UUID.findall(cell)}


def template(before: Snapshot, after: Snapshot) -> Template:
    """The rows that one discharge with ``TOKEN`` for its number added. Rows that it changed (the commit counter, a lane's turn)
    are left out, but for the counter: that favours the baseline."""
    fresh = after.ids - before.ids
    tables = []
    for table in schema.metadata.sorted_tables:
        name = table.name
        made = [row for row in after.rows[name] if row not in before.rows[name]]
        if not made or name in ("counter", "lane"):
            continue
        names = [column.name for column in table.columns]
        kept = [n for n, column in enumerate(names) if SERIAL.get(name) != column]
        growth = [PLACED.get(names[n], 1 if (name, names[n]) in CHAINED else 0) for n in kept]
        tables.append((name, [names[n] for n in kept], growth, [[_pieces(row[n], fresh) for n in kept] for row in made]))
    return Template(tables)


def _pieces(cell: Any, fresh: set[str]) -> Any:
    if isinstance(cell, str):
        text = _UUID.sub(lambda found: found[0][:24] + TOKEN if found[0] in fresh else found[0], cell)
        return text.split(TOKEN) if TOKEN in text else cell
    if isinstance(cell, bytes | memoryview):
        raw = bytes(cell)
        return raw.split(TOKEN.encode()) if TOKEN.encode() in raw else raw
    return cell


def keep(made: Template, file: Path) -> Path:
    file.write_bytes(pickle.dumps(made))
    return file


def empty(url: str) -> str:
    """A migrated store without rows."""
    storage.migrate(url)
    return url
