"""The phases of a case, and the decisions of the client."""

from __future__ import annotations

from datetime import timedelta

from tests.api.case_scene import ASSESSMENT, GOAL, HOME_HEALTH, Scene, attention, move, paths
from tests.api.conftest import body

# ------------------------------------------------------------------------------------------------ phases


def planned(scene: Scene) -> tuple[str, str]:
    """The case in implementation, with one goal and one ordered service of its own; what the templates proposed is gone."""
    for goal in scene.case()["goals"]:
        assert scene.patch(f"/goals/{goal['id']}", {"lifecycle": "rejected", "rejected_because": "not now"}).status_code == 200
    for service in scene.case()["services"]:
        assert scene.patch(f"/services/{service['id']}", {"state": "revoked"}).status_code == 200
    for task in scene.case()["handovers"]:
        assert scene.patch(f"/handovers/{task['id']}", {"state": "accepted"}).status_code == 200
    goal, service = scene.add("goals", GOAL), scene.add("services", HOME_HEALTH)
    scene.add("assessments", ASSESSMENT)
    for to in ("assessment", "planning", "implementation"):
        answer = move(scene, to)
        assert answer.status_code == 200, answer.data
    return goal, service


def test_a_case_goes_round_its_cycle_and_every_move_says_who_when_and_why(scene: Scene) -> None:
    planned(scene)
    for to in ("monitoring", "evaluation", "monitoring", "assessment"):
        answer = move(scene, to, because=f"on to {to}")
        assert (answer.status_code, body(answer)["episode"]["phase"]) == (200, to), answer.data
    entry = body(scene.manager.get(f"{scene.path}/timeline"))["items"][-1]
    assert (entry["did"], entry["why"], entry["who"]["person"]) == ("moved from monitoring to assessment", "on to assessment", "Kim Lee")


def test_a_move_that_is_not_allowed_tells_what_stands_in_the_way_and_changes_nothing(scene: Scene) -> None:
    before = scene.case()["episode"]
    assert paths(move(scene, "monitoring")) == ["/episode/phase"]
    assert paths(move(scene, "nowhere")) == ["/to"]
    assert paths(scene.manager.post(f"{scene.path}/phase", {"to": "assessment"})) == ["/because"]
    assert move(scene, "assessment").status_code == 200
    assert paths(move(scene, "planning")) == ["/assessments"], "nothing was assessed"
    scene.add("assessments", {"what": "Finances", "not_assessed": "The client was tired", "domain": "financial"})
    assert move(scene, "planning").status_code == 200, "an explicit 'not assessed' will do"
    assert scene.case()["episode"]["version"] == before["version"] + 2


def test_phase_and_state_are_not_patched_and_not_jumped_under_fhir(scene: Scene) -> None:
    assert paths(scene.patch("/episode", {"phase": "monitoring", "closed": "2026-11-22"})) == ["/phase", "/closed"]
    id_ = scene.path.rpartition("/")[2]
    episode = scene.fhir(f"EpisodeOfCare/{id_}")
    phase = {"url": "urn:fhircase:extension:phase", "valueCode": "monitoring"}
    for change, place in (({"extension": [phase]}, "EpisodeOfCare.extension"), ({"status": "finished"}, "EpisodeOfCare.status")):
        refused = scene.manager.put(f"/fhir/EpisodeOfCare/{id_}", {**episode, **change})
        assert refused.status_code == 422
        (issue, *_) = body(refused)["issue"]
        assert issue.get("expression", [""])[0].startswith(place), issue
    assert scene.fhir(f"EpisodeOfCare/{id_}") == episode


def test_closing_asks_for_goals_loops_and_destination_and_closes_when_all_is_answered(scene: Scene) -> None:
    goal, service = planned(scene)
    refused = move(scene, "close", reason="goals-met")
    assert refused.status_code == 422
    assert paths(refused) == ["/reason", f"/goals/{goal}", f"/services/{service}", "/outcome", "/destination"], "not from implementation"
    assert scene.case()["episode"]["state"] == "active"
    assert scene.patch(f"/goals/{goal}", {"lifecycle": "completed", "achievement": "achieved"}).status_code == 200
    assert scene.patch(f"/services/{service}", {"state": "completed"}).status_code == 200
    for to in ("monitoring", "evaluation"):
        assert move(scene, to).status_code == 200
    closed = move(scene, "close", reason="goals-met", outcome="Walks to the shop", destination="independent")
    assert closed.status_code == 200, closed.data
    case = body(closed)
    assert (case["episode"]["state"], case["episode"]["phase"], case["plan"]["state"]) == ("finished", "closed", "completed")
    assert (case["episode"]["closed_because"], case["episode"]["destination"]) == ("goals-met", "independent")
    assert case["attention"] == [] and "closed" in case["episode"]


