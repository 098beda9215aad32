"""The concepts of the case itself: entered by one door, read by another and at the partners, acted on, and what must not set it off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fhircase.flows import enrol
from fhircase.flows.hub import Hub
from fhircase.mapping import Mappings
from tests.api.conftest import ADMIN, Api, body
from tests.conftest import FrozenClock
from tests.stories.concepts.doors import by_case, by_key, by_server, coded, everywhere, held
from tests.stories.concepts.place import Place
from tests.stories.concepts.rows import row

CLIENT = {"reference": "{client}"}
PHASE = "urn:fhircase:extension:phase"
CASE_KIND = "urn:fhircase:codes:case-kind"
CASE_MODEL = "urn:fhircase:codes:case-model"
MRN = {
    "system": "urn:oid:1.2.3", "value": "MRN-7",
    "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
}  # fmt: skip


@pytest.fixture
def place(make_hub: Callable[..., Hub], clock: FrozenClock, maps: Mappings) -> Place:
    return Place(make_hub, clock, maps)


def put(place: Place, reference: str, **elements: Any) -> None:
    """By the FHIR door, with a key of the hub; None takes an element away."""
    made = {name: value for name, value in {**place.fhir(reference), **elements}.items() if value is not None}
    answer = place.manager.put(f"/fhir/{reference}", made)
    assert answer.status_code == 200, answer.get_data(as_text=True)


def codes(concepts: list[dict[str, Any]], system: str) -> set[str]:
    """The codes of one system in a list of CodeableConcepts."""
    return {coding["code"] for one in concepts for coding in one.get("coding", ()) if coding.get("system") == system}


def hospital(place: Place) -> Api:
    """A hospital that sends HL7 v2, and knows the client as MRN-7."""
    record, _ = enrol.read_partner({
        "name": "mercy", "role": "hospital", "title": "Mercy", "zone": "America/New_York", "authorities": {"MERCY": MRN["system"]},
    })  # fmt: skip
    enrol.partner(place.hub, ADMIN, record, new=True)
    put(place, place.refs["client"], identifier=[MRN])
    return place.town.key("mercy")


def adt(event: str, control: str, happened: str, *, pid: str = "MRN-7^^^MERCY^MR||Okafor^Ruth||19481103|F", visit: str = "V-7") -> bytes:
    """Admission (A01), discharge to rehab (A03) or update of the person (A31)."""
    end, disposition = (happened, "62") if event == "A03" else ("", "")
    stay = f"PV1|1|I|4E^401^B|||||||MED|||||||||{visit}^^^MERCY^VN|||||||||||||||||{disposition}||||||||{happened[:8]}080000-0500|{end}"
    lines = [f"MSH|^~\\&|ADT|MERCY|HUB|NET|{happened}||ADT^{event}|{control}|P|2.5.1", f"EVN||{happened}||||{happened}", f"PID|1||{pid}"]
    return "\r".join([*lines, *([] if event == "A31" else [stay]), ""]).encode()


def send(mercy: Api, message: bytes) -> None:
    answer = mercy.post("/intake/hl7v2", message, Content_Type="application/hl7-v2")
    assert b"MSA|AA" in answer.data, answer.data


def reviews(place: Place, kind: str) -> list[dict[str, Any]]:
    return [one for one in body(place.manager.get("/reviews"))["items"] if one["kind"] == kind]


def person(place: Place, family: str, **more: Any) -> str:
    """A professional in the directory."""
    return by_key(place, "hub", {"resourceType": "Practitioner", "name": [{"family": family}], **more})


def members(place: Place, *more: dict[str, Any], without: str = "") -> None:
    """The team with these members, less whoever is named."""
    held = [one for one in place.view()["team"]["members"] if one["person"] != without]
    place.patch("/team", {"members": [*held, *more]})


# ------------------------------------------------------------------------------------------------ the case itself


def moved(place: Place, to: str, **document: Any) -> Any:
    """By the case API; the answer."""
    own = to in ("hold", "resume", "close", "reopen")
    told = {"because": f"on to {to}", **document} | ({} if own else {"to": to})
    return place.post(f"/{to}" if own else "/phase", told)


def phase(place: Place, name: str) -> Any:
    """By the FHIR door: an EpisodeOfCare in another phase; the answer."""
    made = {**place.fhir(f"EpisodeOfCare/{place.case}"), "extension": [{"url": PHASE, "valueCode": name}]}
    return place.manager.put(f"/fhir/EpisodeOfCare/{place.case}", made)


@row("case", "shared")
def test_a_move_of_the_case_is_read_as_episode_and_plan_under_fhir_and_at_both_partners_and_the_other_way_round(place: Place) -> None:
    assert moved(place, "assessment", because="she asked for help").status_code == 200
    assert moved(place, "hold", because="in hospital").status_code == 200
    view = place.view()
    episode, plan = f"EpisodeOfCare/{place.case}", f"CarePlan/{view['plan']['id']}"
    held = place.fhir(episode)
    assert (held["status"], held["extension"]) == ("onhold", [{"url": PHASE, "valueCode": "assessment"}])
    assert held["careManager"] == {"reference": place.refs["manager"]} and held["team"] and held["period"]["start"]
    assert [one["status"] for one in held["statusHistory"]] == ["active"]
    assert place.fhir(plan)["status"] == "on-hold"
    told = body(place.manager.get(f"/fhir/Provenance?target={episode}"))["entry"]
    assert {"she asked for help", "in hospital"} <= {one["resource"]["reason"][0]["text"] for one in told}
    everywhere(place, episode, plan)
    assert moved(place, "resume").status_code == 200
    assert phase(place, "planning").status_code == 200
    assert place.view()["episode"]["phase"] == "planning"
    everywhere(place, episode, plan)


@row("case", "acts")
def test_a_case_goes_round_its_cycle_closes_and_reopens_and_every_move_says_who_when_and_why(place: Place) -> None:
    tour = (
        "assessment", "planning", "implementation", "monitoring", "evaluation", "monitoring", "assessment", "planning", "assessment",
        "planning", "implementation", "monitoring", "planning", "implementation", "monitoring", "evaluation", "planning",
        "implementation", "monitoring", "evaluation", "assessment",
    )  # fmt: skip
    for to in tour:
        place.clock.tick(hours=1)
        assert (moved(place, to).status_code, place.view()["episode"]["phase"]) == (200, to)
    entries = body(place.manager.get(f"/cases/{place.case}/timeline?count=200"))["items"][-len(tour) :]
    assert [(one["why"], one["who"]["person"]) for one in entries] == [(f"on to {to}", place.refs["manager"]) for to in tour]
    assert len({one["at"] for one in entries}) == len(tour)
    assert body(moved(place, "close", reason="withdrew"))["episode"]["state"] == "finished", "who withdraws can always close"
    opened = body(moved(place, "reopen", because="came back"))
    assert (opened["episode"]["phase"], opened["episode"]["state"], opened["plan"]["state"]) == ("assessment", "active", "active")


@row("case", "twin")
def test_a_move_that_the_cycle_does_not_know_is_refused_by_both_doors_and_changes_nothing(place: Place) -> None:
    wrong = {
        "intake": ("planning", "implementation", "monitoring", "evaluation"), "assessment": ("implementation", "monitoring", "evaluation"),
        "planning": ("monitoring", "evaluation"), "implementation": ("evaluation",), "monitoring": ("implementation",),
        "evaluation": ("implementation",),
    }  # fmt: skip
    for at, tos in wrong.items():
        if at != "intake":
            assert moved(place, at).status_code == 200
        before = place.fhir(f"EpisodeOfCare/{place.case}")
        for to in tos:
            assert moved(place, to).status_code == 422, (at, to)
            assert phase(place, to).status_code == 422, (at, to)
        assert moved(place, "monitoring" if at == "evaluation" else at, because=" ").status_code == 422, "it says no reason"
        assert place.fhir(f"EpisodeOfCare/{place.case}") == before
    assert moved(place, "close", reason="goals-met").status_code == 422, "a goal is open"
    assert moved(place, "close", reason="withdrew").status_code == 200
    assert moved(place, "assessment").status_code == 422, "it is reopened, not moved"
    place.clock.at += timedelta(days=31)
    assert moved(place, "reopen").status_code == 422, "too late"


# ------------------------------------------------------------------------------------------------ the client


@row("client", "shared")
def test_a_client_who_comes_by_hl7_v2_stands_in_the_case_under_fhir_and_at_both_partners(place: Place) -> None:
    mercy = hospital(place)
    pid = "MRN-9^^^MERCY^MR||Lindqvist^Eva^Maria||19600229|F|||12 Elm Street^^Albany^NY^12207||(518)555-0142"
    send(mercy, adt("A03", "M1", "20261120142500-0500", pid=pid, visit="V-9"))
    (case,) = body(place.manager.get("/cases?name=lindqvist"))["items"]
    place.case = case["id"]
    client = place.view()["client"]
    assert (client["names"][0]["family"], client["born"], client["addresses"][0]["city"]) == ("Lindqvist", "1960-02-29", "Albany")
    assert place.fhir(f"Patient/{client['id']}")["identifier"][0]["value"] == "MRN-9"
    members(place, *({"role": "setting", "person": place.refs[name]} for name in ("rehab", "home")))
    everywhere(place, f"Patient/{client['id']}")


@row("client", "acts")
def test_a_known_number_is_the_same_client_and_a_doubt_is_a_review_never_a_guess(place: Place) -> None:
    mercy = hospital(place)
    send(mercy, adt("A31", "M1", "20261120142500-0500", pid="MRN-7^^^MERCY^MR||Okafor^Ruth||19481103|F|||5 Oak Lane^^Troy^NY^12180"))
    assert place.view()["client"]["addresses"][0]["city"] == "Troy"
    before = len(body(place.manager.get("/fhir/Patient"))["entry"])
    send(mercy, adt("A31", "M2", "20261120152500-0500", pid="MRN-7^^^MERCY^MR||Quist^Olaf||19710402|M"))
    assert reviews(place, "identity"), "one number, two people"
    assert place.view()["client"]["names"][0]["family"] == "Okafor"
    assert len(body(place.manager.get("/fhir/Patient"))["entry"]) == before + 1


@row("client", "twin")
def test_another_number_with_the_same_name_is_another_client(place: Place) -> None:
    mercy = hospital(place)
    before = place.view()["client"]
    send(mercy, adt("A31", "M1", "20261120142500-0500", pid="MRN-8^^^MERCY^MR||Okafor^Ruth||19830101|F"))
    assert place.view()["client"] == before
    assert [one["resource"]["birthDate"] for one in body(place.manager.get("/fhir/Patient?identifier=MRN-8"))["entry"]] == ["1983-01-01"]
    assert reviews(place, "identity") == []


# ------------------------------------------------------------------------------------------------ family


def guardian(place: Place, **period: str) -> str:
    names = [{"family": "Lind", "given": ["Eva"]}]
    return by_case(place, "contacts", {"relationship": "guardian", "names": names, "since": "2026-01-01", **period})


@row("family", "shared")
def test_family_guardian_household_and_how_a_link_stands_are_entered_by_four_doors_and_stand_at_the_other_partner(place: Place) -> None:
    eva = by_key(place, "riverside", {
        "resourceType": "RelatedPerson", "patient": CLIENT, "name": [{"family": "Lind"}], "period": {"start": "2026-01-01"},
        "relationship": [coded("http://terminology.hl7.org/CodeSystem/v3-RoleCode", "GUARD")],
    })  # fmt: skip
    members(place, {"role": "guardian", "person": eva, "since": "2026-01-01", "until": "2026-12-31"})
    given = by_key(place, "hub", {
        "resourceType": "Consent", "status": "active", "patient": CLIENT, "performer": [{"reference": eva}], "dateTime": "2026-11-21",
        "scope": coded("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
        "category": [coded("http://loinc.org", "59284-0")],
        "policyRule": coded("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN"),
    })  # fmt: skip
    household = by_case(place, "households", {"name": "The flat in Elm Street", "quantity": 2})
    place.settle()
    link = by_server(place, "homeward", {
        "resourceType": "Observation", "status": "final", "subject": CLIENT, "focus": [{"reference": "{daughter}"}],
        "category": [coded("assessment-kind", "family-link")], "code": coded("observation-topic", "family-link"),
        "effectiveDateTime": "2026-11-21", "valueCodeableConcept": coded("link-state", "strained"),
    })  # fmt: skip
    contact = held(place, "contacts", eva)
    assert (contact["relationship"], contact["since"]) == ("guardian", "2026-01-01")
    team = place.view()["team"]
    (member,) = [one for one in team["members"] if one["person"] == eva]
    assert (member["since"], member["until"]) == ("2026-01-01", "2026-12-31")
    assert held(place, "consents", given)["by"] == [eva]
    stands = held(place, "family_links", link)
    assert (stands["about"], stands["link"]) == ([place.refs["daughter"]], "strained")
    together = held(place, "households", household)
    assert (together["name"], [one["person"] for one in together["members"]]) == ("The flat in Elm Street", [place.refs["client"]])
    everywhere(place, eva, f"CareTeam/{team['id']}", given, link, household)


@row("family", "acts")
def test_an_ended_guardian_may_neither_give_consent_nor_express_a_goal_nor_decide(place: Place) -> None:
    eva, said = guardian(place, until="2026-06-30"), {"title": "Home", "lifecycle": "active", "started": "2026-11-20"}
    assert place.post("/goals", said | {"set_by": eva}).status_code == 422
    assert place.post("/consents", CONSENT | {"by": [eva]}).status_code == 422
    decision = {"on": place.refs["goal"], "decided": "accepted", "by": eva}
    assert place.post("/decisions", decision).status_code == 422
    goal, consent = by_case(place, "goals", said), by_case(place, "consents", CONSENT | {"by": ["{client}"]})
    put(place, goal, expressedBy={"reference": eva})
    put(place, consent, performer=[{"reference": eva}])
    assert place.points("goal-by-ended-guardian") == [goal]
    assert place.points("consent-without-authority") == [consent]
    assert place.points("plan-without-client-goal"), "the goal is not the client's"


CONSENT = {
    "state": "active", "scope": "privacy", "categories": ["release-of-information"], "given_at": "2026-11-21", "rule": "opt-in",
}  # fmt: skip


@row("family", "twin")
def test_a_valid_guardian_may_give_consent_express_a_goal_and_decide(place: Place) -> None:
    eva = guardian(place, until="2026-12-31")
    place.add("consents", CONSENT | {"by": [eva]})
    goal = place.add("goals", {"title": "Home", "lifecycle": "proposed", "set_by": eva, "started": "2026-11-20"})
    for rule in ("consent-without-authority", "goal-by-ended-guardian", "plan-without-client-goal"):
        assert place.points(rule) == [], rule
    assert place.post("/decisions", {"on": f"Goal/{goal}", "decided": "accepted", "by": eva}).status_code == 200
    assert place.entry("goals", goal)["lifecycle"] == "accepted"


# ------------------------------------------------------------------------------------------------ one owner


@row("owner", "shared")
def test_the_case_manager_named_under_fhir_stands_in_the_case_and_with_the_whole_history_at_both_partners(place: Place) -> None:
    roy = person(place, "Roy")
    episode = f"EpisodeOfCare/{place.case}"
    put(place, episode, careManager={"reference": roy})
    team = place.fhir(f"CareTeam/{place.view()['team']['id']}")
    role = {"role": [coded("team-role", "case-manager")], "member": {"reference": roy}}
    put(place, f"CareTeam/{team['id']}", participant=[*team["participant"], role])
    view = place.view()
    assert view["episode"]["manager"] == roy
    assert {"role": "case-manager", "person": roy}.items() <= view["team"]["members"][-1].items()
    everywhere(place, episode, f"CareTeam/{team['id']}", roy)
    found = body(place.town.key("homeward").get(f"/fhir/{place.refs['client']}/$everything?_count=200"))
    whole = {f"{one['resource']['resourceType']}/{one['resource']['id']}" for one in found["entry"]}
    assert {episode, f"CareTeam/{team['id']}", *(place.refs[name] for name in ("client", "need", "goal", "service"))} <= whole


def owned(place: Place, who: str) -> bool:
    """Whether the case is among those that this person answers for today."""
    mine = body(place.town.key("hub", user=who).get("/cases?mine=true"))["items"]
    return [one["id"] for one in mine] == [place.case]


@row("owner", "acts")
def test_a_case_that_nobody_or_more_than_one_answers_for_deserves_a_look(place: Place) -> None:
    lee, about = place.refs["manager"], [f"EpisodeOfCare/{place.case}"]
    members(place, {"role": "case-manager", "person": lee, "since": "2026-01-01", "until": "2026-11-20"}, without=lee)
    assert place.points("no-accountable-owner") == about, "on leave, and nobody covers"
    roy, may = person(place, "Roy"), person(place, "May")
    both = [{"role": "cover", "person": who, "since": "2026-11-01", "until": "2026-12-01"} for who in (roy, may)]
    members(place, *both)
    assert place.points("no-accountable-owner") == about, "two at once"
    members(place, without=may)
    assert place.points("no-accountable-owner") == [], "one covers"
    place.clock.at += timedelta(days=14)
    assert place.points("no-accountable-owner") == about, "the cover has ended"


@row("owner", "twin")
def test_with_a_manager_or_cover_during_leave_the_case_has_its_one_owner(place: Place) -> None:
    lee = place.refs["manager"]
    assert place.points("no-accountable-owner") == [] and owned(place, lee)
    roy = person(place, "Roy")
    away = {"role": "case-manager", "person": lee, "since": "2026-01-01", "until": "2026-11-20"}
    members(place, away, {"role": "cover", "person": roy, "since": "2026-11-01", "until": "2026-12-01"}, without=lee)
    assert place.points("no-accountable-owner") == []
    assert (owned(place, roy), owned(place, lee)) == (True, False)


# ------------------------------------------------------------------------------------------------ who does the work


@row("team", "shared")
def test_function_profession_and_qualification_are_kept_apart_and_all_reach_the_other_partner(place: Place) -> None:
    roy = by_key(place, "riverside", {
        "resourceType": "Practitioner", "name": [{"given": ["Ada"], "family": "Roy"}],
        "qualification": [{"code": {"text": "Social worker, LCSW"}, "period": {"start": "2020-01-01", "end": "2027-12-31"}}],
    })  # fmt: skip
    in_role = by_key(place, "riverside", {
        "resourceType": "PractitionerRole", "active": True, "practitioner": {"reference": roy}, "organization": {"reference": "{rehab}"},
        "code": [coded("profession", "social-worker")],
    })  # fmt: skip
    members(place, {"role": "case-manager", "person": roy}, {"role": "care-coordinator", "person": in_role})
    view = place.view()
    people = {one["person"]: one for one in view["people"]}
    for who in (roy, in_role):
        assert people[who]["name"] == "Ada Roy"
        assert people[who]["qualifications"] == [{"what": "Social worker, LCSW", "since": "2020-01-01", "until": "2027-12-31"}]
        assert [one["professions"] for one in people[who]["roles"]] == [["social-worker"]]
    team, professional, profession = everywhere(place, f"CareTeam/{view['team']['id']}", roy, in_role)
    functions = [codes(one["role"], "urn:fhircase:codes:team-role") for one in team["participant"][-2:]]
    assert functions == [{"case-manager"}, {"care-coordinator"}]
    assert professional["qualification"] and codes(profession["code"], "urn:fhircase:codes:profession") == {"social-worker"}


@row("team", "acts")
@pytest.mark.parametrize(
    "qualification",
    [[], [{"code": {"text": "Electrician"}}], [{"code": {"text": "Registered nurse, RN"}, "period": {"end": "2026-10-31"}}]],
    ids=["none", "another", "expired"],
)
def test_a_role_without_the_qualification_that_it_needs_warns_and_stands(place: Place, qualification: list[dict[str, Any]]) -> None:
    roy = person(place, "Roy", **({"qualification": qualification} if qualification else {}))
    members(place, {"role": "nurse", "person": roy})
    assert place.points("qualification-lacking") == [roy]
    assert roy in [one["person"] for one in place.view()["team"]["members"]]


@row("team", "acts")
def test_who_takes_part_by_a_role_of_theirs_is_judged_by_the_same_qualifications(place: Place) -> None:
    roy = person(place, "Roy", qualification=[{"code": {"text": "Registered nurse, RN"}, "period": {"end": "2026-10-31"}}])
    in_role = by_key(place, "hub", {"resourceType": "PractitionerRole", "practitioner": {"reference": roy}})
    members(place, {"role": "nurse", "person": in_role})
    assert place.points("qualification-lacking") == [in_role]


@row("team", "twin")
def test_a_social_worker_may_be_the_case_manager_and_a_valid_qualification_does_not_warn(place: Place) -> None:
    assert place.view()["people"][0]["qualifications"] == [{"what": "Social worker, LCSW"}]
    roy = person(place, "Roy", qualification=[{"code": {"text": "Registered nurse, RN"}, "period": {"end": "2026-12-31"}}])
    members(place, {"role": "nurse", "person": roy}, {"role": "peer-support", "person": person(place, "May")})
    assert place.points("qualification-lacking") == []


# ------------------------------------------------------------------------------------------------ models


def kinds(place: Place, *words: str) -> None:
    place.patch("/episode", {"kinds": list(words)})


@row("model", "shared")
@pytest.mark.parametrize("model", ["brokerage", "direct-service", "strengths-based", "intensive"])
def test_a_model_entered_under_fhir_stands_in_the_case_and_at_both_partners(place: Place, model: str) -> None:
    episode = f"EpisodeOfCare/{place.case}"
    put(place, episode, type=[*place.fhir(episode)["type"], coded(CASE_MODEL, model)])
    assert place.view()["episode"]["kinds"] == ["medical", model]
    (stored,) = everywhere(place, episode)
    assert codes(stored["type"], CASE_MODEL) == {model}


@row("model", "acts")
def test_a_strengths_based_case_shows_strengths_first_and_the_clients_own_solutions_before_others(place: Place) -> None:
    kinds(place, "medical", "strengths-based")
    assert place.points("no-strengths") and place.points("no-client-solution")
    place.add("strengths", {"text": "Her sister next door", "domain": "family"})
    own = place.add("services", {"state": "active", "intent": "order", "kind": "meals", "ordered_by": "{client}"})
    view = place.view()
    assert list(view).index("strengths") < list(view).index("goals")
    assert view["services"][0]["id"] == own
    assert not place.points("no-strengths") and not place.points("no-client-solution")


@row("model", "acts")
def test_brokerage_flags_a_service_of_the_own_organisation(place: Place) -> None:
    kinds(place, "medical", "brokerage")
    own = place.add("services", {"state": "active", "intent": "order", "kind": "counselling", "provider": ["{manager}"]})
    place.add("services", {"state": "active", "intent": "order", "kind": "home-health", "provider": ["{home}"]})
    assert place.points("own-service-in-brokerage") == [f"ServiceRequest/{own}"]


@row("model", "acts")
def test_direct_service_counts_what_the_case_manager_does_also_for_the_loop(place: Place) -> None:
    kinds(place, "medical", "direct-service")
    assert place.points("no-own-activity") == [f"EpisodeOfCare/{place.case}"]
    service = place.refs["service"]
    loop = f"/services/{service.partition('/')[2]}"
    assert loop in asked(place)
    place.add("procedures", {
        "state": "completed", "what": "Counselling", "performers": [{"person": "{manager}"}], "when": "2026-11-21", "based_on": [service],
    })  # fmt: skip
    assert place.points("no-own-activity") == [] and loop not in asked(place)


def asked(place: Place) -> list[str]:
    """What closing asks for."""
    answer = moved(place, "close", reason="moved", outcome="Settled", destination="independent")
    assert answer.status_code == 422
    return [one["path"] for one in body(answer)["errors"]]


@row("model", "acts")
def test_an_intensive_case_shows_its_contacts_before_its_services(place: Place) -> None:
    assert list(place.view()).index("services") < list(place.view()).index("communications")
    kinds(place, "medical", "intensive")
    assert list(place.view()).index("communications") < list(place.view()).index("services")


@row("model", "twin")
@pytest.mark.parametrize("model", ["", "intensive", "brokerage", "direct-service", "strengths-based"])
def test_what_another_model_asks_for_is_not_asked_here(place: Place, model: str) -> None:
    kinds(place, "medical", *([model] if model else []))
    place.add("services", {"state": "active", "intent": "order", "kind": "counselling", "provider": ["{manager}"]})
    place.add("strengths", {"text": "Her sister next door"})
    place.add("services", {"state": "active", "intent": "order", "kind": "meals", "ordered_by": "{client}"})
    found = {
        point["rule"] for point in place.view()["attention"]
    } & {"no-strengths", "no-client-solution", "own-service-in-brokerage", "no-own-activity"}  # fmt: skip
    assert found == ({"own-service-in-brokerage"} if model == "brokerage" else set())
    view = place.view()
    assert (list(view).index("strengths") < list(view).index("goals")) == (model == "strengths-based")
    assert (list(view).index("communications") < list(view).index("services")) == (model == "intensive")


# ------------------------------------------------------------------------------------------------ kinds

KINDS = ("medical", "mental-health", "substance-use", "disability", "legal", "youth", "social", "re-entry")
LABELS = {"mental-health": {"R", "MH"}, "substance-use": {"R", "SUD"}, "re-entry": {"R", "justice"}}
DOMAINS = {
    "medical": {"medication"}, "mental-health": {"mental-health", "safety"}, "substance-use": {"substance-use", "safety"},
    "disability": {"self-care", "mobility", "housing", "employment"}, "legal": {"legal"}, "youth": {"education", "safety", "housing"},
    "social": {"housing", "food", "transport", "employment"}, "re-entry": {"legal", "housing", "employment", "substance-use"},
}  # fmt: skip
EVERY = {"biological", "psychological", "social", "functional", "cultural", "family", "financial", "environment"}


@row("kind", "shared")
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_entered_in_the_case_stands_on_episode_and_plan_under_fhir_and_at_both_partners(place: Place, kind: str) -> None:
    recipients = [{"role": "recipient", "who": place.refs[name]} for name in ("rehab", "home")]
    place.add("consents", CONSENT | {"by": ["{client}"], "provision": {"decision": "permit", "actors": recipients}})
    kinds(place, kind)
    place.patch("/plan", {"kinds": ["assess-plan", kind]})
    episode, plan = f"EpisodeOfCare/{place.case}", f"CarePlan/{place.view()['plan']['id']}"
    stored, planned = everywhere(place, episode, plan)
    assert codes(stored["type"], CASE_KIND) == codes(planned["category"], CASE_KIND) == {kind}


def labels(resource: dict[str, Any]) -> set[str]:
    return {one["code"] for one in resource.get("meta", {}).get("security", ())}


@row("kind", "acts")
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_asks_for_its_own_domains_and_labels_all_that_belongs_to_the_case(place: Place, kind: str) -> None:
    """Those without a label are the twins of those with one."""
    kinds(place, kind)
    place.patch(f"/assessments/{place.refs['assessment'].partition('/')[2]}", {"state": "cancelled"})
    fresh = by_case(place, "needs", {"text": "Sleeps badly", "clinical": "active"})
    assert set(place.points("domain-unassessed")) == {f"domain:{one}" for one in EVERY | DOMAINS[kind]}
    plan = f"CarePlan/{place.view()['plan']['id']}"
    for reference in (f"EpisodeOfCare/{place.case}", plan, fresh, *(place.refs[one] for one in ("goal", "need", "service", "coverage"))):
        assert labels(place.fhir(reference)) == LABELS.get(kind, set()), reference
    assert labels(place.fhir(place.refs["client"])) == set(), "the client is more than this case"


@row("kind", "twin")
def test_a_medical_case_bears_no_label_and_does_not_ask_for_substance_use(place: Place) -> None:
    assert labels(place.fhir(place.refs["goal"])) == set()
    assert "domain:substance-use" not in place.points("domain-unassessed")
    kinds(place, "medical", "intensive")
    assert labels(place.fhir(place.refs["goal"])) == set(), "a model is no kind"
    kinds(place, "medical", "substance-use")
    assert labels(place.fhir(place.refs["goal"])) == {"R", "SUD"} and "domain:substance-use" in place.points("domain-unassessed")


# ------------------------------------------------------------------------------------------------ the way in


OWN, PUBLIC = "organization-kind", "http://terminology.hl7.org/CodeSystem/organization-type"
WAYS: dict[str, dict[str, Any]] = {
    "provider": {"resourceType": "Practitioner", "name": [{"family": "Welby"}]},
    "social agency": {"resourceType": "Organization", "name": "Second Chance", "type": [coded(OWN, "community")]},
    "private firm": {"resourceType": "Organization", "name": "Care plc", "type": [coded(PUBLIC, "bus")]},
    "self": {},
}


@row("way-in", "shared")
@pytest.mark.parametrize("way", WAYS)
def test_who_referred_the_client_is_entered_by_a_partner_kept_on_the_case_and_stands_at_the_other_partner(place: Place, way: str) -> None:
    requester = by_key(place, "riverside", WAYS[way]) if WAYS[way] else place.refs["client"]
    referral = by_key(place, "riverside", {
        "resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": CLIENT, "authoredOn": "2026-11-20",
        "requester": {"reference": requester}, "code": {"text": "Case management"},
    })  # fmt: skip
    place.patch("/episode", {"referrals": [referral]})
    assert held(place, "services", referral)["ordered_by"] == requester
    assert place.view()["episode"]["referrals"] == [referral]
    for query in (f"EpisodeOfCare?incoming-referral={referral}", f"ServiceRequest?requester={requester}"):
        assert len(body(place.manager.get(f"/fhir/{query}"))["entry"]) == 1, query
    everywhere(place, f"EpisodeOfCare/{place.case}", referral, requester)


@row("way-in", "shared")
def test_free_low_cost_or_for_a_fee_is_kept_with_the_program_and_found_by_it(place: Place) -> None:
    programs = []
    for price in ("free", "disc", "cost"):
        program = by_key(place, "riverside", {
            "resourceType": "HealthcareService", "name": f"Meals, {price}",
            "serviceProvisionCode": [coded("http://terminology.hl7.org/CodeSystem/service-provision-conditions", price)],
        })  # fmt: skip
        found = body(place.town.key("homeward").get(f"/fhir/HealthcareService?service-provision-code={price}"))
        assert [f"HealthcareService/{one['resource']['id']}" for one in found["entry"]] == [program]
        programs.append(program)
    everywhere(place, by_case(place, "services", {"state": "active", "intent": "order", "kind": "meals", "provider": programs}), *programs)


# ------------------------------------------------------------------------------------------------ finding those who need a case


@row("finding", "shared")
def test_frequent_stays_told_by_hl7_v2_are_the_basis_of_a_risk_and_no_case_opens_by_itself(place: Place) -> None:
    mercy = hospital(place)
    for number in (1, 2, 3):
        send(mercy, adt("A01", f"M{number}", f"202611{10 + number}080000-0500", visit=f"V-{number}"))
    stays = [f"Encounter/{one['id']}" for one in place.view()["visits"]]
    assert len(stays) == 3
    risk = by_case(place, "risks", {
        "state": "final", "basis": stays, "what": "Frequent hospital visits", "when": "2026-11-21",
        "predictions": [{"outcome": "Admission within 30 days", "risk": "high"}],
    })  # fmt: skip
    stored, *_ = everywhere(place, risk, *stays)
    assert [one["reference"] for one in stored["basis"]] == stays
    assert [one["id"] for one in body(place.manager.get("/cases"))["items"]] == [place.case]


# ------------------------------------------------------------------------------------------------ settings

ROLE_CODE = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
SETTINGS: dict[str, tuple[tuple[str, str], tuple[str, str], str, str]] = {
    "acute hospital": ((OWN, "hospital"), (ROLE_CODE, "HOSP"), "IMP", "acute-hospital"),
    "rehab": ((OWN, "rehab"), (ROLE_CODE, "RH"), "IMP", "inpatient-rehabilitation"),
    "skilled nursing": ((OWN, "snf"), (ROLE_CODE, "SNF"), "NONAC", "skilled-nursing"),
    "long-term care": ((OWN, "long-term-care"), (ROLE_CODE, "NCCF"), "NONAC", "long-term-care"),
    "clinic": ((OWN, "clinic"), (ROLE_CODE, "OF"), "AMB", "outpatient"),
    "home care": ((OWN, "home-care"), (ROLE_CODE, "PTRES"), "HH", "home-care"),
    "community": ((OWN, "community"), (ROLE_CODE, "COMM"), "FLD", "community-support"),
    "school": ((OWN, "school"), (ROLE_CODE, "SCHOOL"), "FLD", "community-support"),
    "insurer": ((PUBLIC, "ins"), (ROLE_CODE, "WORK"), "VR", "independent"),
    "prison": ((OWN, "prison"), ("place-kind", "prison"), "FLD", "secure-care"),
}
"""Setting → Organization.type, Location.type, Encounter.class, level of care."""


@row("setting", "shared")
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_entered_under_fhir_takes_part_in_the_case_and_stands_at_both_partners(place: Place, setting: str) -> None:
    organization_type, location_type, class_, level = SETTINGS[setting]
    organization = by_key(place, "hub", {"resourceType": "Organization", "name": setting, "type": [coded(*organization_type)]})
    location = by_key(place, "hub", {
        "resourceType": "Location", "name": f"Front door, {setting}", "type": [coded(*location_type)],
        "managingOrganization": {"reference": organization},
    })  # fmt: skip
    stay = by_key(place, "hub", {
        "resourceType": "Encounter", "status": "in-progress", "subject": CLIENT, "period": {"start": "2026-11-20"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": class_},
        "type": [coded("http://terminology.hl7.org/CodeSystem/v2-0007", "R"), coded("level-of-care", level)],
        "serviceType": coded("http://terminology.hl7.org/CodeSystem/v2-0069", "MED"), "serviceProvider": {"reference": organization},
        "episodeOfCare": [{"reference": f"EpisodeOfCare/{place.case}"}], "location": [{"location": {"reference": location}}],
    })  # fmt: skip
    members(place, {"role": "setting", "person": organization, "since": "2026-11-20"})
    visit, team = held(place, "visits", stay), place.view()["team"]
    assert (visit["organization"], visit["locations"][0]["location"]) == (organization, location)
    assert (visit["kinds"], visit["service"]) == (["routine", level], "medical") and visit["class"] != "unknown"
    assert organization in [one["person"] for one in team["members"]]
    everywhere(place, organization, location, stay, f"CareTeam/{team['id']}")


@row("setting", "shared")
def test_a_hospital_enters_its_setting_by_hl7_v2_and_both_partners_see_the_stay(place: Place) -> None:
    send(hospital(place), adt("A01", "M1", "20261120080000-0500"))
    (visit,) = place.view()["visits"]
    assert (visit["class"], visit["service"], visit["state"]) == ("inpatient", "medical", "in-progress")
    everywhere(place, f"Encounter/{visit['id']}")
