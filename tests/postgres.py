"""A PostgreSQL of the tests' own: Debian's programs, a folder of its own, a free port. Nothing of the machine's is used."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

MISSING = "PostgreSQL is not installed: apt install postgresql"


class Unavailable(Exception):
    """Its message says what to install."""


@dataclass
class Server:
    """``url(name)`` names a database for SQLAlchemy with psycopg; ``create(name)`` makes it first."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    binaries: Path
    drop: dict[str, Any]

    def url(self, name: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def create(self, name: str) -> str:
        subprocess.run(
            [self.binaries / "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", name], check=True, capture_output=True
        )
        return self.url(name)

    def stop(self, *, immediate: bool = False) -> None:
        """Fast by default; ``immediate`` as if the power had failed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
            self.process.wait(30)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def start(*, durable: bool = False) -> Server:
    """Raises Unavailable. ``durable`` keeps fsync on, as a real one would have it (kills, bench)."""
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="fhircase-pg-"))
    drop: dict[str, Any] = {}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        owner = _owner()
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        drop = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    data = folder / "data"
    environment = {**os.environ, "LC_ALL": "C", "HOME": str(folder)}
    made = subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
        capture_output=True,
        cwd=folder,
        env=environment,
        **drop,
    )
    if made.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise RuntimeError(f"initdb failed: {made.stderr.decode(errors='replace')[-400:]}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "max_connections": 60}
    if not durable:
        options |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    command = [binaries / "postgres", "-D", data, *(part for name, value in options.items() for part in ("-c", f"{name}={value}"))]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment, **drop)
    server = Server(folder, port, process, binaries, drop)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        ready = subprocess.run([binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)])
        if ready.returncode == 0:
            return server
        time.sleep(0.05)
    words = (folder / "log").read_text(errors="replace")[-400:]
    server.remove()
    raise RuntimeError(f"PostgreSQL did not come up: {words}")


def _binaries() -> Path:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else [Path(p).parent for p in glob("/usr/lib/postgresql/*/bin/initdb")]
    if not folders:
        raise Unavailable(MISSING)
    return max(folders, key=lambda folder: [int(part) for part in folder.parts if part.isdigit()])


def _owner() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Unavailable("PostgreSQL does not run as root, and there is no user postgres or nobody")
