"""The bare servers that the hub is measured against: Flask under gunicorn with the hub's own settings, and nothing else.

    python -m tests.bench.bare discharges|polls PORT DATABASE_URL FILE

``discharges`` inserts for each POST the rows that one real discharge added, keys shifted, in one transaction on a store of the
same kind, schema and durability. ``polls`` answers each GET with kept bytes by one indexed query."""

from __future__ import annotations

import contextlib
import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from flask import Flask, Response, request
from gunicorn.app.base import BaseApplication

from fhircase.settings import Settings
from fhircase.storage import engine

Cell = Any


@dataclass(frozen=True, slots=True)
class Template:
    """The rows of one discharge, table by table. A text cell is a list of pieces to be joined by a fresh number; ``shifts`` says
    by how much each integer column grows with each discharge."""

    tables: list[tuple[str, list[str], list[int], list[list[Cell]]]]
    """(table, columns, growth of each, rows)"""

    def statements(self) -> list[tuple[str, Callable[[int], list[list[Cell]]]]]:
        return [(_insert(table, columns), _filler(growth, rows)) for table, columns, growth, rows in self.tables]


def _insert(table: str, columns: list[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _filler(growth: list[int], rows: list[list[Cell]]) -> Callable[[int], list[list[Cell]]]:
    def fill(n: int) -> list[list[Cell]]:
        text = f"{n:012d}"
        raw = text.encode()

        def cell(value: Cell, grows: int) -> Cell:
            if type(value) is list:
                return (text if type(value[0]) is str else raw).join(value)
            return value + n * grows if grows and value is not None else value

        return [[cell(value, grows) for value, grows in zip(row, growth)] for row in rows]

    return fill


class Store:
    """A driver's own connection for each thread, as durable as the hub's; writers of SQLite queue on a mutex."""

    def __init__(self, url: str) -> None:
        self._url = engine.parse(url)
        self.postgres = self._url.get_backend_name() == "postgresql"
        self._local = threading.local()
        self.writer = threading.Lock() if not self.postgres else contextlib.nullcontext()

    def cursor(self) -> Any:
        if not hasattr(self._local, "cursor"):
            self._local.cursor = self._connect().cursor()
        return self._local.cursor

    def _connect(self) -> Any:
        if self.postgres:
            made = psycopg.connect(self._url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True)
            made.prepare_threshold = 3
            return made
        made = engine.sqlite_module().connect(self._url.database, isolation_level=None, timeout=30, cached_statements=512)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY", "cache_size=-16000", "mmap_size=268435456"):
            made.execute(f"PRAGMA {pragma}").fetchall()
        return made

    def sql(self, text: str) -> str:
        return text.replace("?", "%s") if self.postgres else text


def discharges(url: str, file: str) -> Flask:
    app = Flask("bare")
    with open(file, "rb") as kept:
        template: Template = pickle.load(kept)
    store = Store(url)
    statements = [(store.sql(sql), fill) for sql, fill in template.statements()]

    @app.post("/<path:_path>")
    def post(_path: str) -> Response:
        request.get_data()
        cursor = store.cursor()
        with store.writer:
            cursor.execute("BEGIN" if store.postgres else "BEGIN IMMEDIATE")
            number = cursor.execute("UPDATE counter SET seq = seq + 1 WHERE name = 'commit' RETURNING seq").fetchall()[0][0]
            for sql, fill in statements:
                cursor.executemany(sql, fill(number))
            cursor.execute("COMMIT")
        return Response(b"MSA|AA\r", content_type="application/hl7-v2")

    return app


def polls(url: str, file: str) -> Flask:
    app = Flask("bare")
    store = Store(url)
    sql = store.sql("SELECT body FROM page WHERE patient = ?")

    @app.get("/fhir/CarePlan")
    def get() -> Response:
        found = store.cursor().execute(sql, (request.args["patient"],)).fetchall()
        return Response(found[0][0], content_type="application/fhir+json")

    return app


def serve(make: Callable[[], Flask], port: int) -> None:
    settings = Settings()
    options = {"bind": f"127.0.0.1:{port}", "workers": settings.web_processes, "threads": settings.web_threads, "worker_class": "gthread",
               "timeout": 120, "keepalive": 30, "loglevel": "error", "control_socket_disable": True}  # fmt: skip

    class Server(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            for name, value in options.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> Flask:
            return make()

    Server().run()


if __name__ == "__main__":
    what, port, url, file = sys.argv[1:]
    from tests.bench import bare  # the pickled Template is of this module by its name

    serve(lambda: getattr(bare, what)(url, file), int(port))
