"""Da Vinci notifications through take_in, on a store in memory: what they open, once, and what they never do."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from fhircase.errors import Conflict, NotFound, Unavailable
from fhircase.flows.take_in import Taken, replay, take_in
from fhircase.plans.change import Agent, Ref
from fhircase.plans.partner import HUB, Partner
from tests.conftest import FrozenClock, build_hub
from tests.fakes.store import FakeStore

EVENT = "http://hl7.org/fhir/us/davinci-alerts/CodeSystem/notification-event"
START, END = "2026-11-10T08:00:00-05:00", "2026-11-20T14:25:00-05:00"
MERCY = Partner("mercy", title="Mercy", organization="o-mercy", role="hospital")
SUNNY = Partner(
    "sunny",
    title="Sunny",
    organization="o-sunny",
    role="rehab",
    dispositions=("rehab",),
    identifiers=(("urn:npi", "SUNNY1"),),
    base_url="http://sunny",
)
GRACE = Partner("grace", title="Grace", organization="o-grace", role="hospital")
COUNTY = Partner(HUB, title="County", organization="o-hub")
ROUTES = {"01": "home", "06": "home-with-services", "62": "rehab", "03": "snf", "20": "died", "30": "not-discharged"}


class Codes:
    groups = ()

    def forward(self, code: str, system: str | None = None) -> str | None:
        return ROUTES.get(code)


class Template:
    name = "general"
    goals = ({"text": "See a doctor within a week"},)
    services = ({"text": "Follow-up visit"},)


class Writes:
    """Stands for the mappings of goals and services: a document of one text."""

    def __init__(self, name: str) -> None:
        self.name = name

    def out(self, doc: dict[str, Any], **_: Any) -> Any:
        class Out:
            resource = (
                {
                    "resourceType": "Goal",
                    "lifecycleStatus": "proposed",
                    "description": {"text": doc["text"]},
                    "subject": {"reference": doc["client"]},
                }
                if self.name == "goal"
                else {
                    "resourceType": "ServiceRequest",
                    "status": "draft",
                    "intent": "proposal",
                    "code": {"text": doc["text"]},
                    "subject": {"reference": doc["client"]},
                }
            )

        return Out


class Maps:
    def codes(self, name: str, site: str | None = None) -> Codes:
        return Codes()

    def mapping(self, name: str, site: str | None = None) -> Writes:
        return Writes(name)

    def templates(self, kind: str, route: str | None) -> Template:
        return Template()


@pytest.fixture
def store() -> FakeStore:
    made = FakeStore()
    with made.write() as tx:
        for partner in (COUNTY, MERCY, SUNNY, GRACE):
            tx.partners.save(partner)
    return made


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def hub(store: FakeStore, clock: FrozenClock) -> Any:
    return build_hub(store, clock=clock, maps=Maps())


def bundle(
    event: str = "discharge",
    *,
    number: str = "m1",
    mrn: str = "MRN1",
    visit: str | None = "V1",
    disposition: str | None = "62",
    end: str | None = END,
    start: str | None = START,
    status: str | None = None,
    family: str = "Rivera",
    born: str = "1956-03-04",
    codes: tuple[str, ...] = ("I50.9",),
    **encounter: Any,
) -> dict[str, Any]:
    """A message Bundle as the Da Vinci guide has it, with ids of the sender's own."""
    stay: dict[str, Any] = {
        "resourceType": "Encounter",
        "id": "e",
        "status": status or {"discharge": "finished"}.get(event, "in-progress"),
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "subject": {"reference": "urn:uuid:p"},
        "participant": [
            {
                "type": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "ATND"}]}],
                "individual": {"reference": "urn:uuid:dr"},
            }
        ],
        **encounter,
    }
    period = {name: value for name, value in (("start", start), ("end", end)) if value}
    if period:
        stay["period"] = period
    if visit:
        stay["identifier"] = [{"system": "urn:mercy:visit", "value": visit}]
    if disposition:
        stay["hospitalization"] = {
            "dischargeDisposition": {"coding": [{"system": "http://www.nubc.org/patient-discharge", "code": disposition}]}
        }
    resources: list[tuple[str, dict[str, Any]]] = [
        (
            "urn:uuid:h",
            {
                "resourceType": "MessageHeader",
                "eventCoding": {"system": EVENT, "code": f"notification-{event}"},
                "source": {"endpoint": "http://mercy"},
                "focus": [{"reference": "urn:uuid:e"}],
            },
        ),
        ("urn:uuid:e", stay),
        (
            "urn:uuid:p",
            {
                "resourceType": "Patient",
                "id": "p",
                "identifier": [{"system": "urn:mercy:mrn", "value": mrn}],
                "name": [{"family": family, "given": ["Ana"]}],
                "birthDate": born,
            },
        ),
        (
            "urn:uuid:dr",
            {
                "resourceType": "Practitioner",
                "id": "dr",
                "identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567893"}],
                "name": [{"family": "Welby"}],
            },
        ),
    ]
    for place, code in enumerate(codes):
        resources.append(
            (
                f"urn:uuid:c{place}",
                {
                    "resourceType": "Condition",
                    "id": f"c{place}",
                    "clinicalStatus": {
                        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]
                    },
                    "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]},
                    "subject": {"reference": "urn:uuid:p"},
                    "encounter": {"reference": "urn:uuid:e"},
                },
            )
        )
    return {
        "resourceType": "Bundle",
        "id": number,
        "type": "message",
        "timestamp": "2026-11-20T20:00:00Z",
        "entry": [{"fullUrl": url, "resource": resource} for url, resource in resources],
    }


