"""ADT and REF messages through the project's own mappings, on a store in memory."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from fhircase.flows.take_in import Taken, take_in
from fhircase.mapping import Mappings
from fhircase.plans.change import Agent, Ref
from fhircase.plans.partner import HUB, Partner
from tests.conftest import FrozenClock, build_hub
from tests.fakes.store import FakeStore

MERCY = Partner(
    "mercy",
    title="Mercy",
    organization="o-mercy",
    role="hospital",
    authorities={"MERCY": "urn:oid:2.16.840.1.113883.19.5"},
    zone="America/New_York",
)
SUNNY = Partner("sunny", title="Sunny", organization="o-sunny", role="rehab", dispositions=("rehab",), identifiers=(("urn:npi", "SUNNY1"),))
COUNTY = Partner(HUB, title="County", organization="o-hub")
MRN = "urn:oid:2.16.840.1.113883.19.5"
ADMITTED, MOVED, LEFT, LATER = "20261110080000-0500", "20261112090000-0500", "20261120142500-0500", "20261120180000-0500"


@pytest.fixture(scope="module")
def maps() -> Mappings:
    return Mappings.load()


@pytest.fixture
def store() -> FakeStore:
    made = FakeStore()
    with made.write() as tx:
        for partner in (COUNTY, MERCY, SUNNY):
            tx.partners.save(partner)
    return made


@pytest.fixture
def hub(store: FakeStore, maps: Mappings) -> Any:
    return build_hub(store, clock=FrozenClock(), maps=maps)


def segment(name: str, **fields: str) -> str:
    """``segment("PV1", _2="I", _19="V1")``."""
    numbered = {int(number.lstrip("_")): text for number, text in fields.items()}
    return name + "|" + "|".join(numbered.get(number, "") for number in range(1, max(numbered) + 1))


def adt(
    event: str,
    happened: str,
    *,
    number: str = "",
    visit: str | None = "V777^^^MERCY^VN",
    mrn: str = "MRN12345",
    pid: dict[str, str] | None = None,
    extra: tuple[str, ...] = (),
    processing: str = "P",
    sent: str = "",
    **pv1: str,
) -> bytes:
    head = [
        "MSH",
        "^~\\&",
        "EPIC",
        "MERCY",
        "FHIRCASE",
        "COUNTY",
        sent or happened,
        "",
        f"ADT^{event}",
        number or f"{event}-{happened}",
        processing,
        "2.5.1",
    ]
    person = {
        "_3": f"{mrn}^^^MERCY^MR~999-11-2222^^^USSSA^SS",
        "_5": "Rivera^Ana^Q",
        "_7": "19560304",
        "_8": "F",
        "_11": "12 Main St^^Salem^OR^97301",
    } | (pid or {})
    stay = {"_2": "I", "_3": "4E^401^B", "_7": "1234567893^Welby^Marcus^^^Dr^^^NPI&2.16.840.1.113883.4.6&ISO"} | pv1
    if visit:
        stay["_19"] = visit
    segments = ["|".join(head), segment("EVN", _2=happened), segment("PID", **person), segment("PV1", **stay), *extra]
    return "\r".join(segments).encode() + b"\r"


def a01(**other: Any) -> bytes:
    return adt("A01", ADMITTED, _44=ADMITTED, **other)


def a03(**other: Any) -> bytes:
    return adt("A03", LEFT, **{"_36": "62", "_44": ADMITTED, "_45": LEFT, "extra": ("DG1|1||I50.9^Heart failure^I10|||F",), **other})


def send(hub: Any, raw: bytes, partner: str = "mercy") -> Taken:
    return take_in(hub, partner, "hl7v2", raw, "application/hl7-v2", agent=Agent(partner))


def only(store: FakeStore, type_: str) -> dict[str, Any]:
    (found,) = store.current(type_)
    return found


def versions(store: FakeStore) -> dict[Ref, int]:
    return {ref: held[-1].version for ref, held in store.state.versions.items() if ref.type != "Provenance"}


def test_a_discharge_becomes_one_plan_and_a_correct_acknowledgement(hub: Any, store: FakeStore) -> None:
    taken = send(hub, a03(number="MSG42"))
    assert b"\rMSA|AA|MSG42" in taken.message.answer
    assert (taken.message.state, [r.kind for r in store.open_reviews()]) == ("applied", [])
    client, visit, plan, task = only(store, "Patient"), only(store, "Encounter"), only(store, "CarePlan"), only(store, "Task")
    assert (client["name"][0]["family"], client["birthDate"]) == ("Rivera", "1956-03-04")
    assert {"system": MRN, "value": "MRN12345"}.items() <= client["identifier"][0].items()
    assert (visit["status"], visit["class"]["code"], visit["subject"]) == ("finished", "IMP", {"reference": f"Patient/{client['id']}"})
    assert (visit["period"]["start"], visit["period"]["end"]) == ("2026-11-10T08:00:00-05:00", "2026-11-20T14:25:00-05:00")
    assert [c["code"] for c in visit["hospitalization"]["dischargeDisposition"]["coding"]][0] in ("rehab", "62")
    assert plan["addresses"] == [{"reference": f"Condition/{only(store, 'Condition')['id']}"}]
    assert (task["status"], task["owner"]["reference"]) == ("requested", "Organization/o-sunny")
    assert {g["lifecycleStatus"] for g in store.current("Goal")} == {"proposed"}
    assert {s["intent"] for s in store.current("ServiceRequest")} == {"proposal"}


def test_every_value_names_the_place_that_it_was_read_from(hub: Any, store: FakeStore) -> None:
    send(hub, a03())
    text = "".join(repr(p) for p in store.current("Provenance"))
    for element, place in (("period.end", "PV1-45"), ("birthDate", "PID-7"), ("hospitalization.dischargeDisposition", "PV1-36")):
        assert element in text and place in text


def test_the_social_security_number_is_kept_and_never_claims(hub: Any, store: FakeStore) -> None:
    send(hub, a03())
    assert "999-11-2222" in [i["value"] for i in only(store, "Patient")["identifier"]]
    assert [value for _, _, value in store.state.claims if value == "999-11-2222"] == []


def test_the_same_message_twice_changes_nothing(hub: Any, store: FakeStore) -> None:
    first = send(hub, a03())
    state = store.state
    assert send(hub, a03()).message.answer == first.message.answer
    assert store.state == state


def test_another_body_under_the_same_id_is_kept_unapplied(hub: Any, store: FakeStore) -> None:
    send(hub, a03(number="MSG42"))
    taken = send(hub, a03(number="MSG42", _36="01"))
    assert (taken.message.state, taken.message.code) == ("kept", "AE")
    assert b"MSA|AE|MSG42" in taken.message.answer
    assert b"\rERR|" in taken.message.answer


def test_an_update_with_the_same_facts_makes_no_new_versions(hub: Any, store: FakeStore) -> None:
    send(hub, a01())
    before = versions(store)
    send(hub, adt("A08", MOVED, _44=ADMITTED))
    send(hub, adt("A31", MOVED))
    assert versions(store) == before


def test_absent_keeps_and_two_quotes_delete(hub: Any, store: FakeStore) -> None:
    send(hub, a01())
    send(hub, adt("A08", MOVED, pid={"_11": "", "_8": ""}))
    assert only(store, "Patient")["address"][0]["city"] == "Salem"
    send(hub, adt("A08", "20261113090000-0500", pid={"_11": '""'}))
    assert "address" not in only(store, "Patient")


def test_the_events_of_a_visit_end_alike_in_every_order_of_arrival(maps: Mappings) -> None:
    messages = (a01(), adt("A02", MOVED, _3="ICU^2", _6="4E^401^B"), a03(_3="ICU^2"))
    ends = set()
    for arrival in permutations(messages):
        store = FakeStore()
        with store.write() as tx:
            for partner in (COUNTY, MERCY, SUNNY):
                tx.partners.save(partner)
        hub = build_hub(store, clock=FrozenClock(), maps=maps)
        for raw in arrival:
            assert send(hub, raw).message.code == "AA"
        visit = only(store, "Encounter")
        places = [(p["location"]["display"], p["status"]) for p in visit["location"]]
        ends.add(repr((visit["status"], visit["period"], places, len(store.current("Task")), len(store.current("CarePlan")))))
        assert store.open_reviews("order") == []
    assert len(ends) == 1


def test_a_late_transfer_does_not_reopen(hub: Any, store: FakeStore) -> None:
    send(hub, a03())
    send(hub, adt("A02", MOVED, _3="ICU^2", _6="4E^401^B"))
    assert only(store, "Encounter")["status"] == "finished"


def test_a_cancelled_discharge_goes_on_and_takes_the_hand_over_back(hub: Any, store: FakeStore) -> None:
    send(hub, a01())
    send(hub, a03())
    send(hub, adt("A13", LATER, _36="62", _44=ADMITTED, _45=LEFT))
    visit = only(store, "Encounter")
    assert visit["status"] == "in-progress"
    assert "end" not in visit["period"]
    assert "dischargeDisposition" not in visit.get("hospitalization", {})
    assert only(store, "Task")["status"] == "cancelled"


def test_a_discharge_again_after_it_was_cancelled_asks_again(hub: Any, store: FakeStore) -> None:
    send(hub, a03())
    send(hub, adt("A13", LATER))
    send(hub, adt("A03", "20261121100000-0500", _36="62", _45="20261121100000-0500"))
    assert sorted(t["status"] for t in store.current("Task")) == ["cancelled", "requested"]
    assert len(store.current("CarePlan")) == 1


def test_an_accepted_hand_over_is_asked_for_back(hub: Any, store: FakeStore) -> None:
    send(hub, a03())
    task = only(store, "Task")
    from fhircase.flows import commit
    from fhircase.plans.change import Change, Source, Write

    change = Change((Write("Task", task["id"], {**task, "status": "accepted"}),), Agent(HUB), Source("hub"), "accepted")
    with store.write() as tx:
        commit.commit(hub, tx, commit.check(change))
    send(hub, adt("A13", LATER))
    states = {t["code"]["text"]: t["status"] for t in store.current("Task")}
    assert states == {"Hand-over": "accepted", "Cancel the hand-over": "requested"}


def test_a_cancelled_admission_is_cancelled(hub: Any, store: FakeStore) -> None:
    send(hub, a01())
    send(hub, adt("A11", MOVED))
    assert only(store, "Encounter")["status"] == "cancelled"


def test_a_discharge_time_on_an_admission_does_not_discharge(hub: Any, store: FakeStore) -> None:
    send(hub, a01(_45="20110101000000-0500", _36="Ready to go"))
    visit = only(store, "Encounter")
    assert (visit["status"], "end" in visit["period"], "hospitalization" in visit) == ("in-progress", False, False)


def test_a_person_update_makes_no_visit(hub: Any, store: FakeStore) -> None:
    send(hub, adt("A31", MOVED))
    send(hub, adt("A28", MOVED))
    assert (len(store.current("Patient")), store.current("Encounter")) == (1, [])


def test_an_update_without_a_visit_number_makes_no_stay(hub: Any, store: FakeStore) -> None:
    send(hub, adt("A08", MOVED, visit=None))
    assert (len(store.current("Patient")), store.current("Encounter")) == (1, [])


def test_an_admission_without_a_visit_number_is_one_stay_however_often_it_is_told(hub: Any, store: FakeStore) -> None:
    send(hub, a01(visit=None))
    send(hub, adt("A01", MOVED, visit=None))
    send(hub, a03(visit=None))
    assert only(store, "Encounter")["status"] == "finished"
    assert len(store.current("Task")) == 1


def test_times_without_a_zone_are_kept_to_the_day_and_the_zone_is_asked_for_once(hub: Any, store: FakeStore) -> None:
    with store.write() as tx:
        tx.partners.save(Partner("nowhere", organization="o-n"))
    for number in ("1", "2"):
        send(
            hub,
            adt("A03", "20261120142500", number=number, _36="62", _44="20261110080000", _45="20261120142500", visit=f"V{number}"),
            "nowhere",
        )
    assert {e["period"]["end"] for e in store.current("Encounter")} == {"2026-11-20"}
    assert len(store.open_reviews("no-zone")) == 1


def test_a_test_message_says_so_where_it_is_accepted(hub: Any, store: FakeStore) -> None:
    assert send(hub, a01(processing="T")).message.code == "AR"
    with store.write() as tx:
        tx.partners.save(Partner("lab", organization="o-lab", processing_ids=("T",), authorities=dict(MERCY.authorities)))
    assert send(hub, a01(processing="T"), "lab").message.code == "AA"
    assert only(store, "Encounter")["meta"]["tag"][0]["code"] == "T"


def test_a_merge_repoints_everything_and_both_numbers_find_the_survivor(hub: Any, store: FakeStore) -> None:
    send(hub, a03(mrn="OLD1"))
    send(hub, adt("A28", ADMITTED, mrn="NEW1"))
    old, new = store.current("Patient")
    merge = adt("A40", LATER, mrn="NEW1", visit=None, extra=("MRG|OLD1^^^MERCY^MR",))
    assert send(hub, merge).message.code == "AA"
    retired, survivor = store.current("Patient")
    assert (retired["id"], retired["active"], retired["link"][0]["type"]) == (old["id"], False, "replaced-by")
    assert survivor["link"][0]["type"] == "replaces"
    assert {"OLD1": "old"}.items() <= {i["value"]: i.get("use") for i in survivor["identifier"]}.items()
    for type_, element in (
        ("Encounter", "subject"),
        ("EpisodeOfCare", "patient"),
        ("CarePlan", "subject"),
        ("CareTeam", "subject"),
        ("Task", "for"),
        ("Condition", "subject"),
    ):
        assert only(store, type_)[element]["reference"] == f"Patient/{new['id']}"
    assert store.state.claims[("Patient", MRN, "OLD1")] == Ref("Patient", new["id"]) == store.state.claims[("Patient", MRN, "NEW1")]
    members = {g.client for g in store.state.grants.values() if g.kind == "member" and g.until is None}
    assert members == {new["id"]}
    send(hub, adt("A08", "20261121090000-0500", mrn="OLD1"))
    assert len(store.current("Patient")) == 2


def test_a_merge_told_twice_changes_nothing_and_its_opposite_is_asked_about(hub: Any, store: FakeStore) -> None:
    send(hub, a03(mrn="OLD1"))
    send(hub, adt("A28", ADMITTED, mrn="NEW1"))
    send(hub, adt("A40", LATER, mrn="NEW1", visit=None, extra=("MRG|OLD1^^^MERCY^MR",)))
    before = versions(store)
    send(hub, adt("A40", LATER, number="again", mrn="NEW1", visit=None, extra=("MRG|OLD1^^^MERCY^MR",)))
    assert versions(store) == before
    send(hub, adt("A40", LATER, number="inverse", mrn="OLD1", visit=None, extra=("MRG|NEW1^^^MERCY^MR",)))
    assert versions(store) == before
    assert [r.detail["doubt"] for r in store.open_reviews("identity")] == ["inverse"]


def test_a_merge_of_a_number_with_itself_changes_nothing(hub: Any, store: FakeStore) -> None:
    send(hub, a03())
    before = versions(store)
    assert send(hub, adt("A40", LATER, visit=None, extra=("MRG|MRN12345^^^MERCY^MR",))).message.code == "AA"
    assert versions(store) == before


def test_a_client_who_only_got_a_new_number_keeps_the_record(hub: Any, store: FakeStore) -> None:
    send(hub, a03(mrn="OLD1"))
    send(hub, adt("A40", LATER, mrn="NEW1", visit=None, extra=("MRG|OLD1^^^MERCY^MR",)))
    client = only(store, "Patient")
    assert {i["value"]: i.get("use") for i in client["identifier"]}.items() >= {"OLD1": "old"}.items()
    send(hub, adt("A08", "20261121090000-0500", mrn="NEW1"))
    send(hub, adt("A08", "20261121090000-0500", number="x", mrn="OLD1"))
    assert len(store.current("Patient")) == 1


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "AR"),
        (b"\x00\x01\x02", "AR"),
        (b"MSH|^~\\&|EPIC", "AR"),
        (a03().replace(b"ADT^A03", b"ADT^Z99"), "AR"),
        (a03().replace(b"PID|", b"XID|"), "AR"),
        (a03()[:40], "AR"),
        (a03(mrn="").replace(b"999-11-2222^^^USSSA^SS", b""), "AE"),
    ],
)
def test_bad_input_is_answered_kept_and_never_half_applied(hub: Any, store: FakeStore, raw: bytes, code: str) -> None:
    taken = send(hub, raw)
    assert taken.message.code == code
    assert f"MSA|{code}".encode() in taken.message.answer
    assert store.current("Patient") == []
    assert store.state.messages[taken.message.id].raw == raw


def test_a_defect_of_ours_keeps_the_message_answers_ae_and_a_replay_applies_it(
    hub: Any, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fhircase.flows import drafting
    from fhircase.flows import take_in as module

    real = drafting.draft

    def broken(*given: Any) -> Any:
        raise KeyError("a defect")

    monkeypatch.setattr(drafting, "draft", broken)
    taken = send(hub, a01(number="POISON"))
    assert taken.message.code == "AE"
    assert b"MSA|AE|POISON" in taken.message.answer
    assert b"a defect'" not in taken.message.answer and b"KeyError" not in taken.message.answer
    assert store.current("Patient") == []
    monkeypatch.setattr(drafting, "draft", real)
    assert module.replay(hub, taken.message.id, Agent(HUB, None, True)).message.state in ("applied", "review", "replayed")
    assert len(store.current("Patient")) == 1
