"""What delivery and collection need of a FHIR server, on each real one alone: created once, never overwritten unseen, every
change found. The Dialect in use is the one that probing found."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from fhircase import storage
from fhircase.fhir import jsontext
from fhircase.flows import align
from fhircase.partners.probe import TAG, Found
from fhircase.plans.change import Ref
from fhircase.ports import Link
from fhircase.sync.dialect import Dialect
from tests.conftest import FrozenClock
from tests.live import servers
from tests.live.scene import THEM, Scene, There, probed

pytestmark = pytest.mark.timeout(900)

SERVERS = ["sekmet", "sekmet_absolute", "medplum", "medplum_strict", "hapi"]

PLAIN: dict[str, Any] = {
    "create": "if-none-exist", "create_by_type": {}, "ids": "any", "stale": [412], "if_match": True, "drops": {}, "drops_unknown": False,
    "decimals_normalised": False, "dangling_refused": False, "search_cached": False, "history": "newest", "patient_params": {},
    "last_updated": {"*": True}, "identifier_search": {"*": True}, "absolute_references": False, "body": True, "paging": "links",
}  # fmt: skip
UNSEARCHED = (
    "CareTeam", "Goal", "DeviceRequest", "NutritionOrder", "QuestionnaireResponse", "RiskAssessment", "FamilyMemberHistory",
    "DetectedIssue", "RequestGroup",
)  # fmt: skip
"""Types of which sekmet-fhir can search nothing but ``_id`` and ``_lastUpdated``, and so refuses If-None-Exist."""
SEKMET = PLAIN | {
    "create_by_type": dict.fromkeys(UNSEARCHED, "put"), "patient_params": {type_: [] for type_ in UNSEARCHED},
    "identifier_search": {"*": True, **dict.fromkeys(UNSEARCHED, False)}, "decimals_normalised": True,
}  # fmt: skip
MEDPLUM = PLAIN | {"decimals_normalised": True, "history": "unstable", "paging": "offset"}
DIALECTS: dict[str, dict[str, Any]] = {
    "sekmet": SEKMET,
    "sekmet_absolute": SEKMET | {"absolute_references": True},
    "medplum": MEDPLUM,
    "medplum_strict": MEDPLUM,
    "hapi": PLAIN | {"stale": [409], "drops_unknown": True, "dangling_refused": True, "search_cached": True},
}

_found: dict[str, Found] = {}


@pytest.fixture(params=SERVERS, scope="session")
def maker(request: pytest.FixtureRequest) -> str:
    """Who made the server that the test talks to."""
    name: str = request.param
    return name


@pytest.fixture
def there(maker: str, request: pytest.FixtureRequest) -> There:
    server: servers.Server = request.getfixturevalue(maker)
    return There(server.base_url)


@pytest.fixture
def found(maker: str, there: There) -> Found:
    if maker not in _found:
        _found[maker] = probed(there)
    return _found[maker]


@pytest.fixture
def make(there: There, found: Found, tmp_path: Any) -> Any:
    """A hub on an empty store, as often as asked, whose one partner is the server."""
    opened: list[Any] = []

    def build() -> Scene:
        url = f"sqlite:///{tmp_path / f'{len(opened)}.db'}"
        storage.migrate(url)
        opened.append(storage.open(url, clock=FrozenClock()))
        there.asked.clear()
        return Scene(opened[-1], there, found.dialect.as_json())

    yield build
    for store in opened:
        store.close()


@pytest.fixture
def scene(make: Callable[[], Scene]) -> Scene:
    return make()


# ------------------------------------------------------------------------------------------ the probe


def test_probing_finds_the_dialect(maker: str, found: Found) -> None:
    assert found.dialect.as_json() == DIALECTS[maker]


def test_probing_leaves_nothing_behind(found: Found, there: There) -> None:
    assert found.left == []
    for type_ in ("Patient", "Goal", "CarePlan", "Observation"):
        assert [r["id"] for r in there.all(type_) if TAG["code"] in {tag.get("code") for tag in r.get("meta", {}).get("tag", ())}] == []


# ------------------------------------------------------------------------------------------ creating


def everything(scene: Scene) -> dict[str, Ref]:
    """One of each type, referring to one another, with a cycle between plan and service."""
    types = ("CarePlan", "ServiceRequest", "Condition", "Task", "DeviceRequest", "Observation")
    refs = {type_: Ref(type_, str(uuid.uuid4())) for type_ in types}
    refs["Goal"] = scene.goal(addresses=[{"reference": str(refs["Condition"])}])
    plan = {"reference": str(refs["CarePlan"])}
    scene.write(
        {"resourceType": "Condition", "id": refs["Condition"].id, "code": {"text": "Stroke"}, "subject": scene.patient},
        {
            "resourceType": "ServiceRequest", "id": refs["ServiceRequest"].id, "status": "active", "intent": "order",
            "code": {"text": "Home health"}, "subject": scene.patient, "basedOn": [plan],
        },
        {
            "resourceType": "DeviceRequest", "id": refs["DeviceRequest"].id, "status": "active", "intent": "order",
            "codeCodeableConcept": {"text": "Wheelchair"}, "subject": scene.patient,
        },
        {
            "resourceType": "CarePlan", "id": refs["CarePlan"].id, "status": "active", "intent": "plan", "subject": scene.patient,
            "goal": [{"reference": str(refs["Goal"])}],
            "activity": [{"reference": {"reference": str(refs[type_])}} for type_ in ("ServiceRequest", "DeviceRequest")],
        },
        {
            "resourceType": "Task", "id": refs["Task"].id, "status": "requested", "intent": "order", "focus": plan,
            "for": {"reference": f"Patient/{scene.client}"},
        },
        {
            "resourceType": "Observation", "id": refs["Observation"].id, "status": "final", "code": {"text": "Distance"},
            "subject": scene.patient, "valueQuantity": {"value": 15, "unit": "feet"},
        },
    )  # fmt: skip
    return refs


def references(scene: Scene, ref: Ref) -> str:
    link = scene.link(THEM, ref)
    assert link is not None and link.remote is not None
    return f"{ref.type}/{link.remote}"


def test_each_type_is_created_once_with_references_that_lead_somewhere(scene: Scene) -> None:
    refs = everything(scene)
    scene.settle()
    assert scene.reviews() == []
    assert {name: len(scene.there.copies(ref)) for name, ref in refs.items()} == dict.fromkeys(refs, 1)
    plan = scene.theirs(THEM, refs["CarePlan"])
    activities = [activity["reference"]["reference"] for activity in plan["activity"]]
    for told, ref in [(plan["goal"][0]["reference"], refs["Goal"]), *zip(activities, (refs["ServiceRequest"], refs["DeviceRequest"]))]:
        assert told.endswith(references(scene, ref))
    assert scene.theirs(THEM, refs["ServiceRequest"])["basedOn"][0]["reference"].endswith(references(scene, refs["CarePlan"]))
    assert align.drift(scene.hub, _partner(scene)) == ([], [])


@pytest.mark.parametrize("lost", [1, 4])
def test_creates_whose_answers_are_lost_make_one_copy(scene: Scene, lost: int) -> None:
    refs = everything(scene)
    scene.there.lose = ["POST", "PUT"] * lost
    scene.settle()
    assert "POST" not in scene.there.lose, "that many answers were lost"
    assert {name: len(scene.there.copies(ref)) for name, ref in refs.items()} == dict.fromkeys(refs, 1)
    assert align.drift(scene.hub, _partner(scene)) == ([], [])


def test_a_hub_that_forgot_its_links_meets_its_own_copies_again(scene: Scene) -> None:
    refs = everything(scene)
    scene.settle()
    with scene.hub.store.write() as tx:  # as a store restored from before the first delivery
        kept = [link for link in tx.links.all(THEM) if link.ref in refs.values()]
        tx.links.save([Link(THEM, link.ref) for link in kept])
        tx.outbox.mark(_partner(scene), [(link.ref, scene.client) for link in kept])
    scene.settle()
    assert {name: len(scene.there.copies(ref)) for name, ref in refs.items()} == dict.fromkeys(refs, 1)


def test_what_is_not_there_is_named_by_identifier(scene: Scene) -> None:
    goal = scene.goal(addresses=[{"reference": "RiskAssessment/7", "display": "Falls"}])
    scene.settle()
    (told,) = scene.theirs(THEM, goal)["addresses"]
    assert "reference" not in told and told["identifier"]["value"] == "RiskAssessment/7"
    assert scene.ours(goal)["addresses"] == [{"reference": "RiskAssessment/7", "display": "Falls"}]


# ------------------------------------------------------------------------------------------ updating


def test_a_stale_write_is_refused_and_both_edits_join(scene: Scene) -> None:
    goal = scene.goal()
    scene.settle()
    scene.there.edit(goal, lambda copy: copy.update(lifecycleStatus="completed"))
    scene.edit(goal, description={"text": "walk 50 feet"})
    scene.there.asked.clear()
    scene.deliver()
    statuses = [status for method, _, status in scene.there.asked if method == "PUT"]
    assert statuses[0] in Dialect.of(_partner(scene).dialect).stale, "the first write met another version"
    scene.settle()
    for body in (scene.ours(goal), scene.theirs(THEM, goal)):
        assert (body["lifecycleStatus"], body["description"]) == ("completed", {"text": "walk 50 feet"})


def test_the_same_element_on_both_sides_is_a_question_and_stays(scene: Scene) -> None:
    goal = scene.goal()
    scene.settle()
    scene.there.edit(goal, lambda copy: copy.update(description={"text": "theirs"}))
    scene.edit(goal, description={"text": "ours"})
    scene.settle()
    assert scene.ours(goal)["description"] == {"text": "ours"} and scene.theirs(THEM, goal)["description"] == {"text": "theirs"}
    (review,) = scene.reviews("conflict")
    assert (review.subject, review.holds) == (goal, "description")


def test_an_update_whose_answer_is_lost_is_made_once(scene: Scene) -> None:
    goal = scene.goal()
    scene.settle()
    scene.edit(goal, description={"text": "walk 50 feet"})
    scene.there.lose = ["PUT"]
    scene.settle()
    assert scene.there.lose == [] and scene.reviews() == []
    link = scene.link(THEM, goal)
    assert link is not None and link.pend is None
    history = scene.there.call("GET", f"Goal/{link.remote}/_history").json()
    assert len(history["entry"]) == 2


def test_an_edit_of_theirs_after_a_lost_answer_is_kept(scene: Scene) -> None:
    goal = scene.goal()
    scene.settle()
    scene.edit(goal, description={"text": "walk 50 feet"})
    scene.there.lose = ["PUT"]
    assert scene.deliver_one()
    scene.there.edit(goal, lambda copy: copy.update(lifecycleStatus="completed"))
    scene.settle()
    for body in (scene.ours(goal), scene.theirs(THEM, goal)):
        assert (body["lifecycleStatus"], body["description"]) == ("completed", {"text": "walk 50 feet"})
    assert scene.reviews() == []


def test_what_is_theirs_alone_goes_back_to_them(scene: Scene) -> None:
    goal = scene.goal()
    scene.settle()
    tag = {"system": "urn:theirs", "code": "seen"}
    scene.there.edit(goal, lambda copy: copy.setdefault("meta", {}).setdefault("tag", []).append(tag))
    scene.settle()
    scene.edit(goal, description={"text": "walk 50 feet"})
    scene.settle()
    copy = scene.theirs(THEM, goal)
    assert copy["description"] == {"text": "walk 50 feet"} and tag["code"] in {t.get("code") for t in copy["meta"]["tag"]}


def test_a_decimal_that_comes_back_shorter_is_no_change(scene: Scene) -> None:
    quantity = {"value": jsontext.Number("72.50"), "unit": "kg"}
    goal = scene.goal(target=[{"measure": {"text": "weight"}, "detailQuantity": quantity}])
    scene.settle()
    version = scene.ours(goal)["meta"]["versionId"]
    scene.edit(goal, description={"text": "heavier"})
    scene.settle()
    assert int(scene.ours(goal)["meta"]["versionId"]) == int(version) + 1, "nothing came back as an edit of theirs"
    assert str(scene.ours(goal)["target"][0]["detailQuantity"]["value"]) == "72.50"
    assert align.drift(scene.hub, _partner(scene)) == ([], [])


def test_a_retracted_resource_is_entered_in_error_there(scene: Scene) -> None:
    goal = scene.goal()
    scene.settle()
    (copy,) = scene.there.copies(goal)
    scene.delete(goal)
    scene.settle()
    assert scene.there.call("GET", f"Goal/{copy['id']}").json()["lifecycleStatus"] == "entered-in-error"


# ------------------------------------------------------------------------------------------ collecting


def test_a_change_there_is_collected_once(scene: Scene) -> None:
    goal = scene.goal()
    scene.settle()
    scene.there.edit(goal, lambda copy: copy.update(lifecycleStatus="completed"))
    assert scene.collect(THEM).taken == 1
    assert scene.ours(goal)["lifecycleStatus"] == "completed"
    version = scene.ours(goal)["meta"]["versionId"]
    again = scene.collect(THEM)
    assert (again.taken, again.new, again.paused) == (0, 0, "")
    assert scene.ours(goal)["meta"]["versionId"] == version


def test_what_is_made_between_two_polls_is_not_hidden_by_a_cache(scene: Scene) -> None:
    scene.settle()
    scene.collect(THEM)
    patient = {"reference": references(scene, Ref("Patient", scene.client))}
    for text in ("Pneumonia", "Fracture"):
        scene.there.add({"resourceType": "Condition", "code": {"text": text}, "subject": patient})
        assert scene.collect(THEM).new == 1
    with scene.hub.store.read() as tx:
        taken = [stored.body for stored in tx.plans.of_client(scene.client, ["Condition"])]
    assert {body["code"]["text"] for body in taken} == {"Pneumonia", "Fracture"}
    assert all(body["subject"] == scene.patient for body in taken)


def test_every_one_of_many_is_collected(scene: Scene) -> None:
    """More than one page."""
    scene.settle()
    patient = {"reference": references(scene, Ref("Patient", scene.client))}
    for i in range(130):
        scene.there.add({"resourceType": "Goal", "lifecycleStatus": "active", "description": {"text": str(i)}, "subject": patient})
    assert scene.collect(THEM).new == 130
    assert scene.collect(THEM).new == 0


def test_another_persons_data_are_not_taken(scene: Scene) -> None:
    scene.settle()
    stranger = scene.there.add({"resourceType": "Patient", "active": True})
    scene.there.add(
        {"resourceType": "Goal", "lifecycleStatus": "active", "description": {"text": "x"}, "subject": {"reference": f"Patient/{stranger}"}}
    )
    assert scene.collect(THEM).new == 0


def test_their_deletion_is_a_question_and_ours_stays(scene: Scene) -> None:
    goal = scene.goal()
    scene.settle()
    assert scene.there.call("DELETE", references(scene, goal)).status_code in (200, 202, 204)
    assert scene.collect(THEM, sweep=True).deleted == 1
    assert scene.ours(goal)["lifecycleStatus"] == "active"
    assert [review.subject for review in scene.reviews("partner-deleted")] == [goal]
    scene.settle()
    assert scene.there.copies(goal) == [], "and it is not made again in silence"


def _partner(scene: Scene) -> Any:
    with scene.hub.store.read() as tx:
        partner = tx.partners.get(THEM)
    assert partner is not None
    return partner
