"""Which client is this: only numbers decide, and every doubt is told."""

from __future__ import annotations

from typing import Any

import pytest

from fhircase.plans.change import Ref
from fhircase.plans.identity import Candidate, clash, decide

MRN = ("urn:mercy", "MRN1")
OTHER = ("urn:county", "C9")
JANE = {"name": [{"family": "Núñez-O'Brien", "given": ["Jane"]}], "birthDate": "1956-03-04"}
STRANGER = {"name": [{"family": "Miller"}], "birthDate": "1990-01-01"}
A, B, C = Ref("Patient", "a"), Ref("Patient", "b"), Ref("Patient", "c")


def holder(ref: Ref, body: dict[str, Any], *numbers: tuple[str, str]) -> Candidate:
    return Candidate(ref, body, frozenset(numbers), frozenset(numbers))


def bearer(ref: Ref, body: dict[str, Any], *numbers: tuple[str, str]) -> Candidate:
    return Candidate(ref, body, frozenset(), frozenset(numbers))


def test_a_number_that_nobody_holds_makes_a_new_client_who_claims_it() -> None:
    found = decide([MRN], [], JANE)
    assert (found.kind, found.ref, found.claims, found.linked, found.doubt) == ("create", None, (MRN,), False, None)


def test_a_number_that_is_held_matches_and_new_numbers_are_claimed() -> None:
    found = decide([MRN, OTHER], [holder(A, JANE, MRN)], JANE)
    assert (found.kind, found.ref, found.claims, found.linked, found.doubt) == ("match", A, (OTHER,), True, None)


def test_two_numbers_of_different_clients_are_never_guessed() -> None:
    found = decide([MRN, OTHER], [holder(A, JANE, MRN), holder(B, JANE, OTHER)], JANE)
    assert (found.kind, found.ref, found.claims) == ("review", None, ())
    assert found.doubt is not None
    assert found.doubt.detail["candidates"] == ["Patient/a", "Patient/b"]


def test_the_same_contradiction_again_finds_the_record_that_it_made() -> None:
    candidates = [holder(A, JANE, MRN), holder(B, JANE, OTHER), bearer(C, JANE, MRN, OTHER)]
    found = decide([MRN, OTHER], candidates, JANE)
    assert (found.kind, found.ref, found.claims) == ("review", C, ())


def test_the_same_doubt_has_the_same_review_key_whatever_the_order_of_numbers() -> None:
    candidates = [holder(A, JANE, MRN), holder(B, JANE, OTHER)]
    one, two = decide([MRN, OTHER], candidates, JANE), decide([OTHER, MRN], candidates[::-1], JANE)
    assert one.doubt is not None and two.doubt is not None
    assert one.doubt.key == two.doubt.key


def test_another_name_and_birth_date_on_the_same_number_is_a_record_of_its_own() -> None:
    found = decide([MRN], [holder(A, JANE, MRN)], STRANGER)
    assert (found.kind, found.ref, found.claims, found.linked) == ("review", None, (), False)


def test_the_clash_again_goes_to_the_record_that_it_made() -> None:
    found = decide([MRN], [holder(A, JANE, MRN), bearer(C, STRANGER, MRN)], STRANGER)
    assert found.ref == C


def test_a_known_visit_overrules_a_clash_because_two_numbers_agree() -> None:
    found = decide([MRN], [holder(A, JANE, MRN)], STRANGER, visit_client=A)
    assert (found.kind, found.ref, found.linked) == ("review", A, True)
    assert found.doubt is not None and found.doubt.detail["doubt"] == "clash"


def test_a_visit_known_for_another_client_is_told() -> None:
    found = decide([MRN], [holder(A, JANE, MRN), bearer(B, JANE)], JANE, visit_client=B)
    assert (found.kind, found.ref) == ("review", A)


def test_without_a_number_the_known_visit_tells_the_client() -> None:
    found = decide([], [bearer(A, JANE)], JANE, visit_client=A)
    assert (found.kind, found.ref, found.doubt) == ("match", A, None)


def test_without_a_number_and_visit_a_record_is_made_and_a_person_asked() -> None:
    found = decide([], [], JANE)
    assert (found.kind, found.ref, found.claims) == ("create", None, ())
    assert found.doubt is not None


def test_a_new_number_of_an_authority_that_the_client_had_none_of_joins_through_the_visit() -> None:
    found = decide([MRN], [bearer(A, {**JANE, "identifier": [{"system": "urn:county", "value": "C9"}]})], JANE, visit_client=A)
    assert (found.kind, found.ref, found.claims, found.doubt) == ("match", A, (MRN,), None)


def test_another_number_of_the_same_authority_on_a_known_visit_is_told() -> None:
    found = decide([MRN], [bearer(A, {**JANE, "identifier": [{"system": "urn:mercy", "value": "MRN2"}]})], JANE, visit_client=A)
    assert (found.kind, found.ref, found.claims) == ("review", A, ())


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (STRANGER, True),
        ({"name": [{"family": "Miller"}], "birthDate": "1956-03-04"}, False),
        ({"name": [{"family": "NUNEZ O BRIEN"}], "birthDate": "1990-01-01"}, False),
        ({"name": [{"family": "Miller"}], "birthDate": "1956"}, False),
        ({"name": [{"family": "Miller"}]}, False),
        ({"birthDate": "1990-01-01"}, False),
        ({"name": [{"family": "Miller"}, {"family": "Núñez-O'Brien", "use": "maiden"}], "birthDate": "1990-01-01"}, False),
        ({}, False),
    ],
)
def test_only_both_birth_date_and_family_name_clash(theirs: dict[str, Any], expected: bool) -> None:
    assert clash(JANE, theirs) is expected
