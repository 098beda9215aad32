"""What other people's validators say of the resources that the mappings' examples write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fhirkit
import pytest
from pyfhircheck import Validator
from pyfhircheck.config import ValidatorConfig

from fhircase.fhir import jsontext, models
from fhircase.mapping import Mappings

MAPS = Mappings.load()
WRITTEN: dict[str, dict[str, Any]] = {
    f"{name} {at}": mapping.out(example.case).resource
    for name in sorted(MAPS.names())
    if (mapping := MAPS.mapping(name)).fhir is not None
    for at, example in enumerate(mapping.examples)
}


@pytest.mark.parametrize("name", WRITTEN)
def test_an_example_is_valid_by_fhir_resources_and_fhirkit(name: str) -> None:
    text = jsontext.dumps(WRITTEN[name])
    assert models.second_opinion(json.loads(text)) == []
    assert [(one.severity, one.path, one.message) for one in fhirkit.validate(text)] == []


def _is_meant(issue: Any) -> bool:
    """Whether pyfhircheck 0.2 is right. It looks for a nested ``value[x]`` by that name, counts what stands in several parents as
    if in one, takes every decimal for more than 100, resolves questionnaires that are elsewhere, and lets no visit be a group's."""
    return not (
        (issue.code == "cardinality.min" and issue.path.endswith("[x]"))
        or issue.code in ("profile.element.cardinality.max", "profile.element.invariant.ras-2")
        or issue.code in ("questionnaire.unresolved", "custom.encounter.patient")
    )


def _judged(validator: Any, resource: dict[str, Any]) -> list[tuple[str, str]]:
    issues = validator.validate_resource(json.loads(jsontext.dumps(resource))).issues
    return [(one.code, one.path) for one in issues if str(one.severity.value) == "error" and _is_meant(one)]


def test_the_examples_are_valid_by_pyfhircheck_with_the_definitions_of_r4(samples: Path) -> None:
    package = str(samples / "packages" / "hl7.fhir.r4.core-4.0.1.tgz")
    config = ValidatorConfig(local_package_paths=[package], error_on_unknown_profile=False, allow_unknown_extensions=True)
    validator = Validator(config)
    assert {name: found for name, resource in WRITTEN.items() if (found := _judged(validator, resource))} == {}
    broken = {name: value for name, value in WRITTEN["goal 0"].items() if name != "description"} | {"lifecycleStatus": "won"}
    assert {path for _, path in _judged(validator, broken)} >= {"Goal.description", "Goal.lifecycleStatus"}


def test_no_mapping_claims_a_profile() -> None:
    # What claims one (US Core's are meant) must be judged by it first.
    assert {name: resource["meta"] for name, resource in WRITTEN.items() if "profile" in resource.get("meta", {})} == {}
