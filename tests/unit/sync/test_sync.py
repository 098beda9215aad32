"""Dialects, shadows, judgement and the schedule of retries: pure."""

from __future__ import annotations

from typing import Any

import pytest

from fhircase.plans.change import Ref
from fhircase.sync import judge, schedule, shadow
from fhircase.sync.dialect import Dialect

GOAL = Ref("Goal", "g1")
BASE = "http://rehab.example/fhir"


def goal(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Goal", "id": "g1", "lifecycleStatus": "active", "subject": {"reference": "Patient/p"}, **more}


# ---------------------------------------------------------------- dialect


def test_a_dialect_survives_its_way_through_the_partners_record() -> None:
    made = Dialect(
        create_by_type={"Goal": "put"}, ids="any", stale=frozenset({409}), drops={"Goal": ("note",)}, patient_params={"Task": ()}
    )
    assert Dialect.of(made.as_json()) == made
    assert Dialect.of({"learnt by a later version": 1}) == Dialect()


def test_creating_goes_down_the_ladder_by_what_the_server_can() -> None:
    assert Dialect().creates("Goal") == "if-none-exist"
    assert Dialect(create_by_type={"Goal": "put"}, ids="any").creates("Goal") == "put"
    assert Dialect(create_by_type={"Goal": "put"}, ids="none").creates("Goal") == "search"
    assert Dialect(ids="any").creates("Provenance") == "put"


def test_a_chosen_id_holds_a_letter_unless_only_uuids_are_taken() -> None:
    assert Dialect(ids="any").remote_id("123") == "fc-123"
    assert Dialect(ids="uuid").remote_id("0a-1") == "0a-1"


# ---------------------------------------------------------------- shadow


def test_equal_means_equal_without_id_meta_narrative_and_with_decimals_as_numbers() -> None:
    from fhircase.fhir.jsontext import Number

    ours = goal(meta={"versionId": "3", "tag": [{"code": "x"}], "profile": ["p"]}, text={"div": "a"}, valueDecimal=Number("1.50"))
    theirs = {**goal(meta={"versionId": "9", "profile": ["p"]}, valueDecimal=Number("1.5")), "id": "77"}
    assert shadow.differing(shadow.essence(ours), shadow.essence(theirs)) == frozenset()
    assert shadow.differing(shadow.essence(ours), shadow.essence({**theirs, "meta": {}})) == {"meta"}


def test_out_and_back_again_is_the_same() -> None:
    ours = goal(
        expressedBy={"reference": "Practitioner/d", "display": "Dr"},
        addresses=[
            {"reference": "Condition/never"},
            {"reference": "Condition/known-otherwise", "identifier": {"system": "s", "value": "v"}},
        ],
        contained=[{"resourceType": "Organization", "id": "o"}],
        note=[{"authorReference": {"reference": "#o"}, "text": "x"}],
    )
    remotes = {Ref("Patient", "p"): "88", Ref("Practitioner", "d"): "99"}
    locals_ = {(ref.type, remote): ref for ref, remote in remotes.items()}
    form = shadow.outgoing(ours, remotes.__contains__)
    sent = shadow.wire(form, GOAL, "77", remotes.get, base_url=BASE)
    assert sent["subject"] == {"reference": "Patient/88"} and sent["id"] == "77"
    assert sent["addresses"][0] == {"type": "Condition", "identifier": {"system": "urn:fhircase:id", "value": "Condition/never"}}
    assert sent["addresses"][1] == {"type": "Condition", "identifier": {"system": "s", "value": "v"}}
    assert sent["note"][0]["authorReference"] == {"reference": "#o"}
    assert sent["identifier"] == [{"system": "urn:fhircase:id", "value": "Goal/g1"}]
    back = shadow.incoming(sent, GOAL, lambda type_, id_: locals_.get((type_, id_)), base_url=BASE, ours=ours)
    assert shadow.essence(back) == shadow.essence(ours)


def test_an_unknown_target_becomes_their_address_and_goes_back_relative() -> None:
    theirs = {"resourceType": "Goal", "id": "77", "subject": {"reference": "Patient/elsewhere"}}
    ours = shadow.incoming(theirs, GOAL, lambda type_, id_: None, base_url=BASE)
    assert ours["subject"] == {"reference": f"{BASE}/Patient/elsewhere"}
    assert shadow.wire(shadow.essence(ours), GOAL, "77", lambda ref: None, base_url=BASE)["subject"] == {"reference": "Patient/elsewhere"}
    other = shadow.wire(shadow.essence(ours), GOAL, "5", lambda ref: None, base_url="http://home.example/fhir")
    assert other["subject"] == {"reference": f"{BASE}/Patient/elsewhere"}


def test_absolute_references_to_its_own_server_are_read_like_relative_ones() -> None:
    theirs = {"resourceType": "Goal", "id": "77", "subject": {"reference": f"{BASE}/Patient/88"}}
    ours = shadow.incoming(theirs, GOAL, lambda type_, id_: Ref("Patient", "p") if id_ == "88" else None, base_url=BASE)
    assert ours["subject"] == {"reference": "Patient/p"}


def test_one_identifier_types_keep_the_one_they_have() -> None:
    answer = {"resourceType": "QuestionnaireResponse", "identifier": {"system": "s", "value": "v"}}
    ref = Ref("QuestionnaireResponse", "q")
    assert shadow.identified(answer, ref) == answer and shadow.criteria(answer, ref) == "s|v"
    assert shadow.identified({"resourceType": "QuestionnaireResponse"}, ref)["identifier"]["value"] == str(ref)


def test_entered_in_error_takes_the_clinical_status_along() -> None:
    made = shadow.retracted({"resourceType": "Condition", "clinicalStatus": {"text": "active"}, "code": {"text": "x"}})
    assert made is not None and "clinicalStatus" not in made and made["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
    assert shadow.retracted({"resourceType": "RelatedPerson"}) is None


# ---------------------------------------------------------------- judge


def bare(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Goal", **more}


def test_what_the_server_loses_is_not_sent_again() -> None:
    form = bare(note="n", a="1")
    assert judge.unsent(form, form) == frozenset()
    assert judge.unsent(bare(note="n", a="2"), form) == {"a"}
    assert judge.unsent(bare(note="n", a="2"), form, frozenset({"a"})) == frozenset()


def version(etag: str, **body: Any) -> judge.Version:
    return judge.Version(etag, None, bare(**body))


def test_only_a_version_proves_that_an_unanswered_write_landed() -> None:
    history = [version("3", a="2", b="theirs"), version("2", a="2"), version("1", a="1")]
    found = judge.landed(bare(a="2"), bare(a="1"), bare(a="1"), "1", history, frozenset(), history[0])
    assert found == bare(a="2")
    history = [version("2", a="1", b="theirs"), version("1", a="1")]
    assert judge.landed(bare(a="2"), bare(a="1"), bare(a="1"), "1", history, frozenset(), history[0]) is judge.Landed.NO


def test_without_a_history_one_numbered_step_is_proof_and_two_are_not() -> None:
    args = (bare(a="2"), bare(a="1"), bare(a="1"), "1", None, frozenset[str]())
    assert judge.landed(*args, version("2", a="2")) == bare(a="2")
    assert judge.landed(*args, version("2", a="x")) is judge.Landed.NO
    assert judge.landed(*args, version("3", a="2")) is judge.Landed.UNKNOWN


def judged(ours: dict[str, Any], theirs: dict[str, Any], **how: Any) -> judge.Judgement:
    usual: dict[str, Any] = {
        "stored": None,
        "sent": None,
        "pend": None,
        "arrived": judge.Landed.NO,
        "held": frozenset(),
        "form": lambda body: body,
    }
    return judge.judge(ours, theirs, **{**usual, **how})


def test_our_own_unanswered_write_is_the_base_once_it_is_proven() -> None:
    was, tried = bare(a="1"), bare(a="2")
    found = judged(bare(a="3"), bare(a="2", b="theirs"), stored=was, sent=was, pend=tried, arrived=tried)
    assert (found.merged, found.clashes) == (bare(a="3", b="theirs"), ())


def test_what_cannot_be_proven_is_asked_and_not_guessed() -> None:
    was, tried = bare(a="1"), bare(a="2")
    found = judged(bare(a="2"), bare(a="1", b="theirs"), stored=was, sent=was, pend=tried, arrived=judge.Landed.UNKNOWN)
    assert [clash.element for clash in found.clashes] == ["a"] and found.merged == bare(a="2", b="theirs")


def test_older_versions_and_times_are_behind_but_a_drifting_clock_is_not() -> None:
    assert judge.behind("3", None, "2", None, None, 0)
    assert not judge.behind("2", None, "3", None, None, 0)
    assert judge.behind("uuid-a", "x", "uuid-b", 0, 600_000, 300_000)
    assert not judge.behind("uuid-a", "x", "uuid-b", 500_000, 600_000, 300_000)


@pytest.mark.parametrize(("gone", "linked", "stops"), [(1, 3, False), (2, 100, False), (2, 10, True), (6, 10_000, True), (5, 50, False)])
def test_a_mass_deletion_stops_everything(gone: int, linked: int, stops: bool) -> None:
    assert judge.mass(gone, linked) is stops


# ---------------------------------------------------------------- schedule


def test_pauses_double_from_one_second_to_five_minutes_and_stay_there() -> None:
    pauses = [schedule.pause(n, first_ms=1_000, max_ms=300_000, spread=0.25, jitter=0.5) for n in range(12)]
    assert pauses == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000, 300_000, 300_000]
    assert schedule.pause(10**9, first_ms=1_000, max_ms=300_000, spread=0.25, jitter=0.0) == 225_000


@pytest.mark.parametrize(("asked", "waits"), [(30.0, 30_000), (86_400.0, 300_000), (0.0, 1_000), (-5.0, 1_000), (float("nan"), 1_000)])
def test_retry_after_is_honoured_but_capped(asked: float, waits: int) -> None:
    assert schedule.pause(0, first_ms=1_000, max_ms=300_000, spread=0.0, jitter=0.0, retry_after=asked) == waits


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, "done"), (201, "done"), (401, "later"), (429, "later"), (503, "later"), (302, "later"), (404, "gone"), (410, "gone"),
     (400, "refused"), (422, "refused"), (403, "refused"), (501, "refused")],
)  # fmt: skip
def test_an_outage_pauses_and_only_content_is_refused(status: int, verdict: str) -> None:
    assert schedule.verdict(status) == verdict


