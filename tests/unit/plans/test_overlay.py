"""What a sender says is laid over what stands; what it leaves out stays."""

from __future__ import annotations

from fhircase.fhir import jsontext
from fhircase.plans import overlay

STORED = {
    "resourceType": "Patient", "id": "p", "meta": {"security": [{"code": "R"}]}, "gender": "female", "address": [{"city": "Salem"}],
    "identifier": [{"system": "a", "value": "1"}, {"system": "b", "value": "2", "use": "official"}],
    "extension": [{"url": "x", "valueCode": "M"}, {"url": "y", "valueInteger": 1}],
}  # fmt: skip


def test_an_element_that_is_left_out_stays() -> None:
    assert overlay.lay(STORED, {"resourceType": "Patient", "id": "theirs", "gender": "male"}) == {**STORED, "gender": "male"}


def test_saying_the_same_again_changes_nothing() -> None:
    assert overlay.lay(STORED, STORED) == STORED


def test_identifiers_join_by_system_and_value_and_extensions_by_url() -> None:
    made = overlay.lay(
        STORED,
        {
            "identifier": [{"system": "c", "value": "3"}, {"system": "b", "value": "2", "use": "old"}],
            "extension": [{"url": "y", "valueInteger": 2}],
        },
    )
    assert [i["value"] for i in made["identifier"]] == ["1", "2", "3"]
    assert made["identifier"][1]["use"] == "old"
    assert made["extension"] == [{"url": "x", "valueCode": "M"}, {"url": "y", "valueInteger": 2}]


def test_labels_are_only_ever_added() -> None:
    made = overlay.lay(STORED, {"meta": {"security": [{"code": "SUD"}], "lastUpdated": "2020-01-01T00:00:00Z"}})
    assert made["meta"] == {"security": [{"code": "R"}, {"code": "SUD"}]}


def test_numbers_keep_their_tokens() -> None:
    made = overlay.lay({"resourceType": "Observation"}, jsontext.loads('{"valueQuantity":{"value":72.50}}'))
    assert jsontext.dumps(made) == '{"resourceType":"Observation","valueQuantity":{"value":72.50}}'


def test_filling_adds_only_what_was_lacking() -> None:
    made = overlay.fill(
        STORED, {"gender": "male", "birthDate": "1956-03-04", "identifier": [{"system": "b", "value": "2"}, {"system": "c", "value": "3"}]}
    )
    assert (made["gender"], made["birthDate"], [i["value"] for i in made["identifier"]]) == ("female", "1956-03-04", ["1", "2", "3"])
    assert overlay.differing(STORED, {"gender": "male", "birthDate": "1956-03-04", "address": [{"city": "Salem"}]}) == ("gender",)


def test_the_same_diagnosis_of_the_same_visit_is_one_condition() -> None:
    one = {
        "resourceType": "Condition",
        "code": {"coding": [{"system": "s", "code": "I50.9", "display": "Heart failure"}]},
        "encounter": {"reference": "Encounter/1"},
    }
    two = {
        "resourceType": "Condition",
        "code": {"coding": [{"system": "s", "code": "I50.9"}], "text": "HF"},
        "encounter": {"reference": "Encounter/1"},
    }
    assert overlay.same_thing(one, two)
    assert not overlay.same_thing(one, {**two, "encounter": {"reference": "Encounter/2"}})
    assert not overlay.same_thing(one, {**two, "code": {"coding": [{"system": "s", "code": "E11"}]}})


def test_a_type_without_a_rule_is_the_same_only_when_equal() -> None:
    assert overlay.same_thing({"resourceType": "Flag", "id": "1", "status": "active"}, {"resourceType": "Flag", "status": "active"})
    assert not overlay.same_thing({"resourceType": "Flag", "status": "inactive"}, {"resourceType": "Flag", "status": "active"})
