"""What is due in a case by a day."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from fhircase.case.due import due

BY = date(2026, 11, 25)

DUE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("goals", {"lifecycle": "active", "due": "2026-11-25"}, {"lifecycle": "completed", "due": "2026-11-25"}),
    ("goals", {"lifecycle": "proposed", "due": "2026-11"}, {"lifecycle": "active", "acceptance": "disagree", "due": "2026-11-01"}),
    ("handovers", {"state": "requested", "deadline": "2026-11-24T10:00:00Z"}, {"state": "rejected", "deadline": "2026-11-24T10:00:00Z"}),
    ("loops", {"state": "in-progress", "deadline": "2026-11-25"}, {"state": "completed", "deadline": "2026-11-25"}),
    ("tasks", {"state": "ready", "deadline": "2026-11-20"}, {"state": "cancelled", "deadline": "2026-11-20"}),
    ("planned_contacts", {"state": "active", "from": "2026-11-20", "to": "2026-11-25"}, {"state": "completed", "when": "2026-11-20"}),
    ("planned_contacts", {"state": "active", "when": "2026-11-25"}, {"state": "active", "when": "2026-11-25", "not_wanted": True}),
    ("appointments", {"state": "booked", "starts": "2026-11-25T15:00:00Z"}, {"state": "noshow", "starts": "2026-11-25T15:00:00Z"}),
]


@pytest.mark.parametrize(("what", "open_", "done"), DUE)
def test_what_is_open_and_due_is_told_and_what_is_done_is_not(what: str, open_: dict[str, Any], done: dict[str, Any]) -> None:
    by = date(2026, 11, 30) if open_.get("due") == "2026-11" else BY
    found = due({what: [{"id": "open", "title": "x", **open_}, {"id": "done", **done}]}, by)
    assert [(one.what, one.id, one.title) for one in found] == [(what, "open", "x")]


def test_a_day_later_is_not_due_yet_and_a_month_is_due_on_its_last_day() -> None:
    doc = {"goals": [{"id": "a", "lifecycle": "active", "due": "2026-11-26"}, {"id": "b", "lifecycle": "active", "due": "2026-11"}]}
    assert due(doc, BY) == []
    assert [one.id for one in due(doc, date(2026, 11, 30))] == ["a", "b"]


def test_what_has_no_day_is_due_on_none_and_what_was_entered_in_error_neither() -> None:
    doc = {"goals": [{"id": "a", "lifecycle": "active"}, {"id": "b", "lifecycle": "entered-in-error", "due": "2026-11-01"}], "tasks": "?"}
    assert due(doc, BY) == []
