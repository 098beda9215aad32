"""Connections and transactions on SQLite and PostgreSQL, and the few words in which the two differ.

SQL is written once; ``Dialect.sql`` says it in either's words. In it ``GREATEST(`` and ``LEAST(`` take scalars, ``IN LIST(?)``
takes one argument made by ``Session.array``, and ``CROSS JOIN … ON`` is a join that SQLite does in the order written. A ``LIMIT``
is a literal number: SQLite prepares a statement anew whenever a bound one is set, which costs ten times its run.

SQLite (DECISIONS 27): WAL, synchronous=FULL, ``BEGIN IMMEDIATE`` for writes, readers ``query_only`` in a snapshot. The
library that pysqlite3 bundles is taken where it can be imported. Writers of one process queue on a mutex, writers of several
processes on a file lock beside the database, asked for every few milliseconds where SQLite would wait up to 100.
PostgreSQL: writes READ COMMITTED, reads REPEATABLE READ READ ONLY."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from sqlalchemy import Table, Text, create_engine
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from fhircase.errors import Conflict, Unavailable

Row = tuple[Any, ...]

SAFE_SQLITE = (3, 51, 3)
"""The first version without the WAL-reset bug."""

CHANNEL = "fhircase_work"
QUERY_SECONDS = 5.0
BUSY_SECONDS = 30.0
POOL = 24


class SqliteTooOld(RuntimeWarning):
    """The SQLite library can corrupt its WAL when two processes write: run one process only."""


def parse(url: str) -> URL:
    """The URL with the driver that we use. Raises ValueError for another database."""
    try:
        made = make_url(url)
    except ArgumentError:
        raise ValueError("not a database URL: use sqlite:///file or postgresql://…") from None
    kind = made.get_backend_name()
    if kind == "sqlite":
        if not made.database or made.database == ":memory:":
            raise ValueError("the store needs a file: sqlite:///path/to/fhircase.db")
        return made.set(drivername="sqlite")
    if kind in ("postgresql", "postgres"):
        return made.set(drivername="postgresql+psycopg")
    raise ValueError(f"no store for {kind}: use sqlite:/// or postgresql://")


def sqlite_module() -> Any:
    """pysqlite3 where there is one, else the interpreter's own."""
    try:
        return importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return importlib.import_module("sqlite3")


class Dialect:
    """SQL of one database, translated once per text."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.postgres = name == "postgresql"
        self._known: dict[str, str] = {}

    def sql(self, text: str) -> str:
        known = self._known.get(text)
        if known is None:
            if self.postgres:
                known = text.replace("%", "%%").replace("IN LIST(?)", "= ANY(?)").replace("CROSS JOIN", "JOIN").replace("?", "%s")
            else:
                known = (
                    text.replace("IN LIST(?)", "IN (SELECT value FROM json_each(?))")
                    .replace("GREATEST(", "max(")
                    .replace("LEAST(", "min(")
                    .replace("FOR UPDATE SKIP LOCKED", "")
                )
            if len(self._known) > 5000:
                self._known.clear()
            self._known[text] = known
        return known


class Insert:
    """An INSERT of many rows, written once for each database."""

    def __init__(self, table: Table, *columns: str, behind: str = "") -> None:
        names = ", ".join(columns)
        types = ["text" if isinstance(table.c[column].type, Text) else "bigint" for column in columns]
        arrays = ", ".join(f"?::{type}[]" for type in types)
        self.plain = f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(columns))}){behind}"
        self.unnested = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}){behind}"


class Session:
    """The statements of one transaction. Errors of the driver leave as Conflict (a constraint) or Unavailable."""

    __slots__ = ("connection", "cursor", "dialect", "woken", "_errors")

    def __init__(self, connection: Any, dialect: Dialect, errors: Any) -> None:
        self.connection = connection
        self.cursor = connection.cursor()
        self.dialect = dialect
        self.woken = False
        self._errors = errors

    def array(self, values: Iterable[Any]) -> Any:
        """The argument of ``IN LIST(?)``."""
        return list(values) if self.dialect.postgres else json.dumps(list(values), ensure_ascii=False)

    def all(self, sql: str, args: Sequence[Any] = ()) -> list[Row]:
        try:
            found: list[Row] = self.cursor.execute(self.dialect.sql(sql), args).fetchall()
        except self._errors.Error as error:
            raise translated(error, self._errors) from error
        return found

    def one(self, sql: str, args: Sequence[Any] = ()) -> Row | None:
        """The first row. Only for statements that give one at most: SQLite keeps an unfinished statement open."""
        found = self.all(sql, args)
        return found[0] if found else None

    def run(self, sql: str, args: Sequence[Any] = ()) -> int:
        """How many rows it touched."""
        try:
            self.cursor.execute(self.dialect.sql(sql), args)
        except self._errors.Error as error:
            raise translated(error, self._errors) from error
        return int(self.cursor.rowcount)

    def insert(self, into: Insert, rows: Sequence[Row]) -> int:
        """Many rows into one table. PostgreSQL takes them in one statement, a column at a time."""
        if not rows:
            return 0
        if self.dialect.postgres:
            return self.run(into.unnested, [list(column) for column in zip(*rows)])
        return self.many(into.plain, rows)

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        if not rows:
            return 0
        try:
            self.cursor.executemany(self.dialect.sql(sql), rows)
        except self._errors.Error as error:
            raise translated(error, self._errors) from error
        return int(self.cursor.rowcount)


def translated(error: Exception, errors: Any) -> Exception:
    """The error of our tree for one of the driver's; a defect of ours (bad SQL, bad type) stays what it is."""
    if isinstance(error, errors.IntegrityError):
        return Conflict("it was written by someone else at the same time", hint="read it again, then repeat")
    state = getattr(error, "sqlstate", None) or ""
    if state == "57014":
        return Unavailable("the search takes too long", hint="narrow it")
    if isinstance(error, errors.OperationalError | errors.InterfaceError) or state[:2] in ("40", "53", "55", "57", "58"):
        text = str(error)
        if "readonly" in text or "read-only" in text or "no such" in text or "syntax error" in text:
            return error
        if text == "interrupted":
            return Unavailable("the search takes too long", hint="narrow it")
        return Unavailable("the database does not take it now", hint="send it again")
    return error


