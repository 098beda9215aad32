"""Each list of the case view: entered at the case API it is read as FHIR and at both partners; changed or added by one partner on its
own server it is read at the case API and at the other partner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhircase.flows import kinds
from fhircase.flows.hub import Hub
from fhircase.mapping import Mappings
from fhircase.sync import shadow
from tests.conftest import FrozenClock
from tests.stories.concepts.entries import CHANGES, ENTRIES
from tests.stories.concepts.place import PARTNERS, Place

LISTS = [what for what, kind in kinds.KINDS.items() if kind.entered]


@pytest.fixture
def place(make_hub: Callable[..., Hub], clock: FrozenClock, maps: Mappings) -> Place:
    return Place(make_hub, clock, maps)


def test_every_list_that_is_entered_has_an_entry_here() -> None:
    assert set(ENTRIES) == set(LISTS) == set(CHANGES)


@pytest.mark.parametrize("what", LISTS)
def test_entered_at_the_case_api_it_stands_under_fhir_and_at_both_partners(place: Place, what: str) -> None:
    id_ = place.add(what, ENTRIES[what])
    reference = f"{kinds.KINDS[what].type}/{id_}"
    entry = place.entry(what, id_)
    for name, value in place.meant(ENTRIES[what]).items():
        assert same(entry[name], value), name
    ours = place.fhir(reference)
    assert kinds.of(ours) == what
    place.settle()
    for partner in PARTNERS:
        assert place.essence(partner, reference) == shadow.essence(ours), partner


@pytest.mark.parametrize("what", LISTS)
def test_what_one_partner_changes_reaches_the_case_and_the_other_partner(place: Place, what: str) -> None:
    id_ = place.add(what, ENTRIES[what])
    reference = f"{kinds.KINDS[what].type}/{id_}"
    place.settle()
    mapping = place.hub.maps.mapping(kinds.KINDS[what].mapping)
    remote = place.remote("riverside", reference)

    def edit(resource: dict[str, Any]) -> None:
        made = mapping.out({**mapping.into(resource).doc, **CHANGES[what]}, onto=resource)
        assert not [problem for problem in made.problems if problem.severity == "error"]
        resource.clear()
        resource.update(made.resource)

    place.servers["riverside"].edit(kinds.KINDS[what].type, remote, edit)
    place.settle()
    entry = place.entry(what, id_)
    if kinds.KINDS[what].type in GUARDED:
        assert all(entry[name] != value for name, value in CHANGES[what].items()), "it decides who sees what: a person is asked"
        assert any(review["kind"] == "widening" for review in reviews(place))
        return
    assert {name: entry[name] for name in CHANGES[what]} == CHANGES[what]
    assert place.essence("homeward", reference) == shadow.essence(place.fhir(reference))


@pytest.mark.parametrize("what", [what for what in LISTS if what not in ("households",)])
def test_what_one_partner_adds_is_shown_in_the_case_and_reaches_the_other_partner(place: Place, what: str) -> None:
    kind = kinds.KINDS[what]
    template = place.theirs("riverside", f"{kind.type}/{added(place, what)}")
    before = {one["id"] for one in place.view()[what]}
    fresh = {name: value for name, value in template.items() if name not in ("id", "meta")}
    fresh["identifier"] = {"value": "R-77"} if kind.type == "QuestionnaireResponse" else [{"system": "urn:riverside", "value": "R-77"}]
    place.servers["riverside"].add(fresh)
    place.settle()
    (new,) = [one for one in place.view()[what] if one["id"] not in before]
    reference = f"{kind.type}/{new['id']}"
    assert place.essence("homeward", reference) == shadow.essence(place.fhir(reference))


GUARDED = {"Consent"}
"""A partner's edit of these is a review (DECISIONS 2)."""


def added(place: Place, what: str) -> str:
    id_ = place.add(what, ENTRIES[what])
    place.settle()
    return id_


def reviews(place: Place) -> list[dict[str, Any]]:
    answer = place.manager.get("/reviews")
    found: list[dict[str, Any]] = answer.get_json(force=True)["items"]
    return found


def same(shown: Any, entered: Any) -> bool:
    """What is shown holds what was entered; lists may hold what every entry has."""
    if isinstance(entered, dict):
        return isinstance(shown, dict) and all(same(shown.get(name), value) for name, value in entered.items())
    if isinstance(entered, list):
        return isinstance(shown, list) and all(any(same(one, wanted) for one in shown) for wanted in entered)
    return bool(shown == entered)


def test_no_mapping_has_a_field_that_the_case_view_shows_itself(maps: Mappings) -> None:
    for kind in (*kinds.KINDS.values(), *kinds.SINGLES.values()):
        fields = {line.name for line in maps.mapping(kind.mapping).lines}
        assert not fields & (set(kinds.SHOWN) - {"id"}), kind.mapping
