"""Reads take turns, and none waits long for another."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from fhircase.web.turns import taking_turns

READ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/fhir/CarePlan"}
WRITE = {"REQUEST_METHOD": "PUT", "PATH_INFO": "/fhir/Goal/1"}
READY = {"REQUEST_METHOD": "GET", "PATH_INFO": "/readyz"}


class Slow:
    """A WSGI application that counts who is inside at once and leaves when told."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.leave = threading.Event()
        self.lock = threading.Lock()

    def __call__(self, environ: Any, start: Any) -> list[bytes]:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.leave.wait(5)
        with self.lock:
            self.inside -= 1
        return [b""]


def together(app: Any, *environs: Any) -> list[threading.Thread]:
    threads = [threading.Thread(target=app, args=(environ, None)) for environ in environs]
    for thread in threads:
        thread.start()
    return threads


def play(patience: float, second: Any) -> int:
    """How many were inside at once, of a slow read and then ``second``."""
    slow = Slow()
    threads = together(taking_turns(slow, patience=patience), READ, second)
    until = time.monotonic() + 2
    while slow.most < 2 and time.monotonic() < until and patience < 1:
        time.sleep(0.002)
    if patience >= 1:
        time.sleep(0.05)
    most = slow.most
    slow.leave.set()
    for thread in threads:
        thread.join()
    assert slow.inside == 0
    return most


def test_one_read_at_a_time_is_inside() -> None:
    assert play(5.0, READ) == 1


def test_a_read_goes_on_beside_one_that_takes_long() -> None:
    assert play(0.01, READ) == 2


@pytest.mark.parametrize("other", [WRITE, READY])
def test_what_is_no_read_of_resources_never_waits(other: Any) -> None:
    slow = Slow()
    threads = together(taking_turns(slow, patience=5.0), READ, other)
    until = time.monotonic() + 2
    while slow.most < 2 and time.monotonic() < until:
        time.sleep(0.002)
    slow.leave.set()
    for thread in threads:
        thread.join()
    assert slow.most == 2


def test_a_turn_ends_with_an_error_too() -> None:
    def fails(environ: Any, start: Any) -> list[bytes]:
        raise RuntimeError("planted")

    app = taking_turns(fails, patience=5.0)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(RuntimeError):
            app(READ, None)
        assert time.monotonic() - began < 2
