"""An order rests on the client's decision; a refusal is kept and left in peace."""

from __future__ import annotations

from typing import Any

import pytest

from fhircase.case import decisions
from fhircase.case.attention import points
from tests.unit.case.support import CLIENT, MANAGER, TODAY, case, changed, guardian

ORDER = "ServiceRequest/s-1"
OPTION = {"id": "s-0", "state": "active", "intent": "option", "kind": "physical-therapy", "needs": ["Condition/n-1"]}


def decision(on: str = ORDER, by: str = CLIENT, decided: str = "accepted", at: str | None = "2026-11-19") -> dict[str, Any]:
    return {"on": on, "by": by, "decided": decided} | ({"at": at} if at else {})


def undecided(doc: dict[str, Any]) -> list[str]:
    return [f"{name}/{one['id']}" for name, one in decisions.undecided(doc, TODAY)]


DECIDED: dict[str, tuple[dict[str, Any], bool]] = {
    "nobody decided": ({"decisions": []}, False),
    "the client accepted": ({"decisions": [decision()]}, True),
    "the client declined it": ({"decisions": [decision(decided="declined")]}, True),
    "the case manager decided": ({"decisions": [decision(by=MANAGER)]}, False),
    "another client decided": ({"decisions": [decision(by="Patient/other")]}, False),
    "it was about something else": ({"decisions": [decision("ServiceRequest/x")]}, False),
    "a valid guardian decided": ({"decisions": [decision(by="RelatedPerson/r-1")], "contacts": [guardian()]}, True),
    "a guardian of then decided": ({"decisions": [decision(by="RelatedPerson/r-1")], "contacts": [guardian(until="2026-11-20")]}, True),
    "an ended guardian decided": ({"decisions": [decision(by="RelatedPerson/r-1")], "contacts": [guardian(until="2026-11-18")]}, False),
    "an ended guardian decided, nobody knows when": (
        {"decisions": [decision(by="RelatedPerson/r-1", at=None)], "contacts": [guardian(until="2026-11-20")]},
        False,
    ),
}


@pytest.mark.parametrize("name", DECIDED)
def test_an_order_needs_a_decision_of_the_client_or_a_valid_guardian(name: str) -> None:
    parts, decided = DECIDED[name]
    assert undecided(case(**parts)) == ([] if decided else ["services/s-1"])


def resting(*decided: dict[str, Any], **fields: Any) -> dict[str, Any]:
    doc = changed("services", based_on=["ServiceRequest/s-0"], **fields)
    return doc | {"services": [*doc["services"], OPTION], "decisions": list(decided)}


def test_a_decision_on_an_option_that_the_order_rests_on_counts() -> None:
    assert undecided(resting(decision("ServiceRequest/s-0"))) == []
    assert undecided(resting()) == ["services/s-1"]


def test_an_order_on_top_of_an_option_that_the_client_declined_is_not_decided() -> None:
    declined = decision("ServiceRequest/s-0", decided="declined")
    assert undecided(resting(declined)) == ["services/s-1"]
    assert undecided(resting(declined, decision())) == []
    assert undecided(resting(declined, decision("ServiceRequest/s-0", at="2026-11-21"))) == []


def test_a_chain_that_bites_its_tail_ends() -> None:
    doc = resting()
    doc["services"][1] = OPTION | {"based_on": [ORDER]}
    assert undecided(doc) == ["services/s-1"]


def test_what_the_client_asked_for_is_decided() -> None:
    assert undecided(changed("services", ordered_by=CLIENT) | {"decisions": []}) == []


def test_what_a_guardian_of_then_asked_for_is_decided() -> None:
    doc = changed("services", ordered_by="RelatedPerson/r-1", ordered_at="2026-11-10T09:00:00Z") | {"decisions": []}
    assert undecided(doc | {"contacts": [guardian(until="2026-11-10")]}) == []
    assert undecided(doc | {"contacts": [guardian(until="2026-11-09")]}) == ["services/s-1"]


@pytest.mark.parametrize("fields", [{"intent": "proposal"}, {"state": "draft"}, {"state": "revoked"}, {"not_wanted": True}])
def test_only_an_active_order_needs_a_decision(fields: dict[str, Any]) -> None:
    assert undecided(changed("services", **fields) | {"decisions": []}) == []


def test_equipment_is_decided_on_like_a_service() -> None:
    doc = case(equipment=[{"id": "e-1", "state": "active", "intent": "order", "kind": "walker"}])
    assert undecided(doc) == ["equipment/e-1"]
    doc["decisions"].append(decision("DeviceRequest/e-1"))
    assert undecided(doc) == []