class Database(Protocol):
    """One database: transactions as context managers that give a Session."""

    dialect: Dialect
    url: URL

    def write(self) -> contextlib.AbstractContextManager[Session]: ...
    def read(self) -> contextlib.AbstractContextManager[Session]: ...
    def wait(self, seconds: float) -> None: ...
    def close(self) -> None: ...


class Bell:
    """Rings in all threads that wait; a ring that nobody heard is heard by the next wait of each thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0
        self._heard = threading.local()

    def ring(self) -> None:
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def wait(self, seconds: float) -> bool:
        with self._condition:
            last = getattr(self._heard, "rings", 0)
            heard = self._condition.wait_for(lambda: self._rings != last, max(seconds, 0))
            self._heard.rings = self._rings
            return heard


class _Writers:
    """One writer at a time: a mutex within the process, a file lock between processes. The kernel frees the file lock
    of a killed process."""

    def __init__(self, path: str) -> None:
        self._mutex = threading.Lock()
        self._owner = 0
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> None:
        if self._owner == threading.get_ident():
            raise RuntimeError("a write transaction is open in this thread already")
        if not self._mutex.acquire(timeout=BUSY_SECONDS):
            raise Unavailable("the database is busy", hint="send it again")
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._lock_file(self._file)
        except BaseException:
            self._mutex.release()
            raise
        self._owner = threading.get_ident()

    @staticmethod
    def _lock_file(file: int) -> None:
        """Not by a waiting call: a process that was stopped while it writes must not stop this one for ever."""
        end = time.monotonic() + BUSY_SECONDS
        pause = 0.0002
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Unavailable("the database is busy", hint="send it again") from None
            time.sleep(pause)
            pause = min(pause * 1.5, 0.004)

    def __exit__(self, *_: object) -> None:
        self._owner = 0
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._mutex.release()

    def close(self) -> None:
        with self._mutex:
            if self._file is not None:
                os.close(self._file)
                self._file = None


class Sqlite:
    """One file. Readers never wait for the writer; writers queue."""

    POLL = 0.05
    """How often ``wait`` looks for commits of other processes, in seconds."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.dialect = Dialect("sqlite")
        self.errors = sqlite_module()
        if self.errors.sqlite_version_info < (3, 35):
            raise Unavailable("the SQLite library is too old", hint="install pysqlite3")
        if self.errors.sqlite_version_info < SAFE_SQLITE:
            warnings.warn(
                f"SQLite {self.errors.sqlite_version} can corrupt its WAL when two processes write: install pysqlite3, or run one process",
                SqliteTooOld,
                stacklevel=3,
            )
        path = os.path.abspath(str(url.database))
        self._writers = _Writers(path + "-writer")
        self._bell = Bell()
        self._readers: Engine = create_engine(
            "sqlite://",
            creator=lambda: self._connect(path, query_only=True),
            module=self.errors,
            poolclass=QueuePool,
            pool_size=POOL,
            max_overflow=POOL,
            pool_reset_on_return=None,
            pool_use_lifo=True,
        )
        self._writer: Engine = create_engine(
            "sqlite://",
            creator=lambda: self._connect(path, query_only=False),
            module=self.errors,
            poolclass=QueuePool,
            pool_size=2,
            max_overflow=POOL,
            pool_reset_on_return=None,
            pool_use_lifo=True,
        )
        self._watch_lock = threading.Lock()
        self._watcher: Any = None
        self._watched = 0
        self._path = path

    def _connect(self, path: str, *, query_only: bool) -> Any:
        made = self.errors.connect(path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False, cached_statements=512)
        made.execute("PRAGMA journal_mode=WAL").fetchall()
        made.execute("PRAGMA synchronous=FULL")
        made.execute("PRAGMA temp_store=MEMORY")
        made.execute("PRAGMA cache_size=-16000")
        made.execute("PRAGMA mmap_size=268435456").fetchall()
        if query_only:
            made.execute("PRAGMA query_only=ON")
        return made

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        with self._writers:
            held = _checkout(self._writer)
            try:
                session = Session(held.dbapi_connection, self.dialect, self.errors)
                session.run("BEGIN IMMEDIATE")
                try:
                    yield session
                    session.run("COMMIT")
                except BaseException:
                    with contextlib.suppress(self.errors.Error):
                        session.cursor.execute("ROLLBACK")
                    raise
            finally:
                held.close()
        if session.woken:
            self._bell.ring()

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        held = _checkout(self._readers)
        connection = held.dbapi_connection
        try:
            session = Session(connection, self.dialect, self.errors)
            deadline = time.monotonic() + QUERY_SECONDS
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 200_000)
            session.run("BEGIN")
            try:
                yield session
            finally:
                with contextlib.suppress(self.errors.Error):
                    session.cursor.execute("COMMIT")
        finally:
            held.close()

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if self._bell.wait(min(left, self.POLL)) or left <= self.POLL:
                return
            with self._watch_lock:
                if self._watcher is None:
                    self._watcher = self._connect(self._path, query_only=True)
                seen = int(self._watcher.execute("PRAGMA data_version").fetchone()[0])
                changed, self._watched = seen != self._watched, seen
            if changed:
                self._bell.ring()

    def close(self) -> None:
        self._readers.dispose()
        self._writer.dispose()
        self._writers.close()
        with self._watch_lock:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None


