"""Searches go on to their end, also at servers that give no links to follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from fhircase.flows.talk import Later, Talk
from fhircase.plans.partner import Partner
from fhircase.ports import Reply
from fhircase.sync.dialect import Dialect
from tests.conftest import FakeGateway, build_hub

GOALS = [{"resourceType": "Goal", "id": str(i), "meta": {"versionId": "1"}} for i in range(250)]


def talk(answer: Any, paging: Any) -> Talk:
    partner = Partner("rehab", base_url="http://rehab.example/fhir")
    return Talk(build_hub(None), partner, Dialect(paging=paging), FakeGateway(answer), "c")


def without_links(*, offset: bool, most: int = 1000) -> Any:
    def answer(method: str, path: str, *, params: Sequence[tuple[str, str]], **_: Any) -> Reply:
        asked = dict(params)
        start = int(asked.get("_offset", "0")) if offset else 0
        page = GOALS[start : start + min(int(asked["_count"]), most)]
        return Reply(200, {"resourceType": "Bundle", "total": len(GOALS), "entry": [{"resource": goal} for goal in page]})

    return answer


@pytest.mark.parametrize(("paging", "offset"), [("offset", True), ("none", False)])
def test_a_full_page_without_a_link_is_not_the_end(paging: str, offset: bool) -> None:
    found = list(talk(without_links(offset=offset), paging).search("Goal", (("_count", "100"),)))
    assert {goal["id"] for goal in found} == {goal["id"] for goal in GOALS}


def test_an_answer_that_is_cut_off_for_good_is_no_answer() -> None:
    with pytest.raises(Later):
        list(talk(without_links(offset=False, most=100), "none").search("Goal", (("_count", "100"),)))


def test_a_server_that_ignores_the_offset_is_not_asked_for_ever() -> None:
    found = list(talk(without_links(offset=False), "offset").search("Goal", (("_count", "100"),)))
    assert {goal["id"] for goal in found} == {str(i) for i in range(100)}


def test_next_links_are_followed_as_they_are() -> None:
    def answer(method: str, path: str, *, params: Sequence[tuple[str, str]], **_: Any) -> Reply:
        second = path == "http://rehab.example/fhir?page=2"
        links = [] if second else [{"relation": "next", "url": "http://rehab.example/fhir?page=2"}]
        return Reply(200, {"resourceType": "Bundle", "link": links, "entry": [{"resource": GOALS[int(second)]}]})

    assert [goal["id"] for goal in talk(answer, "links").search("Goal", (("_count", "1"),))] == ["0", "1"]