def test_a_write_is_known_again_though_what_it_refers_to_became_or_ceased_to_be_readable_as_ours() -> None:
    def literal(name: str) -> dict[str, Any]:
        return {"reference": f"Goal/{name}"}

    def logical(name: str) -> dict[str, Any]:
        return {"type": "Goal", "identifier": {"system": shadow.HUB_SYSTEM, "value": f"Goal/{name}"}}

    def plan(*goals: dict[str, Any]) -> dict[str, Any]:
        return {"resourceType": "CarePlan", "goal": list(goals)}

    for stored in (plan(logical("old")), plan(literal("old"))):
        history = [version("2", **plan(literal("new"))), version("1", **stored)]
        found = judge.landed(plan(logical("new")), stored, plan(logical("old")), "1", history, frozenset(), history[0])
        assert found == plan(literal("new"))
        other = [version("2", **plan(literal("other"))), version("1", **stored)]
        assert judge.landed(plan(logical("new")), stored, plan(logical("old")), "1", other, frozenset(), other[0]) is judge.Landed.NO


def test_what_is_kept_as_ours_and_meant_as_a_logical_reference_is_written_once_and_in_our_order() -> None:
    def logical(name: str) -> dict[str, Any]:
        return {"type": "Goal", "identifier": {"system": shadow.HUB_SYSTEM, "value": f"Goal/{name}"}}

    meant = {"resourceType": "CarePlan", "goal": [logical("a"), logical("b")]}
    held = {"resourceType": "CarePlan", "goal": [{"reference": "Goal/a"}, {"reference": "Goal/b"}]}
    form = {"resourceType": "CarePlan", "goal": [logical("a"), logical("b"), logical("c")]}
    assert judge.written(form, held, meant) == form


def test_a_logical_reference_that_ours_has_left_behind_is_not_their_edit() -> None:
    def plan(*entries: dict[str, Any]) -> dict[str, Any]:
        return {"resourceType": "CarePlan", "goal": list(entries)}

    logical = {"type": "Goal", "identifier": {"system": shadow.HUB_SYSTEM, "value": "Goal/old"}}
    ours, base, theirs = plan({"reference": "Goal/new"}), plan({"reference": "Goal/old"}), plan(logical)
    found = judge.judge(
        ours, theirs, stored=base, sent=plan(logical), pend=None, arrived=judge.Landed.NO, held=frozenset(), form=lambda body: body
    )
    assert found.merged == ours and not found.taken and not found.clashes
