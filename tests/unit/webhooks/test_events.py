from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fhircase.errors import Invalid
from fhircase.plans import events
from fhircase.plans.change import Grant, Ref, Review
from fhircase.ports import Stored
from tests.conftest import SequentialIds


def version(type: str, number: int = 1, *, deleted: bool = False, **body: Any) -> Stored:
    text = json.dumps({"resourceType": type, "id": "x", **body})
    return Stored(type, "x", number, 0, 1, deleted, "c1", "k1", "hub", text)


def of(*changed: tuple[Stored | None, Stored], **more: Any) -> list[events.Event]:
    return events.of_commit(changed, seq=7, at=1_000, partner="mercy", new_id=SequentialIds().new, **more)


def names(*changed: tuple[Stored | None, Stored], **more: Any) -> list[str]:
    return [event.type for event in of(*changed, **more)]


def test_a_new_version_is_told_by_its_type_and_what_became_of_it() -> None:
    goal = version("Goal")
    assert names((None, goal)) == ["goal.created"]
    assert names((goal, version("Goal", 2))) == ["goal.updated"]
    assert names((goal, version("Goal", 2, deleted=True))) == ["goal.deleted"]
    assert names((version("Goal", 2, deleted=True), version("Goal", 3))) == ["goal.created"]


def test_an_event_holds_ids_and_versions_and_no_content() -> None:
    event = of((None, version("Goal", description={"text": "walk 50 feet"})))[0]
    assert event.data == {"resource": "Goal/x", "version": 1}
    assert (event.client, event.case, event.partner, event.seq, event.at) == ("c1", "k1", "mercy", 7, 1_000)


def test_a_type_without_events_of_its_own_is_a_resource_event() -> None:
    assert names((None, version("Media"))) == ["resource.created"]


def test_an_episode_tells_of_its_case() -> None:
    active, finished = version("EpisodeOfCare", status="active"), version("EpisodeOfCare", 2, status="finished")
    assert names((None, active)) == ["episodeofcare.created", "case.opened"]
    assert names((active, finished)) == ["episodeofcare.updated", "case.closed"]
    assert names((finished, version("EpisodeOfCare", 3, status="active"))) == ["episodeofcare.updated", "case.reopened"]
    assert names((active, version("EpisodeOfCare", 2, status="onhold"))) == ["episodeofcare.updated"]


def test_only_the_hubs_own_hand_over_task_tells_of_a_hand_over() -> None:
    ours = {"identifier": [{"system": "urn:fhircase:handover", "value": "1"}]}
    asked = version("Task", status="requested", **ours)
    assert names((None, asked)) == ["task.created", "handover.requested"]
    assert names((asked, version("Task", 2, status="accepted", **ours))) == ["task.updated", "handover.accepted"]
    assert names((asked, version("Task", 2, status="requested", **ours))) == ["task.updated"]
    assert names((None, version("Task", status="requested"))) == ["task.created"]


def test_grants_tell_who_may_see_a_case_and_who_no_longer() -> None:
    given = Grant("rehab", "c1", "k1", "member", 1_000)
    ended = Grant("rehab", "c1", "k1", "member", 1, 1_000)
    bounded = Grant("rehab", "c1", "k1", "member", 1, 9_999)
    later = Grant("rehab", "c1", "k1", "member", 5_000)
    item = Grant("rehab", "c1", "k1", "invited", 1_000, item=Ref("Task", "t"))
    assert [(e.type, dict(e.data)) for e in of(grants=[given, ended, bounded, later, item])] == [
        ("case.granted", {"partner": "rehab", "grant": "member"}),
        ("case.revoked", {"partner": "rehab", "grant": "member"}),
        ("case.granted", {"partner": "rehab", "grant": "member"}),
        ("case.granted", {"partner": "rehab", "grant": "invited", "resource": "Task/t"}),
    ]


def test_a_review_is_told_by_its_kind_and_never_by_its_words_or_key() -> None:
    review = Review("identity", "identity:MRN-9", "Which client is this?", detail={"name": "Doe"}, subject=Ref("Patient", "p"))
    assert [(e.type, dict(e.data)) for e in of(reviews=[review], review_ids=["r1"], settled=["r0"])] == [
        ("review.opened", {"kind": "identity", "review": "r1", "resource": "Patient/p"}),
        ("review.settled", {"review": "r0"}),
    ]


def test_every_event_has_an_id_of_its_own() -> None:
    found = of((None, version("EpisodeOfCare", status="active")), (None, version("Goal")))
    assert len({event.id for event in found}) == 3


def test_every_name_follows_standard_webhooks() -> None:
    assert all(re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", name) for name in events.EVENT_TYPES)


def test_filters_are_spelled_out() -> None:
    assert events.chosen(["goal.*"]) == ("goal.created", "goal.updated", "goal.deleted")
    assert "careplan.created" in events.chosen(["*.created"])
    assert events.chosen(["*", "goal.created"]) == ()
    assert events.chosen([]) == ()


def test_unknown_filters_are_all_named_at_once_with_what_to_write_instead() -> None:
    with pytest.raises(Invalid) as caught:
        events.chosen(["goal.changed", "case.opened", "gaol.created"])
    problems = caught.value.problems
    assert [problem.path for problem in problems] == ["/events/0", "/events/2"]
    assert "goal.updated" in problems[0].hint
