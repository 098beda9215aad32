"""Models and kinds are tables; a case of several has all that any of them asks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fhircase.case.models import EVERY, KINDS, MODELS, USUAL, effective
from fhircase.errors import Invalid
from tests.conftest import ROOT


def codes(name: str) -> set[str]:
    groups = json.loads((ROOT / "mappings" / "codes" / f"{name}.json").read_text("utf-8"))["group"]
    return {element["code"] for group in groups for element in group["element"]}


def test_the_tables_hold_every_model_kind_and_domain_of_the_mappings_and_no_other() -> None:
    assert set(MODELS) == codes("case-model")
    assert set(KINDS) == codes("case-kind")
    assert {domain for kind in (EVERY, *KINDS.values()) for domain in kind.domains} <= codes("domain")


def test_the_kinds_that_need_a_label_are_those_that_the_mappings_label() -> None:
    assert {name for name, kind in KINDS.items() if kind.label} == codes("privacy-label")


def test_a_case_without_model_or_kind_has_the_usual() -> None:
    asked = effective({})
    assert (asked.contact_days, asked.review_days, asked.domains, asked.labels) == (30, 90, EVERY.domains, frozenset())
    assert (asked.models, asked.kinds, asked.templates, asked.performed_by) == ((), (), (), "any")


def test_the_intensive_model_has_the_shortest_contact_interval() -> None:
    others = [model.contact_days for name, model in MODELS.items() if name != "intensive"]
    assert MODELS["intensive"].contact_days < min([*others, USUAL.contact_days])


def test_a_model_is_found_in_its_own_field_and_among_the_kinds() -> None:
    assert effective({"model": "intensive"}) == effective({"kinds": ["intensive"]})
    assert effective({"model": "intensive"}).contact_days == 7


def test_several_kinds_ask_for_the_domains_outcomes_and_labels_of_all() -> None:
    asked = effective({"kinds": ["medical", "substance-use", "re-entry"]})
    assert set(asked.domains) == {*EVERY.domains, *(d for kind in ("medical", "substance-use", "re-entry") for d in KINDS[kind].domains)}
    assert {"relapse", "recidivism", "readmitted", "quality-of-life"} <= set(asked.outcomes)
    assert asked.labels == {"substance-use", "justice"}
    assert asked.templates == ("medical", "substance-use", "re-entry")
    assert len(asked.domains) == len(set(asked.domains))


def test_several_models_have_the_most_frequent_contact_and_review() -> None:
    asked = effective({"kinds": ["brokerage", "intensive", "strengths-based"]})
    assert (asked.contact_days, asked.review_days) == (7, 30)
    assert (asked.strengths_first, asked.flags_own_services, asked.performed_by) == (True, True, "others")


def test_own_services_are_wanted_in_direct_service_even_beside_brokerage() -> None:
    both = effective({"kinds": ["brokerage", "direct-service"]})
    assert (both.flags_own_services, both.wants_own_activity, both.performed_by) == (False, True, "own")
    assert effective({"model": "brokerage"}).wants_own_activity is False


@pytest.mark.parametrize(
    ("kind", "label"),
    [("substance-use", "substance-use"), ("mental-health", "mental-health"), ("re-entry", "justice")],
)
def test_sensitive_kinds_need_a_label(kind: str, label: str) -> None:
    assert effective({"kinds": [kind]}).labels == {label}


@pytest.mark.parametrize("kind", ["medical", "disability", "youth", "social", "legal"])
def test_other_kinds_need_no_label(kind: str) -> None:
    assert effective({"kinds": [kind]}).labels == frozenset()


def test_a_foreign_kind_asks_for_nothing() -> None:
    assert effective({"kinds": ["post-acute"]}) == effective({})


def test_a_site_overrides_a_value_and_adds_a_kind() -> None:
    overrides = {
        "models": {"intensive": {"contact_days": 2}},
        "kinds": {"veterans": {"domains": ["housing"], "outcomes": ["housed"]}},
        "usual": {"review_days": 60},
        "every": {"outcomes": ["satisfaction"]},
    }
    assert effective({"model": "intensive"}, overrides).contact_days == 2
    assert effective({"model": "intensive"}).contact_days == 7
    asked = effective({"kinds": ["veterans"]}, overrides)
    assert (asked.domains, asked.outcomes, asked.review_days) == ((*EVERY.domains, "housing"), ("satisfaction", "housed"), 60)


@pytest.mark.parametrize(
    ("overrides", "path"),
    [
        ({"model": {}}, "/model"),
        ({"models": []}, "/models"),
        ({"models": {"intensive": 2}}, "/models/intensive"),
        ({"models": {"intensive": {"contact": 2}}}, "/models/intensive/contact"),
        ({"models": {"intensive": {"contact_days": 0}}}, "/models/intensive/contact_days"),
        ({"models": {"intensive": {"contact_days": True}}}, "/models/intensive/contact_days"),
        ({"models": {"intensive": {"performed_by": "us"}}}, "/models/intensive/performed_by"),
        ({"models": {"intensive": {"strengths_first": 1}}}, "/models/intensive/strengths_first"),
        ({"kinds": {"youth": {"domains": "housing"}}}, "/kinds/youth/domains"),
        ({"kinds": {"youth": {"label": 3}}}, "/kinds/youth/label"),
    ],
)
def test_an_override_that_cannot_be_is_told_with_its_place(overrides: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        effective({}, overrides)
    assert [problem.path for problem in refused.value.problems] == [path]


def test_all_mistakes_of_an_override_are_told_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        effective({}, {"x": {}, "usual": {"review_days": -1}, "every": {"y": 1}})
    assert [problem.path for problem in refused.value.problems] == ["/x", "/usual/review_days", "/every/y"]
