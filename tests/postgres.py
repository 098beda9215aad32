"""A private PostgreSQL cluster from the system's own binaries, for tests and trials.

    url, stop = start()      # an empty database, its own cluster in a temporary folder, a free port, no fsync
    …
    stop()

``Cluster`` gives many databases on one cluster. PostgreSQL refuses to run as root: then it runs as the user postgres."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

HOW_TO_INSTALL = "PostgreSQL's server programs are not here: install them with 'apt-get install postgresql' (or set PG_BIN to their folder)"


class Absent(Exception):
    """There is no PostgreSQL on this machine; the message says how to install it."""


def binaries() -> Path:
    """The folder of initdb and pg_ctl, of the newest version. Raises Absent."""
    named = os.environ.get("PG_BIN")
    if named:
        return Path(named)
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    raise Absent(HOW_TO_INSTALL)


class Cluster:
    """A running server. ``url(name)`` is a database's; ``create`` and ``drop`` make and remove one."""

    def __init__(self, *, fsync: bool = False) -> None:
        self._bin = binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="fhircase-pg-"))
        self._as: list[str] = []
        if os.geteuid() == 0:
            try:
                owner = pwd.getpwnam("postgres")
            except KeyError:
                raise Absent("PostgreSQL cannot run as root and there is no user postgres") from None
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self._as = ["runuser", "-u", "postgres", "--"]
        self._data = self.folder / "data"
        self._databases = 0
        self._lock = threading.Lock()
        self._fsync = fsync
        try:
            self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
            self.port = _free_port()
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def start(self) -> None:
        options = [
            f"-p {self.port}",
            f"-k {self.folder}",
            "-c listen_addresses=127.0.0.1",
            "-c max_connections=200",
            "-c shared_buffers=64MB",
        ]
        if not self._fsync:
            options += ["-c fsync=off", "-c synchronous_commit=off", "-c full_page_writes=off"]
        self._run("pg_ctl", "start", "-w", "-s", "-D", str(self._data), "-l", str(self.folder / "log"), "-o", " ".join(options))

    def stop(self, mode: str = "immediate") -> None:
        """``mode``: immediate is as if the machine died; fast ends transactions first. The data stay."""
        self._run("pg_ctl", "stop", "-s", "-w", "-m", mode, "-D", str(self._data))

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, template: str = "template1") -> str:
        """The URL of a fresh database, a copy of ``template`` (to which nobody may be connected)."""
        import psycopg

        with self._lock:
            self._databases += 1
            name = f"test{self._databases}"
            with psycopg.connect(self.url(), autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, url: str) -> None:
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    def remove(self) -> None:
        """Stop it and delete its files."""
        try:
            self.stop()
        except RuntimeError:
            pass
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            [*self._as, str(self._bin / program), *args],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            log = self.folder / "log"
            raise RuntimeError(f"{program} failed: {done.stderr or done.stdout}\n{log.read_text()[-2000:] if log.exists() else ''}")


def start(*, fsync: bool = False) -> tuple[str, Callable[[], None]]:
    """The URL of an empty database on a cluster of its own, and what stops and removes it. Raises Absent."""
    cluster = Cluster(fsync=fsync)
    return cluster.create(), cluster.remove


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
