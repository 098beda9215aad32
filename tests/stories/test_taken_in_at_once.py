"""Messages of one client that come at the same moment, on both real stores: one client, one visit each, one plan."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fhircase.fhir import search
from fhircase.flows.take_in import take_in
from fhircase.plans.change import Agent
from fhircase.plans.partner import HUB, Partner
from fhircase.ports import Viewer

MERCY = Partner("mercy", organization="o-mercy", role="hospital", zone="America/New_York")
SUNNY = Partner("sunny", organization="o-sunny", role="rehab", dispositions=("rehab",))


def message(event: str, number: str, visit: str, happened: str) -> bytes:
    return "\r".join(
        (
            f"MSH|^~\\&|EPIC|MERCY|FHIRCASE|COUNTY|{happened}||ADT^{event}|{number}|P|2.5.1",
            f"EVN|{event}|{happened}",
            "PID|1||MRN1^^^MERCY^MR||Rivera^Ana||19560304|F",
            f"PV1|1|I|4E^401^B||||||||||||||||{visit}^^^MERCY^VN|||||||||||||||||62||||||||20261110080000-0500|{happened}",
            "",
        )
    ).encode()


@pytest.fixture(params=["sqlite", "postgresql"])
def hub(request: pytest.FixtureRequest, make_hub: Callable[..., Any]) -> Any:
    made = make_hub(request.getfixturevalue("postgres_url") if request.param == "postgresql" else None)
    with made.store.write() as tx:
        for partner in (Partner(HUB, organization="o-hub"), MERCY, SUNNY):
            tx.partners.save(partner)
    return made


def send_at_once(hub: Any, messages: list[bytes]) -> list[Any]:
    with ThreadPoolExecutor(len(messages)) as pool:
        return list(pool.map(lambda raw: take_in(hub, "mercy", "hl7v2", raw, "", agent=Agent("mercy")).message, messages))


def current(hub: Any, type_: str) -> list[dict[str, Any]]:
    with hub.store.read() as tx:
        return [
            s.body for s in tx.plans.search(Viewer(HUB, True, hub.now()), search.parse(type_, [("_count", "100")], strict=True)).matches
        ]


def test_discharges_of_several_visits_at_once_open_one_plan(hub: Any) -> None:
    taken = send_at_once(hub, [message("A03", f"M{n}", f"V{n}", f"2026112{n}120000-0500") for n in range(8)])
    assert {m.code for m in taken} == {"AA"}
    counts = {name: len(current(hub, name)) for name in ("Patient", "EpisodeOfCare", "CarePlan", "CareTeam", "Encounter", "Task")}
    assert counts == {"Patient": 1, "EpisodeOfCare": 1, "CarePlan": 1, "CareTeam": 1, "Encounter": 8, "Task": 8}


def test_copies_of_one_message_at_once_are_one_message(hub: Any) -> None:
    taken = send_at_once(hub, [message("A03", "M1", "V1", "20261120120000-0500")] * 8)
    assert len({m.id for m in taken}) == 1
    assert len({m.answer for m in taken}) == 1
    with hub.store.read() as tx:
        assert len(tx.inbox.list()[0]) == 1
    assert len(current(hub, "Task")) == 1


def test_the_events_of_one_visit_at_once_end_as_if_they_had_come_in_order(hub: Any) -> None:
    events = [
        ("A01", "20261110080000-0500"),
        ("A02", "20261112090000-0500"),
        ("A08", "20261113090000-0500"),
        ("A03", "20261120120000-0500"),
    ]
    taken = send_at_once(hub, [message(event, event, "V1", happened) for event, happened in events])
    assert {m.code for m in taken} == {"AA"}
    (visit,) = current(hub, "Encounter")
    assert (visit["status"], len(current(hub, "CarePlan")), len(current(hub, "Task"))) == ("finished", 1, 1)
    with hub.store.read() as tx:
        assert len(tx.inbox.events(visit["id"])) == 4