def send(hub: Any, message: Any, partner: str = "mercy") -> Taken:
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    return take_in(hub, partner, "message", raw, "application/fhir+json", agent=Agent(partner))


def versions(store: FakeStore) -> dict[Ref, int]:
    return {ref: held[-1].version for ref, held in store.state.versions.items() if ref.type != "Provenance"}


# ------------------------------------------------------------------------------------------------ what a discharge opens


def test_a_discharge_becomes_one_case_with_its_plan_team_proposals_and_hand_over(hub: Any, store: FakeStore) -> None:
    taken = send(hub, bundle())
    assert (taken.message.code, taken.message.state, taken.status) == ("AA", "applied", 200)
    counts = {
        name: len(store.current(name))
        for name in (
            "Patient",
            "Encounter",
            "Condition",
            "Practitioner",
            "EpisodeOfCare",
            "CarePlan",
            "CareTeam",
            "Goal",
            "ServiceRequest",
            "Task",
            "Provenance",
        )
    }
    assert counts == dict.fromkeys(counts, 1)
    (encounter,), (plan,), (task,) = store.current("Encounter"), store.current("CarePlan"), store.current("Task")
    (client,), (episode,) = store.current("Patient"), store.current("EpisodeOfCare")
    assert (encounter["status"], encounter["period"]) == ("finished", {"start": START, "end": END})
    assert encounter["subject"] == {"reference": f"Patient/{client['id']}"}
    assert encounter["episodeOfCare"] == [{"reference": f"EpisodeOfCare/{episode['id']}"}]
    assert plan["addresses"] == [{"reference": f"Condition/{store.current('Condition')[0]['id']}"}]
    assert (task["status"], task["owner"]["reference"]) == ("requested", "Organization/o-sunny")
    assert store.open_reviews() == []
    assert set(taken.message.became) >= {
        f"Patient/{client['id']}",
        f"Encounter/{encounter['id']}",
        f"CarePlan/{plan['id']}",
        f"Task/{task['id']}",
    }


def test_everything_of_one_message_is_one_transaction(hub: Any, store: FakeStore) -> None:
    before = store.writes
    taken = send(hub, bundle())
    assert store.writes == before + 1
    assert store.state.messages[taken.message.id] == taken.message
    assert len(store.state.events) == 1
    assert len({held[-1].seq for held in store.state.versions.values()}) == 1


def test_the_discharging_doctor_and_both_organisations_make_the_team(hub: Any, store: FakeStore) -> None:
    send(hub, bundle())
    (team,), (doctor,) = store.current("CareTeam"), store.current("Practitioner")
    assert [p["member"]["reference"] for p in team["participant"]] == [
        "Organization/o-hub",
        "Organization/o-mercy",
        f"Practitioner/{doctor['id']}",
    ]


def test_sender_and_hub_are_members_and_the_receiver_is_invited(hub: Any, store: FakeStore) -> None:
    send(hub, bundle())
    kinds = {(g.partner, g.kind) for g in store.state.grants.values()}
    assert {("mercy", "member"), ("sunny", "invited")} <= kinds


def test_the_same_message_again_is_answered_the_same_and_changes_nothing(hub: Any, store: FakeStore) -> None:
    first = send(hub, bundle())
    state = store.state
    again = send(hub, bundle())
    assert again.duplicate
    assert again.message.answer == first.message.answer
    assert store.state == state


