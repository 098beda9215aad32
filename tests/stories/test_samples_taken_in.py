"""Real public messages through the real mappings into a real store: each gets the answer that INDEX.md of the samples asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhircase.flows.take_in import take_in
from fhircase.plans.change import Agent
from fhircase.plans.partner import HUB, Partner

PARTNERS = (
    Partner(HUB, title="County", organization="o-hub"),
    Partner(
        "ghh", title="Good Health Hospital", organization="o-ghh", role="hospital", zone="America/New_York", processing_ids=("P", "T", "D")
    ),
    Partner("exchange", title="Exchange", organization="o-exchange"),
    Partner("sunny", title="Sunny", organization="o-sunny", role="rehab", dispositions=("rehab",)),
)


@pytest.fixture
def hub(make_hub: Callable[..., Any]) -> Any:
    made = make_hub()
    with made.store.write() as tx:
        for partner in PARTNERS:
            tx.partners.save(partner)
    return made


def send(hub: Any, file: Path, partner: str = "ghh") -> Any:
    kind: Any = "hl7v2" if file.suffix == ".hl7" else "message"
    return take_in(hub, partner, kind, file.read_bytes(), "text/plain", agent=Agent(partner)).message


def current(hub: Any, type_: str) -> list[dict[str, Any]]:
    from fhircase.fhir import search
    from fhircase.ports import Viewer

    with hub.store.read() as tx:
        viewer = Viewer(HUB, True, hub.now())
        return [s.body for s in tx.plans.search(viewer, search.parse(type_, [("_count", "100")], strict=True)).matches]


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ("A01", "in-progress"),
        ("A02", "in-progress"),
        ("A03", "finished"),
        ("A04", "in-progress"),
        ("A08", "unknown"),
        ("A11", "cancelled"),
        ("A13", "in-progress"),
    ],
)
def test_each_event_alone_gives_the_visit_its_state(hub: Any, samples: Path, event: str, status: str) -> None:
    taken = send(hub, samples / f"samples/microsoft-fhir-converter/ADT-{event}-01.hl7")
    assert (taken.code, [v["status"] for v in current(hub, "Encounter")]) == ("AA", [status]), taken.problems


@pytest.mark.parametrize("event", ["A28", "A31", "A25"])
def test_what_is_no_visit_makes_none(hub: Any, samples: Path, event: str) -> None:
    taken = send(hub, samples / f"samples/microsoft-fhir-converter/ADT-{event}-01.hl7")
    assert (taken.code, current(hub, "Encounter"), len(current(hub, "Patient"))) == ("AA", [], 1), taken.problems


def test_ten_messages_of_one_visit_are_one_client_and_one_visit(hub: Any, samples: Path) -> None:
    folder = samples / "samples/microsoft-fhir-converter"
    for event in ("A01", "A02", "A03", "A08", "A31", "A28", "A25"):
        assert send(hub, folder / f"ADT-{event}-01.hl7").code == "AA"
    (visit,) = current(hub, "Encounter")
    assert (visit["status"], len(current(hub, "Patient")), len(current(hub, "CarePlan"))) == ("finished", 1, 1)
    send(hub, folder / "ADT-A13-01.hl7")
    (visit,) = current(hub, "Encounter")
    assert (visit["status"], "end" in visit.get("period", {})) == ("in-progress", False)
    send(hub, folder / "ADT-A11-01.hl7")
    (visit,) = current(hub, "Encounter")
    assert visit["status"] == "cancelled"


@pytest.mark.parametrize(
    "name",
    ["ADT-A09-01", "ADT-A40-01", "ADT01-23", "ADT04-23", "REF-I12-01"],
)
def test_the_other_messages_are_taken(hub: Any, samples: Path, name: str) -> None:
    taken = send(hub, samples / f"samples/microsoft-fhir-converter/{name}.hl7")
    assert taken.code == "AA", taken.problems


def test_a_referral_becomes_a_service_and_a_task_that_asks(hub: Any, samples: Path) -> None:
    taken = send(hub, samples / "samples/microsoft-fhir-converter/REF-I12-01.hl7")
    assert taken.code == "AA", taken.problems
    assert len(current(hub, "ServiceRequest")) == 1
    assert [t["status"] for t in current(hub, "Task")] == ["requested"]


def test_a_sender_that_wants_no_answer_gets_none(hub: Any, samples: Path) -> None:
    assert send(hub, samples / "samples/microsoft-fhir-converter/ADT-A40-01.hl7").answer == b""


@pytest.mark.parametrize(
    ("name", "visits"), [("adt_a01", 1), ("adt_a01_ex1", 1), ("adt_a01_ex2", 1), ("adt_a04_ex1", 1), ("adt_a08_ex1", 0)]
)
def test_messages_of_another_converter_never_discharge_by_a_stale_time(hub: Any, samples: Path, name: str, visits: int) -> None:
    taken = send(hub, samples / f"samples/gcp-data-harmonization/{name}.hl7")
    assert taken.code == "AA", taken.problems
    assert [v["status"] for v in current(hub, "Encounter")] == ["in-progress"] * visits


def test_a_stay_without_a_visit_number_is_not_made_twice(hub: Any, samples: Path) -> None:
    raw = (samples / "samples/gcp-data-harmonization/adt_a01_ex1.hl7").read_bytes()
    for number in (b"1", b"2"):
        changed = raw.replace(b"|ADT^A01", b"|ADT^A01", 1)
        fields = changed.split(b"|")
        fields[9] = fields[9] + number
        assert take_in(hub, "ghh", "hl7v2", b"|".join(fields), "", agent=Agent("ghh")).message.code == "AA"
    assert len(current(hub, "Encounter")) == 1


def test_da_vinci_admission_forwarding_and_discharge_are_one_visit_and_one_plan(hub: Any, samples: Path) -> None:
    folder = samples / "samples/davinci-alerts"
    assert send(hub, folder / "admit-notification-message-bundle-01.json").code == "AA"
    (visit,) = current(hub, "Encounter")
    assert (visit["status"], "end" in visit["period"]) == ("in-progress", False)
    assert send(hub, folder / "admit-notification-intermediate-transmit-bundle.json", "exchange").code == "AA"
    for _ in range(2):
        assert send(hub, folder / "discharge-notification-message-bundle-01.json").code == "AA"
    (visit,) = current(hub, "Encounter")
    assert (visit["status"], len(current(hub, "Patient")), len(current(hub, "CarePlan"))) == ("finished", 1, 1)
    (task,) = current(hub, "Task")
    assert task["owner"]["reference"] == "Organization/o-hub"
