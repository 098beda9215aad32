"""The probe finds what a server does by trying, and leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest

from fhircase.partners.probe import probe
from fhircase.sync.dialect import Dialect
from tests.conftest import FrozenClock, SequentialIds
from tests.sim.scene import server


def found(**odd: Any) -> Dialect:
    made = server("odd", FrozenClock(), **odd)
    result = probe(made, SequentialIds().new)
    assert result.left == [] and all(made.held(type_) == {} for type_ in {type_ for type_, _ in made.rows})
    return result.dialect


def test_a_well_behaved_server_has_the_plain_dialect() -> None:
    dialect = found()
    assert (dialect.create, dialect.create_by_type, dialect.ids, dialect.if_match, dialect.history) == (
        "if-none-exist",
        {},
        "any",
        True,
        "newest",
    )
    assert dialect.since("Goal") and dialect.finds("Goal") and dialect.by_client("Goal") == ("patient",)


@pytest.mark.parametrize(
    ("odd", "finding"),
    [
        ({"conditional": frozenset({"Patient"})}, lambda d: d.creates("Goal") == "put" and d.creates("Patient") == "if-none-exist"),
        ({"choose_ids": False}, lambda d: d.ids == "none"),
        ({"stale": 409}, lambda d: 409 in d.stale),
        ({"history": False}, lambda d: d.history == "none"),
        ({"flips": True}, lambda d: d.history == "unstable"),
        ({"absolute": True}, lambda d: d.absolute_references),
        ({"since": False}, lambda d: not d.since("Goal")),
        ({"drops": {"Goal": ("description",)}}, lambda d: d.dropped("Goal") == {"description"}),
        ({"answers_body": False}, lambda d: not d.body),
        ({"checks_references": True}, lambda d: d.dangling_refused),
    ],
)
def test_each_habit_is_found(odd: dict[str, Any], finding: Any) -> None:
    assert finding(found(**odd))