def test_a_client_who_withdraws_can_always_close_and_what_is_open_is_listed(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    closed = move(scene, "close", reason="withdrew")
    assert closed.status_code == 200, closed.data
    case = body(closed)
    assert (case["episode"]["phase"], case["plan"]["state"]) == ("closed", "revoked")
    assert f"/goals/{goal}" in [one["path"] for one in case["open"]]
    assert next(g for g in case["goals"] if g["id"] == goal)["lifecycle"] == "active", "listed, not changed"


def test_a_closed_case_is_reopened_within_thirty_days_and_not_later(scene: Scene) -> None:
    assert paths(move(scene, "reopen")) == ["/episode/phase"], "it is open"
    assert move(scene, "close", reason="withdrew").status_code == 200
    reopened = move(scene, "reopen", because="came back after a week")
    assert reopened.status_code == 200, reopened.data
    case = body(reopened)
    assert (case["episode"]["phase"], case["episode"]["state"], case["plan"]["state"]) == ("assessment", "active", "active")
    assert "closed" not in case["episode"] and "ends" not in case["plan"]
    assert move(scene, "close", reason="withdrew").status_code == 200
    scene.town.clock.at += timedelta(days=31)
    assert paths(move(scene, "reopen")) == ["/episode/closed"]


def test_the_work_rests_and_goes_on_in_the_phase_where_it_rested(scene: Scene) -> None:
    assert move(scene, "assessment").status_code == 200
    resting = body(move(scene, "hold", because="in hospital"))
    assert (resting["episode"]["state"], resting["episode"]["phase"], resting["plan"]["state"]) == ("onhold", "assessment", "on-hold")
    assert paths(move(scene, "hold")) == ["/episode/state"]
    again = body(move(scene, "resume"))
    assert (again["episode"]["state"], again["plan"]["state"]) == ("active", "active")
    assert [one["state"] for one in again["episode"]["history"]][-2:] == ["active", "onhold"]


# ------------------------------------------------------------------------------------------------ decisions


def test_an_order_without_the_clients_decision_is_told_until_the_client_decides(scene: Scene) -> None:
    service = scene.add("services", HOME_HEALTH)
    assert f"ServiceRequest/{service}" in attention(scene, "order-without-decision")
    decision = {"on": f"ServiceRequest/{service}", "decided": "accepted", "by": f"Patient/{scene.client}", "reason": "I want that"}
    answer = scene.manager.post(f"{scene.path}/decisions", decision)
    assert answer.status_code == 200, answer.data
    assert f"ServiceRequest/{service}" not in attention(scene, "order-without-decision")
    entry = scene.entry("services", service)
    assert (entry["decided"], entry["decided_by"], entry["decided_because"]) == ("accepted", f"Patient/{scene.client}", "I want that")
    provenances = body(scene.manager.get(f"/fhir/Provenance?target=ServiceRequest/{service}"))["entry"]
    assert any(
        agent["who"] == {"reference": f"Patient/{scene.client}"} and agent["type"]["coding"][0]["code"] == "informant"
        for one in provenances for agent in one["resource"]["agent"]
    )  # fmt: skip


def test_a_refusal_is_kept_and_raises_nothing(scene: Scene) -> None:
    service = scene.add("services", {**HOME_HEALTH, "state": "draft", "intent": "proposal"})
    goal = scene.add("goals", {**GOAL, "lifecycle": "proposed"})
    for on in (f"ServiceRequest/{service}", f"Goal/{goal}"):
        decision = {"on": on, "decided": "declined", "by": f"Patient/{scene.client}", "reason": "My sister helps"}
        assert scene.manager.post(f"{scene.path}/decisions", decision).status_code == 200
    assert (scene.entry("services", service)["state"], scene.entry("goals", goal)["lifecycle"]) == ("revoked", "rejected")
    assert scene.entry("goals", goal)["rejected_because"] == "My sister helps"
    about = [point["about"] for point in scene.case()["attention"]]
    assert f"ServiceRequest/{service}" not in about and f"Goal/{goal}" not in about


def test_only_the_client_and_a_guardian_who_is_valid_that_day_decide(scene: Scene) -> None:
    service = scene.add("services", HOME_HEALTH)
    daughter = scene.add("contacts", {"relationship": "daughter", "names": [{"family": "Okafor", "given": ["Ada"]}]})
    ended = {"since": "2026-01-01", "until": "2026-06-30"}
    guardian = scene.add("contacts", {"relationship": "guardian", "names": [{"family": "Lind"}], **ended})
    told = {"on": f"ServiceRequest/{service}", "decided": "accepted"}
    for who, day, status in (
        (daughter, "2026-11-22", 422), (guardian, "2026-11-22", 422), (guardian, "2026-05-01", 200), ("nobody", "2026-11-22", 422),
    ):  # fmt: skip
        answer = scene.manager.post(f"{scene.path}/decisions", {**told, "by": f"RelatedPerson/{who}", "at": f"{day}T10:00:00Z"})
        assert answer.status_code == status, (who, day, answer.data)
        assert status == 200 or paths(answer) == ["/by"]
    nothing = {**told, "by": f"Patient/{scene.client}", "on": "ServiceRequest/x"}
    assert paths(scene.manager.post(f"{scene.path}/decisions", nothing)) == ["/on"]


def test_a_guardian_whose_time_is_over_expresses_no_goal_and_gives_no_consent(scene: Scene) -> None:
    ended = {"relationship": "guardian", "names": [{"family": "Lind"}], "since": "2026-01-01", "until": "2026-06-30"}
    aunt = {"relationship": "aunt", "names": [{"family": "Ode"}]}
    answer = scene.patch("", {
        "contacts": {"#past": ended, "#now": {**ended, "until": "2027-06-30"}, "#aunt": aunt},
        "goals": {"#a": {**GOAL, "set_by": "#past"}, "#b": {**GOAL, "set_by": "#now"}, "#c": {**GOAL, "set_by": "#aunt"}},
        "consents": {"#d": {**CONSENT, "by": ["#now", "#past"]}, "#e": {**CONSENT, "by": ["#aunt"]}},
    })  # fmt: skip
    assert (answer.status_code, sorted(paths(answer))) == (422, ["/consents/#d/by/1", "/consents/#e/by/0", "/goals/#a/set_by"])
    answer = scene.patch("", {
        "contacts": {"#past": ended, "#now": {**ended, "until": "2027-06-30"}},
        "goals": {"#a": {**GOAL, "set_by": "#past", "started": "2026-05-01"}, "#b": {**GOAL, "set_by": "#now"}},
        "consents": {"#d": {**CONSENT, "by": ["#now"]}},
    })  # fmt: skip
    assert answer.status_code == 200, answer.data


CONSENT = {"state": "active", "scope": "privacy", "categories": ["release-of-information"], "rule": "opt-in", "given_at": "2026-11-21"}


def test_an_acceptance_is_the_clients_unless_somebody_else_is_named(scene: Scene) -> None:
    goal = scene.add("goals", {**GOAL, "acceptance": "agree"})
    assert scene.entry("goals", goal)["accepted_by"] == f"Patient/{scene.client}"


def test_what_the_client_declined_is_not_offered_again_unasked(scene: Scene) -> None:
    offer = {"state": "draft", "intent": "proposal", "kind": "respite"}
    service = scene.add("services", offer)
    declined = {"on": f"ServiceRequest/{service}", "decided": "declined", "by": f"Patient/{scene.client}"}
    assert scene.manager.post(f"{scene.path}/decisions", declined).status_code == 200
    again = scene.manager.post(f"{scene.path}/services", offer)
    assert (again.status_code, paths(again)) == (422, ["/kind"])
    scene.add("services", {**offer, "kind": "meals"})
    scene.add("services", {**offer, "ordered_by": f"Patient/{scene.client}"})
