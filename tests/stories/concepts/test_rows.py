"""No concept without a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.stories.concepts import rows

LIST = Path(__file__).resolve().parents[4] / "shared" / "reference" / "CONCEPTS.md"


def test_every_concept_is_entered_by_one_door_and_read_by_another_and_at_a_second_partner() -> None:
    shown = rows.shown()
    assert [one.name for one in rows.ROWS if not shown[one.name]["shared"]] == []


def test_every_concept_that_is_acted_on_has_its_action_and_its_negative_twin() -> None:
    shown = rows.shown()
    lacking = [one.name for one in rows.ROWS if one.acts and not (shown[one.name]["acts"] and shown[one.name]["twin"])]
    assert lacking == []


def test_the_rows_are_those_of_the_list_of_concepts() -> None:
    if not LIST.is_file():
        pytest.skip("the list of concepts is not here")
    listed = [line.split("|")[1].strip() for line in LIST.read_text("utf-8").splitlines() if re.match(r"\| (?!concept|-)[a-z]", line)]
    assert len(listed) == len(rows.ROWS)
    for text, one in zip(listed, rows.ROWS):
        assert text.startswith(one.begins), (text, one.begins)