def test_the_same_id_with_another_body_is_kept_and_not_applied(hub: Any, store: FakeStore) -> None:
    send(hub, bundle())
    before = versions(store)
    other = send(hub, bundle(disposition="01"))
    assert (other.message.code, other.message.state, other.status) == ("AE", "kept", 422)
    assert versions(store) == before
    assert len(store.state.messages) == 2
    assert send(hub, bundle(disposition="01")).duplicate


def test_another_message_with_the_same_facts_makes_no_new_versions(hub: Any, store: FakeStore) -> None:
    send(hub, bundle())
    before = versions(store)
    again = send(hub, bundle(number="m2"))
    assert again.message.code == "AA"
    assert versions(store) == before


def test_a_forwarded_copy_is_the_same_fact_and_opens_nothing_twice(hub: Any, store: FakeStore) -> None:
    send(hub, bundle())
    before = versions(store)
    copied = bundle(number="forwarded")
    copied["entry"][0]["resource"]["id"] = "other-header"
    copied["entry"].append({
        "fullUrl": "urn:uuid:prov",
        "resource": {
            "resourceType": "Provenance", "id": "prov", "target": [{"reference": "urn:uuid:h"}], "recorded": "2026-11-20T21:00:00Z",
            "agent": [
                {
                    "type": {"coding": [{"system": "urn:participant-type", "code": "transmitter"}]},
                    "who": {"display": "Exchange"},
                }
            ],
        },
    })  # fmt: skip
    taken = send(hub, copied, "grace")
    assert taken.message.code == "AA"
    assert {ref: version for ref, version in versions(store).items() if ref.type != "CareTeam"} == {
        ref: v for ref, v in before.items() if ref.type != "CareTeam"
    }
    assert len(store.current("Task")) == 1
    assert any(p["agent"][0].get("who", {}).get("display") == "Exchange" for p in store.current("Provenance"))


# ------------------------------------------------------------------------------------------------ what it never does


def test_an_admission_with_an_end_does_not_discharge_and_opens_no_case(hub: Any, store: FakeStore) -> None:
    send(hub, bundle("admit"))
    (encounter,) = store.current("Encounter")
    assert (encounter["status"], encounter["period"]) == ("in-progress", {"start": START})
    assert "hospitalization" not in encounter
    assert store.current("CarePlan") == []


def test_an_admission_that_arrives_after_the_discharge_changes_no_state(hub: Any, store: FakeStore) -> None:
    send(hub, bundle())
    send(hub, bundle("admit", number="m0", disposition=None))
    (encounter,) = store.current("Encounter")
    assert (encounter["status"], encounter["period"]) == ("finished", {"start": START, "end": END})
    assert len(store.current("Task")) == 1
    assert store.open_reviews() == []


def test_admission_and_discharge_are_one_visit(hub: Any, store: FakeStore) -> None:
    send(hub, bundle("admit", number="m0"))
    send(hub, bundle())
    (encounter,) = store.current("Encounter")
    assert (encounter["status"], len(store.current("Patient")), len(store.current("CarePlan"))) == ("finished", 1, 1)


def test_still_a_patient_is_no_discharge_and_a_person_is_asked(hub: Any, store: FakeStore) -> None:
    taken = send(hub, bundle(disposition="30"))
    assert taken.message.state == "review"
    assert (store.current("Encounter")[0]["status"], store.current("Task")) == ("in-progress", [])
    assert [r.kind for r in store.open_reviews()] == ["order"]


def test_death_makes_no_outreach(hub: Any, store: FakeStore) -> None:
    send(hub, bundle(disposition="20"))
    assert store.current("Encounter")[0]["status"] == "finished"
    assert (store.current("Task"), store.current("CarePlan")) == ([], [])


def test_death_takes_back_hand_overs_that_nobody_has_accepted(hub: Any, store: FakeStore) -> None:
    send(hub, bundle())
    send(hub, bundle(number="m2", visit="V2", disposition="20", end="2026-11-22T02:00:00-05:00"))
    assert [t["status"] for t in store.current("Task")] == ["cancelled"]
    assert [r.kind for r in store.open_reviews()] == ["closing"]


def test_an_unknown_disposition_makes_a_draft_without_owner_and_a_review(hub: Any, store: FakeStore) -> None:
    taken = send(hub, bundle(disposition="XX"))
    (task,) = store.current("Task")
    assert (task["status"], "owner" in task) == ("draft", False)
    assert {r.kind for r in store.open_reviews()} == {"destination", "unmapped"}
    assert (taken.message.code, taken.message.state) == ("AA", "review")


