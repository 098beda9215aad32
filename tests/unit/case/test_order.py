"""What is shown first follows the model; nothing is lost on the way."""

from __future__ import annotations

from typing import Any

from fhircase.case import order
from fhircase.case.models import effective
from tests.unit.case.support import CLIENT, case, changed

THEIRS = {"id": "s-2", "state": "draft", "intent": "proposal", "kind": "support-group", "ordered_by": CLIENT}
PARTS: dict[str, Any] = {
    "services": [*case()["services"], THEIRS, {"id": "s-3", "state": "active", "kind": "meals"}],
    "appointments": [], "strengths": [{"id": "st"}], "flags": [{"id": "f"}], "visits": [], "crisis_plans": [],
}  # fmt: skip


def arranged(model: str) -> dict[str, Any]:
    return order.arranged(changed("episode", kinds=["medical", model]) | PARTS)


def lists(doc: dict[str, Any]) -> list[str]:
    return [name for name, value in doc.items() if isinstance(value, list)]


def test_safety_stands_on_top_in_every_model() -> None:
    for model in ("brokerage", "direct-service", "strengths-based", "intensive"):
        assert lists(arranged(model))[:2] == ["flags", "crisis_plans"]


def test_strengths_and_the_clients_own_solutions_come_first_in_a_strengths_based_case() -> None:
    made = arranged("strengths-based")
    assert lists(made)[2:4] == ["strengths", "goals"]
    assert [one["id"] for one in made["services"]] == ["s-2", "s-1", "s-3"]


def test_in_another_model_the_services_stay_as_they_are_and_strengths_come_later() -> None:
    made = arranged("brokerage")
    assert lists(made).index("strengths") > lists(made).index("services")
    assert [one["id"] for one in made["services"]] == ["s-1", "s-2", "s-3"]


def test_a_solution_that_the_client_gave_up_is_not_put_first() -> None:
    doc = changed("episode", kinds=["strengths-based"]) | {"services": [*case()["services"], THEIRS | {"state": "revoked"}]}
    assert [one["id"] for one in order.arranged(doc)["services"]] == ["s-1", "s-2"]


def test_an_intensive_case_shows_contacts_before_services_and_a_broker_after() -> None:
    assert lists(arranged("intensive")).index("appointments") < lists(arranged("intensive")).index("services")
    assert lists(arranged("brokerage")).index("appointments") > lists(arranged("brokerage")).index("services")


def test_nothing_is_added_left_out_or_changed() -> None:
    doc = changed("episode", kinds=["strengths-based"]) | PARTS
    made = order.arranged(doc)
    assert set(made) == set(doc)
    for name in doc:
        assert made[name] == doc[name] if name != "services" else sorted(made[name], key=str) == sorted(doc[name], key=str)
    assert [one["id"] for one in doc["services"]] == ["s-1", "s-2", "s-3"]


def test_a_case_with_nothing_in_it_has_an_order_too() -> None:
    assert order.arranged({}) == {}
    assert order.arranged({"episode": {"kinds": ["strengths-based"]}, "services": [None]})["services"] == [None]


def test_a_sites_own_interval_makes_a_case_intensive() -> None:
    overrides = {"models": {"brokerage": {"contact_days": 3}}}
    asked = effective({"kinds": ["brokerage"]}, overrides)
    assert order.sections(asked).index("appointments") < order.sections(asked).index("services")


def test_what_the_client_asked_for_in_a_task_is_their_solution_too_until_the_task_is_called_off() -> None:
    asked = {"id": "t", "state": "requested", "requester": CLIENT, "focus": "ServiceRequest/s-3"}
    doc = changed("episode", kinds=["strengths-based"]) | PARTS
    off, of_others = asked | {"state": "cancelled"}, asked | {"requester": "Practitioner/p"}
    for loop, first in ((asked, ["s-2", "s-3"]), (off, ["s-2", "s-1"]), (of_others, ["s-2", "s-1"])):
        assert [one["id"] for one in order.arranged(doc | {"loops": [loop]})["services"]][:2] == first
