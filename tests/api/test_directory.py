"""``/directory``: people, organizations, programs, roles and locations in case words, and the same under ``/fhir``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from fhircase.flows import directory, enrol
from fhircase.flows.hub import Hub
from fhircase.mapping import Mappings
from fhircase.web.app import Services, create_app
from tests.api.conftest import ADMIN, Api, Town, body

MERGE = "application/merge-patch+json"
FOREIGN = {"url": "https://rehab.example/fhir/parking", "valueDecimal": 0.70}

MEALS = {
    "name": "Meals on Wheels North", "active": True, "kinds": ["meals", "nutrition"], "categories": ["aged-care"], "comment": "At noon",
    "eligibility": [{"who": "senior", "comment": "Shows the card"}], "prices": ["free"], "free_places": 7, "capacity": 120,
    "contact_points": [{"kind": "phone", "use": "work", "value": "5550188"}], "languages": ["en", "es"],
}  # fmt: skip
PERSON = {"active": True, "names": [{"use": "official", "family": "Muñoz", "given": ["Ana", "Lucía"], "prefix": ["Dr."]}]}
LEAST: dict[str, dict[str, Any]] = {
    "people": PERSON, "organizations": {"name": "Food bank"}, "programs": {"name": "Recovery house"},
    "roles": {"professions": ["social-worker"]}, "locations": {"name": "Shelter"},
}  # fmt: skip


@pytest.fixture(scope="module")
def maps() -> Mappings:
    return Mappings.load()


@pytest.fixture
def town(make_hub: Callable[..., Hub], clock: Any, maps: Mappings) -> Town:
    hub = make_hub(clock=clock, maps=maps)
    seeds: Iterator[int] = iter(range(10_000))
    services = Services(random_bytes=lambda n: hashlib.sha512(b"dir" + str(next(seeds)).encode()).digest()[:n], key_cache_s=0.0)
    app = create_app(hub, services)
    enrol.ensure_hub(hub)
    organizations = {}
    for name, role in (("mercy", "hospital"), ("riverside", "rehab")):
        record, _ = enrol.read_partner({"name": name, "role": role, "title": name.title()})
        organizations[name] = str(enrol.partner(hub, ADMIN, record, new=True).organization)
    nobody = Api(app, "")
    made = Town(app, hub, services, clock, organizations, nobody, nobody, nobody, nobody)
    made.admin, made.manager = made.key("hub", admin=True), made.key("hub", user="Kim Lee")
    made.mercy, made.riverside = made.key("mercy"), made.key("riverside")
    return made


def add(caller: Api, what: str, doc: dict[str, Any]) -> str:
    answer = caller.post(f"/directory/{what}", doc)
    assert answer.status_code == 201, answer.data
    id_: str = body(answer)["id"]
    assert answer.headers["Location"].endswith(f"/directory/{what}/{id_}")
    return id_


def patch(caller: Api, what: str, id_: str, doc: Any, **headers: str) -> Any:
    return caller.patch(f"/directory/{what}/{id_}", doc, **{"Content_Type": MERGE} | headers)


def fhir(caller: Api, reference: str) -> dict[str, Any]:
    answer = caller.get(f"/fhir/{reference}")
    assert answer.status_code == 200, answer.data
    found: dict[str, Any] = body(answer)
    return found


def errors(answer: Any) -> dict[str, str]:
    assert (answer.status_code, answer.mimetype) == (422, "application/problem+json"), answer.data
    found = body(answer)["errors"]
    assert all(one["problem"] and one["hint"] for one in found)
    return {one["path"]: one["hint"] for one in found}


def listed(caller: Api, query: str) -> list[str]:
    """Ids on all pages."""
    found: list[str] = []
    path = f"/directory/{query}"
    for _ in range(200):
        answer = caller.get(path)
        assert answer.status_code == 200, answer.data
        found += [item["id"] for item in body(answer)["items"]]
        following = body(answer)["next"]
        if following is None:
            return found
        path = f"/directory/{query}{'&' if '?' in query else '?'}next={following}"
    raise AssertionError("the pages never end")


# ------------------------------------------------------------------------------------------------ both faces


@pytest.mark.parametrize("what", list(directory.PARTS))
def test_what_is_added_is_read_under_fhir_and_in_the_directory_of_every_partner(town: Town, what: str) -> None:
    id_ = add(town.mercy, what, LEAST[what])
    shown = body(town.riverside.get(f"/directory/{what}/{id_}"))
    assert {name: shown[name] for name in LEAST[what]} == LEAST[what]
    assert (shown["id"], shown["version"]) == (id_, 1)
    assert id_ in listed(town.riverside, what)
    resource = fhir(town.riverside, f"{directory.PARTS[what].type}/{id_}")
    assert resource["identifier"] == [{"system": f"urn:fhircase:{directory.PARTS[what].mapping}", "value": id_}]


def test_a_program_with_its_places_is_a_healthcare_service(town: Town) -> None:
    agency = add(town.manager, "organizations", {"name": "North Kitchen"})
    county = add(town.manager, "locations", {"name": "Marion County", "form": "jurisdiction"})
    id_ = add(town.manager, "programs", {**MEALS, "organization": f"Organization/{agency}", "areas": [f"Location/{county}"]})
    resource = fhir(town.manager, f"HealthcareService/{id_}")
    assert resource["providedBy"] == {"reference": f"Organization/{agency}"}
    assert resource["coverageArea"] == [{"reference": f"Location/{county}"}]
    assert {"url": "urn:fhircase:extension:free-places", "valueInteger": 7} in resource["extension"]


def test_what_a_partner_stored_under_fhir_stands_in_the_directory_with_what_could_not_be_read(town: Town) -> None:
    made = town.mercy.made({
        "resourceType": "Organization", "name": "Mercy East", "identifier": [{"system": "urn:fhircase:organization", "value": "E-7"}],
        "type": [{"coding": [{"system": "urn:oid:9.9", "code": "X"}]}],
    })  # fmt: skip
    shown = body(town.riverside.get(f"/directory/organizations/{made['id']}"))
    assert (shown["name"], shown["number"]) == ("Mercy East", "E-7")
    assert [problem["path"] for problem in shown["problems"]] == ["type"]


def test_an_entry_is_one_commit_with_one_provenance_that_names_the_person(town: Town) -> None:
    id_ = add(town.manager, "programs", MEALS)
    assert patch(town.manager, "programs", id_, {"free_places": 6}).status_code == 200
    found = [entry["resource"] for entry in body(town.manager.get(f"/fhir/Provenance?target=HealthcareService/{id_}"))["entry"]]
    assert len(found) == 2
    assert {one["agent"][0]["who"]["display"] for one in found} == {"Kim Lee"}


def test_a_patch_keeps_what_no_line_of_the_mapping_speaks_of(town: Town) -> None:
    id_ = add(town.mercy, "programs", MEALS)
    resource = fhir(town.mercy, f"HealthcareService/{id_}")
    resource["extension"].append(FOREIGN)
    resource["type"][0]["coding"].append({"system": "urn:oid:9.9", "code": "MEAL"})
    resource["photo"] = {"url": "https://kitchen.example/van.png"}
    assert town.mercy.put(f"/fhir/HealthcareService/{id_}", resource).status_code == 200
    answer = patch(town.mercy, "programs", id_, {"comment": None, "free_places": 0})
    assert answer.status_code == 200, answer.data
    assert ("comment" in body(answer), body(answer)["free_places"], body(answer)["version"]) == (False, 0, 3)
    after = fhir(town.mercy, f"HealthcareService/{id_}")
    assert (after["photo"], after["type"]) == (resource["photo"], resource["type"])
    assert FOREIGN in after["extension"]
    assert '"valueDecimal":0.7' in town.mercy.get(f"/fhir/HealthcareService/{id_}").get_data(as_text=True)


def test_a_patch_that_says_the_same_makes_no_version(town: Town) -> None:
    id_ = add(town.mercy, "people", PERSON)
    answer = patch(town.mercy, "people", id_, {**PERSON, "id": id_, "version": 1})
    assert (answer.status_code, body(answer)["version"], answer.headers["ETag"]) == (200, 1, 'W/"1"')


def test_a_lost_update_is_refused_and_who_sends_no_tag_does_not_lose_to_a_faster_writer(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fhircase.flows import commit

    id_ = add(town.mercy, "locations", {"name": "Shelter"})
    assert patch(town.mercy, "locations", id_, {"about": "Fifth Street"}, If_Match='W/"1"').status_code == 200
    assert patch(town.mercy, "locations", id_, {"about": "Sixth Street"}, If_Match='W/"1"').status_code == 412
    check, moved = commit.check, []

    def slow(change: Any, **options: Any) -> Any:
        if not moved and change.source.kind == "case":
            moved.append(True)
            assert town.mercy.put(f"/fhir/Location/{id_}", fhir(town.mercy, f"Location/{id_}") | {"name": "Moved"}).status_code == 200
        return check(change, **options)

    monkeypatch.setattr(commit, "check", slow)
    assert patch(town.mercy, "locations", id_, {"about": "Seventh Street"}).status_code == 200
    shown = body(town.mercy.get(f"/directory/locations/{id_}"))
    assert (shown["name"], shown["about"], shown["version"]) == ("Moved", "Seventh Street", 4)


# ------------------------------------------------------------------------------------------------ whose


def test_an_entry_is_changed_by_who_made_it_and_the_hubs_people_and_by_no_other_partner(town: Town) -> None:
    id_ = add(town.mercy, "programs", MEALS)
    for doc in ({"free_places": 6}, {}):
        assert patch(town.riverside, "programs", id_, doc).status_code == 403
    assert body(town.riverside.get(f"/directory/programs/{id_}"))["free_places"] == 7
    for places, caller in ((5, town.mercy), (4, town.manager), (3, town.admin)):
        answer = patch(caller, "programs", id_, {"free_places": places})
        assert (answer.status_code, body(answer)["free_places"]) == (200, places)
    hubs = add(town.manager, "programs", MEALS)
    assert patch(town.mercy, "programs", hubs, {"free_places": 6}).status_code == 403


def test_a_key_reads_and_writes_only_what_its_scopes_name(town: Town) -> None:
    id_ = add(town.mercy, "programs", MEALS)
    reader = town.key("mercy", "system/HealthcareService.rs", "system/Practitioner.cu")
    assert reader.get("/directory/programs").status_code == 200
    assert reader.get(f"/directory/programs/{id_}").status_code == 200
    assert reader.post("/directory/programs", MEALS).status_code == 403
    assert patch(reader, "programs", id_, {"free_places": 1}).status_code == 403
    assert reader.get("/directory/people").status_code == 403
    assert Api(town.app, "").get("/directory/programs").status_code == 401


def test_what_is_absent_or_deleted_or_no_part_of_the_directory_is_told(town: Town) -> None:
    id_ = add(town.mercy, "programs", MEALS)
    assert town.mercy.get(f"/directory/people/{id_}").status_code == 404
    assert patch(town.mercy, "programs", "none", {"free_places": 1}).status_code == 404
    for answer in (town.mercy.get("/directory/clients"), town.mercy.post("/directory/clients", {}), town.mercy.get("/directory/clients/x")):
        assert answer.status_code == 404 and "programs" in body(answer)["errors"][0]["hint"]
    assert town.mercy.delete(f"/fhir/HealthcareService/{id_}").status_code in (200, 204)
    assert town.riverside.get(f"/directory/programs/{id_}").status_code == 410
    assert patch(town.mercy, "programs", id_, {"free_places": 1}).status_code == 410
    assert id_ not in listed(town.mercy, "programs")


# ------------------------------------------------------------------------------------------------ bad documents

BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    ("programs", {}, ["/name"]),
    ("programs", {**MEALS, "nmae": "x", "kinds": ["meels"]}, ["/kinds/0", "/nmae"]),
    ("programs", {**MEALS, "free_places": "7", "hours": [{"opens": "noon"}]}, ["/free_places"]),
    ("programs", {**MEALS, "id": "mine", "version": 3, "number": "x"}, ["/id", "/number", "/version"]),
    ("programs", {**MEALS, "organization": "Organization/none", "areas": ["Organization/x", "Location/none"]},
     ["/areas/0", "/areas/1", "/organization"]),
    ("programs", {**MEALS, "organization": "#kitchen"}, ["/organization"]),
    ("programs", {**MEALS, "closed": [{"since": "2026-02-30"}]}, ["/closed/0/since", "/closed/0/why"]),
    ("people", {"names": [{"family": "  "}], "sex": "x", "qualifications": [{"since": "2026"}]},
     ["/names/0/family", "/qualifications/0/what", "/sex"]),
    ("roles", {"person": "Practitioner/none", "professions": "social-worker"}, ["/person", "/professions"]),
    ("locations", {"name": "Shelter", "address": {"citty": "Salem"}, "latitude": "44"}, ["/address/citty", "/latitude"]),
    ("organizations", {"name": None, "kinds": ["hospitel"]}, ["/kinds/0", "/name"]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "document", "paths"), BAD, ids=[f"{w}-{'-'.join(p)}" for w, _, p in BAD])
def test_a_bad_entry_is_refused_with_every_place(town: Town, what: str, document: dict[str, Any], paths: list[str]) -> None:
    before = listed(town.mercy, what)
    assert sorted(errors(town.mercy.post(f"/directory/{what}", document))) == paths
    assert listed(town.mercy, what) == before


def test_a_bad_patch_is_refused_with_every_place_and_what_was_meant(town: Town) -> None:
    id_ = add(town.mercy, "programs", MEALS)
    told = errors(patch(town.mercy, "programs", id_, {"name": None, "nmae": "x", "version": 2, "organization": "Organization/none"}))
    assert set(told) == {"/name", "/nmae", "/version", "/organization"}
    assert told["/nmae"] == "did you mean 'name'?"
    assert body(town.mercy.get(f"/directory/programs/{id_}"))["version"] == 1


def test_what_breaks_a_rule_of_fhir_is_told_by_the_field(town: Town) -> None:
    answer = town.mercy.post("/directory/programs", {**MEALS, "hours": [{"days": ["monday"], "opens": "noon"}]})
    assert (answer.status_code, [one["path"] for one in body(answer)["errors"]]) == (422, ["/hours/0/opens"])


@pytest.mark.parametrize("content", [b"{", b"[]", b'"x"', b'{"name": "a", "name": "b"}'])
def test_what_is_no_document_is_refused(town: Town, content: bytes) -> None:
    assert town.mercy.post("/directory/programs", content, Content_Type="application/json").status_code == 400
    assert town.mercy.post("/directory/programs", content, Content_Type="text/plain").status_code == 415


# ------------------------------------------------------------------------------------------------ lists


def test_programs_are_found_by_kind_area_location_organization_name_and_text(town: Town) -> None:
    kitchen, house = add(town.manager, "organizations", {"name": "Kitchen"}), add(town.manager, "organizations", {"name": "House"})
    county, hall = add(town.manager, "locations", {"name": "County"}), add(town.manager, "locations", {"name": "Hall"})
    meals = add(town.manager, "programs", {
        **MEALS, "organization": f"Organization/{kitchen}", "areas": [f"Location/{county}"], "locations": [f"Location/{hall}"],
    })  # fmt: skip
    rooms = add(town.manager, "programs", {
        "name": "Recovery house", "kinds": ["housing"], "organization": f"Organization/{house}", "details": "Café, " + "quiet rooms " * 60,
    })  # fmt: skip
    for query, wanted in {
        "": [meals, rooms], "kind=meals": [meals], "kind=housing": [rooms], "category=aged-care": [meals], "price=free": [meals],
        "kind=legal-help": [],
        f"area={county}": [meals], f"area=Location/{county}": [meals], f"area={hall}": [], f"location={hall}": [meals],
        f"organization={house}": [rooms], f"organization=Organization/{kitchen}&kind=housing": [],
        "name=wheels": [meals], "name=NORTH+meals": [meals], "name=wheels+house": [], "name=e": [meals, rooms], "name=": [meals, rooms],
        "text=shows+CARD": [meals], "text=cafe+rooms": [rooms], "text=meals": [meals], f"text={kitchen}": [],
        "text=housing&name=house": [rooms],
    }.items():  # fmt: skip
        assert listed(town.riverside, f"programs?{query}") == wanted, query


def test_marks_of_the_search_grammar_are_letters_of_a_name(town: Town) -> None:
    odd = add(town.mercy, "organizations", {"name": "A,B|C$D\\E House"})
    add(town.mercy, "organizations", {"name": "House of A"})
    for name in ("A,B", "B|C", "C$D", "D\\E", "house A,b|c$d\\e"):
        assert listed(town.mercy, f"organizations?name={quote(name)}") == [odd], name


def test_a_kind_is_found_by_each_code_that_is_read_as_it(town: Town) -> None:
    """A partner codes with SNOMED alone, or with ours alone; who says a word in text alone is found by text."""
    id_ = add(town.mercy, "programs", {"name": "Lunch", "kinds": ["meals"]})
    codings = fhir(town.mercy, f"HealthcareService/{id_}")["type"][0]["coding"]
    alone = [
        town.mercy.made({"resourceType": "HealthcareService", "name": f"Lunch {n}", "type": [{"coding": [coding]}]})["id"]
        for n, coding in enumerate(codings)
    ]
    town.mercy.made({"resourceType": "HealthcareService", "name": "Lunch of no kind", "type": [{"text": "lunch, meals"}]})
    both = [{"system": "urn:fhircase:codes:service-kind", "code": code} for code in ("housing", "meals")]
    town.mercy.made({"resourceType": "HealthcareService", "name": "Read as housing", "type": [{"coding": both}]})
    read = [one for one in alone if "meals" in body(town.mercy.get(f"/directory/programs/{one}")).get("kinds", ())]
    assert read, "at least our own code is read"
    assert listed(town.mercy, "programs?kind=meals") == [id_, *read]


def test_people_are_found_by_any_words_of_their_names_and_roles_by_those_of_the_person(town: Town) -> None:
    ana, lee = add(town.mercy, "people", PERSON), add(town.mercy, "people", {"names": [{"text": "Kim Lee"}]})
    role = add(town.mercy, "roles", {"person": f"Practitioner/{ana}", "professions": ["social-worker"]})
    shown = town.mercy.made({"resourceType": "PractitionerRole", "practitioner": {"display": "Bola Ade"}})["id"]
    for query, wanted in {
        "people?name=munoz": [ana], "people?name=lucia+MUÑOZ": [ana], "people?name=munoz+lucia+dr": [ana], "people?name=lee+kim": [lee],
        "people?name=lee+ana": [], "people?text=official": [ana],
        "roles?name=munoz+ana": [role], "roles?name=ade": [shown], "roles?name=lee": [], f"roles?person={ana}": [role],
        "roles?profession=social-worker": [role], "roles?profession=physician": [],
    }.items():  # fmt: skip
        assert listed(town.riverside, query) == wanted, query


def test_pages_are_in_the_order_of_names_and_skip_nothing_while_entries_are_changed(town: Town) -> None:
    made = {f"Program {n:02}": add(town.manager, "programs", {"name": f"Program {n:02}", "comment": "odd" if n % 2 else "even"})
            for n in reversed(range(23))}  # fmt: skip
    ordered = [made[name] for name in sorted(made)]
    assert listed(town.manager, "programs?count=5") == listed(town.manager, "programs") == ordered
    assert listed(town.manager, "programs?text=odd&count=4") == ordered[1::2]
    (late,) = body(town.manager.get("/directory/programs?text=odd&count=1"))["items"]
    assert late["id"] == ordered[1], "no page is empty while there is more to be found"
    first = body(town.manager.get("/directory/programs?count=5"))
    assert [one["id"] for one in first["items"]] == ordered[:5]
    for id_ in ordered:
        assert patch(town.manager, "programs", id_, {"free_places": 1}).status_code == 200
    rest = body(town.manager.get(f"/directory/programs?count=200&next={first['next']}"))
    assert [one["id"] for one in rest["items"]] == ordered[5:]


@pytest.mark.parametrize(
    ("query", "status", "path"),
    [
        ("programs?nam=x", 422, "nam"), ("people?kind=meals", 422, "kind"), ("programs?kind=meels", 422, "kind"),
        ("programs?area=Organization/x", 422, "area"), ("programs?area=a/b/c", 422, "area"), ("programs?name=a&name=b", 422, "name"),
        ("programs?name=%00", 422, "name"), ("programs?name=%CC%81", 422, "name"), ("roles?person=Patient/x", 422, "person"),
        ("programs?count=x", 400, "count"), ("programs?next=abc", 400, "next"),
    ],
)  # fmt: skip
def test_an_unknown_filter_is_refused_by_its_name(town: Town, query: str, status: int, path: str) -> None:
    answer = town.mercy.get(f"/directory/{query}")
    assert (answer.status_code, [one["path"] for one in body(answer)["errors"]]) == (status, [path]), answer.data


def test_a_cursor_belongs_to_its_own_list(town: Town) -> None:
    for name in ("A", "B"):
        add(town.mercy, "programs", {"name": name, "kinds": ["meals"]})
    following = body(town.mercy.get("/directory/programs?count=1"))["next"]
    assert town.mercy.get(f"/directory/programs?kind=meals&next={following}").status_code == 400


# ------------------------------------------------------------------------------------------------ described


def described(town: Town) -> Any:
    return body(town.mercy.get("/openapi.json"))


def test_every_post_and_patch_of_cases_and_the_directory_says_what_it_takes(town: Town) -> None:
    told = described(town)
    asked = {
        (method, path): operation
        for path, operations in told["paths"].items()
        if path.startswith(("/cases", "/directory"))
        for method, operation in operations.items()
        if method in ("post", "patch", "put")
    }
    assert len(asked) >= 15
    for place, operation in asked.items():
        assert "requestBody" in operation, place
        for media, content in operation["requestBody"]["content"].items():
            assert media in ("application/json", "application/merge-patch+json")
            jsonschema.Draft202012Validator.check_schema(content["schema"])
    names = set(told["components"]["schemas"])
    assert {"Person", "Organization", "Program", "Role", "Location", "ProgramPatch", "GoalPatch", "CasePatch"} <= names
    references = {text.removeprefix("#/components/schemas/") for text in _references(told)}
    assert references <= names


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)


TAKEN: list[tuple[str, str, Any, Any]] = [
    ("post", "/directory/{what}", MEALS, {**MEALS, "nmae": "x"}),
    ("patch", "/directory/{what}/{entry}", {"about": None, "address": {"city": "Salem"}}, {"colour": "red"}),
    ("post", "/cases/{case}/phase", {"to": "assessment", "because": "x"}, {"to": "closed", "because": "x"}),
    ("post", "/cases/{case}/hold", {"because": "x"}, {}),
    ("post", "/cases/{case}/resume", {"because": "x"}, {}),
    ("post", "/cases/{case}/reopen", {"because": "x"}, {"because": ""}),
    ("post", "/cases/{case}/close", {"reason": "withdrew"}, {"reason": "bored"}),
    ("post", "/cases/{case}/decisions", {"on": "Goal/x", "decided": "accepted", "by": "Patient/x"}, {"on": "Goal/x"}),
    ("post", "/cases/{case}/activate", {"goals": ["a"]}, {"goal": ["a"]}),
    ("post", "/cases/{case}/{what}/{entry}/move", {"to": "a", "because": "x"}, {"to": "a"}),
    ("post", "/cases/{case}/{what}", {"title": "Walk", "lifecycle": "active"}, {"titel": "Walk"}),
    ("patch", "/cases/{case}/{what}/{entry}", {"due": None}, {"dew": None}),
    ("patch", "/cases/{case}/{what}", {"title": "Home"}, {"titel": "Home"}),
    ("patch", "/cases/{case}", {"goals": {"a": {"due": None}, "#n": {"title": "x", "lifecycle": "active"}}}, {"goals": {"#n": {}}}),
    ("post", "/cases", {"client": "Patient/x", "goals": [{"title": "x", "lifecycle": "active"}]}, {"kind": "medical"}),
]


@pytest.mark.parametrize(("method", "path", "good", "bad"), TAKEN, ids=[f"{m} {p}" for m, p, _, _ in TAKEN])
def test_the_described_body_takes_what_the_route_takes(town: Town, method: str, path: str, good: Any, bad: Any) -> None:
    told = described(town)
    registry: Any = Registry().with_resource("urn:openapi", DRAFT202012.create_resource(told))
    schema = told["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
    whole = {"$id": "urn:openapi:body", **_absolute(schema)}
    validator = jsonschema.Draft202012Validator(whole, registry=registry)
    assert [error.message for error in validator.iter_errors(good)] == []
    assert not validator.is_valid(bad)


def _absolute(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: "urn:openapi" + one if name == "$ref" else _absolute(one) for name, one in value.items()}
    return [_absolute(one) for one in value] if isinstance(value, list) else value


def test_an_entry_as_it_is_read_fits_its_own_schema(town: Town) -> None:
    schemas = described(town)["components"]["schemas"]
    for what, part in directory.PARTS.items():
        id_ = add(town.mercy, what, MEALS if what == "programs" else LEAST[what])
        shown = body(town.mercy.get(f"/directory/{what}/{id_}"))
        assert [e.message for e in jsonschema.Draft202012Validator(schemas[part.mapping.capitalize()]).iter_errors(shown)] == []