def test_a_sender_that_never_opens_a_case_only_tells(hub: Any, store: FakeStore) -> None:
    with store.write() as tx:
        tx.partners.save(Partner("quiet", organization="o-quiet", opens_case="never"))
    send(hub, bundle(), "quiet")
    assert (len(store.current("Encounter")), store.current("CarePlan"), store.current("Task")) == (1, [], [])


# ------------------------------------------------------------------------------------------------ one plan


def test_a_further_discharge_adds_a_visit_and_a_transition_to_the_same_plan(hub: Any, store: FakeStore) -> None:
    send(hub, bundle())
    send(hub, bundle(number="m2", visit="V2", start="2026-11-21T08:00:00-05:00", end="2026-11-22T08:00:00-05:00"))
    assert (len(store.current("CarePlan")), len(store.current("Encounter")), len(store.current("Task"))) == (1, 2, 2)
    assert len(store.current("Goal")) == 1
    (plan,) = store.current("CarePlan")
    assert {t["focus"]["reference"] for t in store.current("Task")} == {f"CarePlan/{plan['id']}"}


def test_a_second_hospital_that_knows_the_number_joins_the_team(hub: Any, store: FakeStore) -> None:
    send(hub, bundle())
    send(hub, bundle("admit", number="g1", visit="G1", start="2026-11-21T08:00:00-05:00", end=None, disposition=None), "grace")
    (team,) = store.current("CareTeam")
    assert "Organization/o-grace" in [p["member"]["reference"] for p in team["participant"]]
    assert len(store.current("Patient")) == 1


def test_another_senders_description_fills_gaps_and_never_overwrites(hub: Any, store: FakeStore) -> None:
    send(hub, bundle())
    other = bundle("admit", number="g1", visit="G1", family="Rivera-Soto", disposition=None, end=None)
    other["entry"][2]["resource"]["gender"] = "female"
    send(hub, other, "grace")
    (client,) = store.current("Patient")
    assert (client["name"][0]["family"], client["gender"]) == ("Rivera", "female")
    (review,) = store.open_reviews("conflict")
    assert review.detail["elements"]["name"]["theirs"][0]["family"] == "Rivera-Soto"


def test_two_discharges_at_once_of_one_client_open_one_case(hub: Any, store: FakeStore) -> None:
    second = bundle(number="m2", visit="V2", end="2026-11-20T15:00:00-05:00")
    send(hub, bundle("admit", number="m0"))
    store.between = lambda: send(hub, second)
    send(hub, bundle())
    assert (len(store.current("CarePlan")), len(store.current("EpisodeOfCare")), len(store.current("Task"))) == (1, 1, 2)


def test_two_first_messages_of_one_client_at_once_make_one_client(hub: Any, store: FakeStore) -> None:
    store.between = lambda: send(hub, bundle("admit", number="m0"))
    send(hub, bundle())
    assert (len(store.current("Patient")), len(store.current("Encounter")), store.current("Encounter")[0]["status"]) == (1, 1, "finished")


# ------------------------------------------------------------------------------------------------ identity


def test_a_stranger_on_a_known_number_gets_a_record_of_his_own(hub: Any, store: FakeStore) -> None:
    send(hub, bundle())
    send(hub, bundle(number="m2", visit="V9", family="Miller", born="1990-01-01"))
    first, second = store.current("Patient")
    assert (first["name"][0]["family"], second["name"][0]["family"]) == ("Rivera", "Miller")
    subjects = [e["subject"]["reference"] for e in store.current("Encounter")]
    assert subjects == [f"Patient/{first['id']}", f"Patient/{second['id']}"]
    (review,) = store.open_reviews("identity")
    assert review.subject == Ref("Patient", second["id"])
    assert store.state.claims[("Patient", "urn:mercy:mrn", "MRN1")] == Ref("Patient", first["id"])


def test_the_stranger_again_finds_his_own_record(hub: Any, store: FakeStore) -> None:
    send(hub, bundle())
    send(hub, bundle(number="m2", visit="V9", family="Miller", born="1990-01-01"))
    send(hub, bundle(number="m3", visit="V10", family="Miller", born="1990-01-01", end="2026-11-21T15:00:00-05:00"))
    assert len(store.current("Patient")) == 2
    assert len(store.open_reviews("identity")) == 1