class Postgres:
    """A pool of connections, and one that listens for work once somebody waits."""

    READ = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {int(QUERY_SECONDS * 1000)}"

    def __init__(self, url: URL, *, pool: int = POOL) -> None:
        import psycopg

        self.url = url
        self.dialect = Dialect("postgresql")
        self.errors: Any = psycopg
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._engine: Engine = create_engine(
            url,
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=pool,
            max_overflow=pool,
            pool_timeout=BUSY_SECONDS,
            pool_reset_on_return=None,
            pool_use_lifo=True,
        )
        self._bell = Bell()
        self._ear: threading.Thread | None = None
        self._ear_lock = threading.Lock()
        self._closed = threading.Event()
        self._open_ear: Any = None

    def _connect(self) -> Any:
        made = self.errors.connect(self._dsn, autocommit=True, connect_timeout=10, application_name="fhircase")
        made.prepare_threshold = 3
        made.prepared_max = 500
        return made

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[Session]:
        held, session = self._begin(begin)
        try:
            try:
                yield session
                try:
                    session.cursor.execute("COMMIT", prepare=False)
                except self.errors.Error as error:
                    raise translated(error, self.errors) from error
            except BaseException:
                try:
                    session.cursor.execute("ROLLBACK", prepare=False)
                except self.errors.Error:
                    held.invalidate()
                raise
        finally:
            held.close()

    def _begin(self, begin: str) -> tuple[Any, Session]:
        """A connection with a transaction begun. A pooled one may be dead since the server restarted: then once more, on
        a fresh pool."""
        for last in (False, True):
            held = _checkout(self._engine)
            session = Session(held.dbapi_connection, self.dialect, self.errors)
            try:
                session.cursor.execute(begin, prepare=False)
                return held, session
            except self.errors.Error as error:
                held.invalidate()
                if last:
                    raise translated(error, self.errors) from error
                self._engine.dispose()
        raise AssertionError("unreachable")

    def write(self) -> contextlib.AbstractContextManager[Session]:
        return self._transaction("BEGIN ISOLATION LEVEL READ COMMITTED")

    def read(self) -> contextlib.AbstractContextManager[Session]:
        return self._transaction(self.READ)

    def wait(self, seconds: float) -> None:
        with self._ear_lock:
            if self._ear is None:
                self._ear = threading.Thread(target=self._listen, name="fhircase-listen", daemon=True)
                self._ear.start()
        self._bell.wait(seconds)

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                with self._connect() as ear:
                    ear.execute(f"LISTEN {CHANNEL}")
                    self._bell.ring()
                    while not self._closed.is_set():
                        for _ in ear.notifies(timeout=0.5, stop_after=1):
                            self._bell.ring()
            except self.errors.Error:
                self._closed.wait(1.0)

    def close(self) -> None:
        self._closed.set()
        if self._ear is not None:
            self._ear.join(timeout=2)
        self._engine.dispose()


def connect(url: str) -> Sqlite | Postgres:
    made = parse(url)
    return Sqlite(made) if made.get_backend_name() == "sqlite" else Postgres(made)


def _checkout(engine: Engine) -> Any:
    """A pooled driver connection. Raises Unavailable when the database cannot be reached or all are taken."""
    try:
        return engine.raw_connection()
    except (DBAPIError, PoolTimeout) as error:
        raise Unavailable("the database cannot be reached", hint="send it again") from error
    except Exception as error:
        if type(error).__name__ in ("OperationalError", "ConnectionTimeout"):
            raise Unavailable("the database cannot be reached", hint="send it again") from error
        raise