# ------------------------------------------------------------------------------------------ refusals

REFUSED: dict[str, dict[str, Any]] = {
    "declined and revoked": changed("services", state="revoked") | {"decisions": [decision(decided="declined")]},
    "declined": case(decisions=[decision(decided="declined")]),
    "not wanted": changed("services", not_wanted=True) | {"decisions": []},
    "declined after accepting": case(decisions=[decision(decided="declined", at="2026-11-20"), decision()]),
}
NOT_REFUSED: dict[str, dict[str, Any]] = {
    "accepted": case(),
    "accepted after declining": case(decisions=[decision(at="2026-11-20"), decision(decided="declined")]),
    "revoked for another reason": changed("services", state="revoked"),
    "declined by the case manager": case(decisions=[decision(by=MANAGER, decided="declined")]),
    "another kind declined": case(
        services=[{"id": "s-1", "state": "revoked", "intent": "order", "kind": "meals"}], decisions=[decision(decided="declined")]
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_was_refused_is_not_offered_again_unasked(name: str) -> None:
    doc = REFUSED[name]
    assert not decisions.offerable("physical-therapy", doc, TODAY)
    assert decisions.offerable("meals", doc, TODAY)
    assert [one.kind for one in decisions.refusals(doc, TODAY)] == ["physical-therapy"]


@pytest.mark.parametrize("name", NOT_REFUSED)
def test_what_was_not_refused_may_be_offered(name: str) -> None:
    assert decisions.offerable("physical-therapy", NOT_REFUSED[name], TODAY)


def test_a_refusal_is_kept_with_who_when_and_why() -> None:
    doc = changed("services", state="revoked") | {"decisions": [decision(decided="declined") | {"reason": "I have had enough of it"}]}
    assert decisions.refusals(doc, TODAY) == [decisions.Refusal(ORDER, "physical-therapy", CLIENT, "2026-11-19", "I have had enough of it")]


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_raises_no_attention(name: str) -> None:
    assert points(REFUSED[name], TODAY) == []


def test_a_refused_goal_is_kept_and_raises_no_attention() -> None:
    mine = case()["goals"][0]
    refused = {"id": "g-2", "title": "Move", "lifecycle": "rejected", "acceptance": "disagree", "rejected_because": "wants to stay"}
    doc = case(goals=[mine, refused])
    assert decisions.refusals(doc, TODAY) == [decisions.Refusal("Goal/g-2", reason="wants to stay")]
    assert points(doc, TODAY) == []
    assert decisions.refusals(case(), TODAY) == []


def test_a_client_who_asks_after_refusing_may_be_offered_it_again() -> None:
    doc = changed("services", state="revoked") | {"decisions": [decision(decided="declined", at="2026-11-19")]}
    asked = {"id": "s-2", "state": "draft", "intent": "proposal", "kind": "physical-therapy", "ordered_by": CLIENT}
    for at, may in (("2026-11-22", True), ("2026-11-10", False)):
        assert decisions.offerable("physical-therapy", doc | {"services": [*doc["services"], asked | {"ordered_at": at}]}, TODAY) == may
    proposed_again = asked | {"ordered_by": MANAGER, "ordered_at": "2026-11-22"}
    assert not decisions.offerable("physical-therapy", doc | {"services": [*doc["services"], proposed_again]}, TODAY)


def test_a_client_who_accepts_one_after_refusing_another_may_be_offered_it_again() -> None:
    doc = changed("services", state="revoked") | {"decisions": [decision(decided="declined", at="2026-11-19")]}
    doc["services"].append({"id": "s-2", "state": "active", "intent": "order", "kind": "physical-therapy"})
    for decided, at, may in (("accepted", "2026-11-20", True), ("accepted", "2026-11-18", False), ("declined", "2026-11-20", False)):
        later = doc | {"decisions": [*doc["decisions"], decision("ServiceRequest/s-2", decided=decided, at=at)]}
        assert decisions.offerable("physical-therapy", later, TODAY) == may


def test_a_refusal_of_unknown_time_stands() -> None:
    doc = case(decisions=[decision(decided="declined", at=None)])
    asked = {
        "id": "s-2",
        "state": "draft",
        "intent": "proposal",
        "kind": "physical-therapy",
        "ordered_by": CLIENT,
        "ordered_at": "2026-11-22",
    }
    assert not decisions.offerable("physical-therapy", doc | {"services": [*doc["services"], asked]}, TODAY)