def test_the_true_name_of_one_admitted_as_unknown_is_applied_and_told(hub: Any, store: FakeStore) -> None:
    send(hub, bundle("admit", number="m0", family="Doe", born="1900-01-01"))
    send(hub, bundle())
    (client,) = store.current("Patient")
    assert client["name"][0]["family"] == "Rivera"
    assert len(store.open_reviews("identity")) == 1


# ------------------------------------------------------------------------------------------------ failure


def test_a_store_that_is_down_gives_no_answer(hub: Any, store: FakeStore) -> None:
    store.fails.add("begin")
    with pytest.raises(ConnectionError):
        send(hub, bundle())


def test_a_store_that_dies_before_the_commit_keeps_nothing_and_the_message_comes_again(hub: Any, store: FakeStore) -> None:
    before = copy.copy(store.state)
    store.fails.add("commit")
    with pytest.raises(ConnectionError):
        send(hub, bundle())
    assert store.state == before
    store.fails.clear()
    assert send(hub, bundle()).message.code == "AA"
    assert len(store.current("CarePlan")) == 1


def test_what_keeps_changing_is_given_back_unstored(hub: Any, store: FakeStore) -> None:
    send(hub, bundle("admit", number="m0"))

    def busy() -> None:
        store.between = None
        with store.write() as tx:
            (held,) = [s for s in tx.plans._live() if s.type == "Encounter"]
            tx.inbox.add_event(type(store.state.events[0])(held.id, f"x{len(store.state.events)}", "A08", 1, 0, {"action": "update"}))
        store.between = busy

    store.between = busy
    with pytest.raises(Unavailable):
        send(hub, bundle())


def test_an_invalid_resource_is_kept_whole_and_nothing_is_applied(hub: Any, store: FakeStore) -> None:
    broken = bundle()
    broken["entry"][2]["resource"]["birthDate"] = "04.03.1956"
    before = versions(store)
    taken = send(hub, broken)
    assert (taken.message.code, taken.message.state) == ("AE", "kept")
    assert versions(store) == before
    assert any("birthDate" in p["path"] for p in taken.message.problems)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[]", b'{"resourceType":"Bundle","type":"document"}', b"[" * 100_000])
def test_what_cannot_be_read_is_rejected_and_kept_with_its_bytes(hub: Any, store: FakeStore, raw: bytes) -> None:
    taken = send(hub, raw)
    assert (taken.message.code, taken.message.state, taken.status) == ("AR", "rejected", 400)
    assert store.state.messages[taken.message.id].raw == raw
    assert json.loads(taken.message.answer)["resourceType"] == "OperationOutcome"
    assert send(hub, raw).duplicate


def test_an_unknown_sender_is_not_found(hub: Any) -> None:
    with pytest.raises(NotFound):
        send(hub, bundle(), "nobody")


# ------------------------------------------------------------------------------------------------ replay


def test_a_kept_message_is_applied_once_its_cause_is_mended(hub: Any, store: FakeStore) -> None:
    broken = bundle()
    broken["entry"][2]["resource"]["birthDate"] = "04.03.1956"
    kept = send(hub, broken)
    with store.write() as tx:
        tx.partners.save(Partner("mercy", title="Mercy", organization="o-mercy", lenient=True))
    done = replay(hub, kept.message.id, Agent(HUB, admin=True))
    assert (done.message.state, done.message.code, done.message.replays) == ("review", "AA", 1)
    assert done.message.answer == kept.message.answer
    assert len(store.current("CarePlan")) == 1


def test_replaying_what_was_applied_changes_nothing(hub: Any, store: FakeStore) -> None:
    taken = send(hub, bundle())
    before, events = versions(store), store.state.events
    done = replay(hub, taken.message.id, Agent(HUB, admin=True))
    assert done.message.replays == 1
    assert (versions(store), store.state.events) == (before, events)


def test_what_is_not_here_cannot_be_replayed(hub: Any) -> None:
    with pytest.raises(NotFound):
        replay(hub, "none", Agent(HUB, admin=True))


def test_what_was_too_large_to_keep_cannot_be_replayed(hub: Any, store: FakeStore) -> None:
    taken = send(hub, bundle())
    with store.write() as tx:
        from dataclasses import replace

        tx.inbox.update(replace(taken.message, raw=None))
    with pytest.raises(Conflict):
        replay(hub, taken.message.id, Agent(HUB, admin=True))
