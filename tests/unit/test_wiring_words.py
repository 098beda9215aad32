"""What is no HTTP request is still answered in the words of the house."""

from __future__ import annotations

import json

import pytest

from fhircase.wiring import unreadable


@pytest.mark.parametrize(
    ("error", "status"),
    [("LimitRequestLine", 414), ("LimitRequestHeaders", 431), ("ExpectationFailed", 417), ("InvalidRequestLine", 400), ("Whatever", 400)],
)
def test_what_is_no_request_gets_a_clear_answer(error: str, status: int) -> None:
    head, _, told = unreadable(error).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Length: %d" % len(told) in head and b"Connection: close" in head
    assert json.loads(told)["status"] == status
    assert json.loads(told)["errors"][0].keys() == {"path", "problem", "hint"}
