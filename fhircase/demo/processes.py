"""Servers of the demo, each a process with a store of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class DidNotStart(Exception):
    """The process ended, or never said that it was ready; ``log`` is where it says why."""


@dataclass
class Server:
    """One ``fhircase serve``. ``key`` is its administrator's key; ``home`` holds its store and log."""

    name: str
    home: Path
    key: str
    port: int = field(default_factory=free_port)
    settings: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def fhir(self) -> str:
        return f"{self.url}/fhir"

    @property
    def log(self) -> Path:
        return self.home / "log.jsonl"

    def start(self, seconds: float = 40.0) -> None:
        """Start it and wait until ``/readyz`` answers 200. Raises DidNotStart."""
        self.home.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FHIRCASE_")}
        environment |= {
            "FHIRCASE_DATABASE_URL": f"sqlite:///{self.home / 'fhircase.db'}",
            "FHIRCASE_BIND": f"127.0.0.1:{self.port}",
            "FHIRCASE_BASE_URL": self.url,
            "FHIRCASE_ADMIN_KEY": self.key,
            **self.settings,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fhircase", "serve"], cwd=self.home, env=environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                break
            try:
                if requests.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.05)
        raise DidNotStart(f"{self.name} did not become ready; see {self.log}")

    def kill(self) -> None:
        """kill -9, the whole process group."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def stop(self) -> None:
        """SIGTERM: it drains and ends; killed after ten seconds."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
