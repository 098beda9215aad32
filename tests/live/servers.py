"""Real FHIR servers of other makers, each in a process and a folder of its own on a free port.

sekmet-fhir comes from PyPI with the test extra; Medplum's MemoryRepository from npm and HAPI FHIR JPA from Maven Central are
fetched once into ``~/.cache/fhircase-partners`` (or ``$XDG_CACHE_HOME``). A tool that is missing raises ``Unavailable``
whose message says what to install."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent / "partners"


class Unavailable(Exception):
    """Its message says what to install."""


@dataclass
class Server:
    """``base_url`` without a slash at the end; ``log`` holds all that the process printed. It dies with the thread that
    started it, so that a killed test run leaves nothing behind."""

    name: str
    base_url: str
    log: Path
    process: subprocess.Popen[bytes]
    deadline: float

    def up(self) -> Server:
        """Wait until it answers. Raises RuntimeError with the end of its log when it does not in time."""
        while time.monotonic() < self.deadline and self.process.poll() is None:
            if _answers(self.base_url + "/metadata"):
                return self
            time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"{self.name} did not come up in time:\n{self.log.read_text(errors='replace')[-2000:]}")

    def stop(self, *, patience: float = 10) -> None:
        """Ask, then kill. Twice does no harm."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """As a power failure would."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


def start_sekmet(folder: Path, *, port: int | None = None, wait: bool = True, absolute: bool = False) -> Server:
    """sekmet-fhir on SQLite in ``folder``; started there again with the same ``port`` it goes on with the same data.
    ``absolute``: it answers with absolute references, as some servers do."""
    program = Path(sys.executable).with_name("sekmet")
    if not program.exists():
        raise Unavailable("sekmet-fhir is not installed: pip install 'fhircase[test]'")
    port = port or free_port()
    base = f"http://127.0.0.1:{port}/fhir"
    command = [str(program), "serve", "--host", "127.0.0.1", "--port", str(port)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.yaml").write_text(f"server_behaviour: {{absolute_references: {str(absolute).lower()}}}\n")
    return _start("sekmet", command, folder, base, patience=60, wait=wait, SEKMET_BASE_URL=base)


def start_medplum(folder: Path, *, port: int | None = None, wait: bool = True, validate: bool = False) -> Server:
    """Medplum's MemoryRepository; what it holds ends with its process. ``validate`` turns on its own checks."""
    home = medplum_home()
    port = port or free_port()
    command = [str(home / "node_modules/.bin/node"), str(home / "server.mjs"), str(port), *(["--validate"] if validate else [])]
    return _start("medplum", command, folder, f"http://127.0.0.1:{port}/fhir/R4", patience=60, wait=wait)


def start_hapi(folder: Path, *, port: int | None = None, wait: bool = True, version: str = "R4", heap: str = "2g") -> Server:
    """HAPI FHIR JPA on H2 in ``folder``; 30 to 60 seconds until it is up."""
    home = hapi_home()
    port = port or free_port()
    database = f"jdbc:h2:file:{folder / 'hapi'}"
    classes = f"{home / 'classes'}:{home / 'lib'}/*"
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]  # up in less than half of the processor time
    command = ["java", *quick, f"-Xmx{heap}", f"-Dh2={database}", "-cp", classes, "partner.Server", str(port), version]
    return _start("hapi", command, folder, f"http://127.0.0.1:{port}/fhir", patience=300, wait=wait)


# ------------------------------------------------------------------------------------------ fetching


def medplum_home() -> Path:
    """The folder with Medplum's packages, fetched when they are not there or others are asked for."""
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("npm is not installed: apt install npm")
    source = HERE / "medplum"
    with _made("medplum", source) as (home, stale):
        if stale:
            for file in source.iterdir():
                if file.is_file():
                    shutil.copy(file, home)
            _fetch([npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], home)
    return home


def hapi_home() -> Path:
    """The folder with HAPI's classes, built when they are not there or others are asked for (375 MB, about 90 s)."""
    if shutil.which("java") is None or (maven := shutil.which("mvn")) is None:
        raise Unavailable("Java 17 and Maven are not installed: apt install maven default-jdk-headless")
    source = HERE / "hapi"
    with _made("hapi", source) as (home, stale):
        if stale:
            pom = str(source / "pom.xml")
            goals = ["package", "dependency:copy-dependencies", f"-DoutputDirectory={home / 'lib'}"]
            _fetch([maven, "-q", "-B", "-f", pom, f"-Dout={home}", *goals], home)
    return home


@contextmanager
def _made(name: str, source: Path) -> Iterator[tuple[Path, bool]]:
    """The cache folder of ``source`` as it is now, held by one process at a time, and whether it must be filled."""
    digest = hashlib.sha256()
    for file in sorted(source.rglob("*")):
        if file.is_file():
            digest.update(file.relative_to(source).as_posix().encode() + b"\0" + file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fhircase-partners"
    home = cache / f"{name}-{digest.hexdigest()[:12]}"
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = home / ".built"
        yield home, not done.exists()
        done.touch()


def _fetch(command: Sequence[str], folder: Path) -> None:
    made = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1800)
    if made.returncode:
        raise RuntimeError(f"{command[0]} failed in {folder}:\n{(made.stdout + made.stderr)[-2000:]}")


# ------------------------------------------------------------------------------------------ starting


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(
    name: str, command: Sequence[str], folder: Path, base: str, *, patience: float, wait: bool, **environment: str
) -> Server:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    merged: Mapping[str, str] = {**os.environ, **environment}
    bound = [setpriv, "--pdeathsig", "KILL", "--"] if (setpriv := shutil.which("setpriv")) else []
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [*bound, *command], cwd=folder, env=merged, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    server = Server(name, base, log, process, time.monotonic() + patience)
    return server.up() if wait else server


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
