"""HL7's own engine on what the mappings write, on what the checks refuse of what others published, and on the invariants' mutants.

It knows R4 and its own terminology; extensions and profiles of others it lets through."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from fhircase.fhir import checks, jsontext
from fhircase.mapping import Mappings
from tests.live import engine, servers
from tests.unit.fhir import mutants, published
from tests.unit.mapping.documents import documents

MAPS = Mappings.load()
NAMES = sorted(name for name in MAPS.names() if MAPS.mapping(name).fhir is not None)
EACH = 50
"""Distinct documents a mapping."""

LET_THROUGH = re.compile(
    # The documents are random: where a mapping takes any text, the engine asks for a URI or a language of BCP 47.
    r"(Identifier|Coding)\.system must be an absolute reference"
    r"|Canonical URLs must be absolute URLs"
    r"|Code .+ is not in valueset: http://hl7\.org/fhir/ValueSet/languages"
    # R4's name for an element of R5; the engine has the definitions of R4 alone.
    r"|Extension url 'http://hl7\.org/fhir/5\.0/StructureDefinition/extension-CommunicationRequest\.intent' is not valid"
    # Ends of different precision, of which none is surely later; the engine takes what cannot be told for false.
    r"|Constraint failed: per-1"
    # goal-acceptance names who accepted; a document may leave it out, and the case view then names the client.
    r"|Slice 'Extension\.extension:individual': a matching slice is required"
)
"""Errors of the engine that are not the mapping's."""

UNRESOLVED = {"ctm-1 0"}
"""Mutants whose fault only shows when a reference is followed, which the engine is told not to do."""


class _Enough(Exception):
    pass


pytestmark = pytest.mark.timeout(240)


def written(name: str) -> list[dict[str, Any]]:
    """The mapping's examples and random documents of it as resources, each another, ``EACH`` of them."""
    mapping = MAPS.mapping(name)
    found = {jsontext.dumps(made): made for made in (mapping.out(one.case).resource for one in mapping.examples)}

    @settings(
        max_examples=20 * EACH,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(documents(mapping))
    def collect(doc: dict[str, Any]) -> None:
        made = mapping.out(doc).resource
        if not checks.check(made):  # what they refuse is never written
            found.setdefault(jsontext.dumps(made), made)
        if len(found) == EACH:
            raise _Enough

    with suppress(_Enough):
        for start in range(5):
            seed(start)(collect)()
    return list(found.values())


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> dict[str, Any]:
    """All documents in one start: name -> (resource, findings)."""
    resources: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        resources |= {f"mapping {name} {at}": made for at, made in enumerate(written(name))}
    for name, resource in published.documents(samples):
        if published.REPORTS not in name and checks.check(resource):
            resources[f"published {name}"] = resource
    for key, rows in mutants.BREAKS.items():
        for at, row in enumerate(rows):
            place = mutants.context(row.context)
            host = place._replace(resource=place.having(row.good))
            resources[f"host {key} {at}"] = host.resource
            resources[f"mutant {key} {at}"] = host.having(row.bad)
    try:
        found = engine.validate({name: jsontext.dumps(one) for name, one in resources.items()}, tmp_path_factory.mktemp("engine"))
    except servers.Unavailable as missing:
        pytest.skip(str(missing))
    return {name: (resource, found[name]) for name, resource in resources.items()}


def _of(asked: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name.partition(" ")[2]: one for name, one in asked.items() if name.startswith(f"{kind} ")}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_mapping_writes_is_valid(name: str, asked: dict[str, Any]) -> None:
    mine = _of(asked, f"mapping {name}")
    assert len(mine) == EACH
    wrong = {at: [one for one in findings if not LET_THROUGH.match(one.what)] for at, (_, findings) in mine.items()}
    print(f"\n{name}: {len(mine)} distinct documents, {sum(map(len, (f for _, f in mine.values())))} findings on random text let through")
    assert {at: findings for at, findings in wrong.items() if findings} == {}


def test_what_the_checks_refuse_of_what_others_published_the_engine_refuses_too(asked: dict[str, Any]) -> None:
    accepted = {name for name, (_, findings) in _of(asked, "published").items() if not findings}
    assert accepted == set(published.OURS_ALONE)
    assert set(_of(asked, "published")) == set(published.REFUSED) | set(published.OURS_ALONE)


def test_the_engine_refuses_the_mutants_of_the_invariants_and_not_their_hosts(asked: dict[str, Any]) -> None:
    assert {name for name, (_, findings) in _of(asked, "mutant").items() if not findings} == UNRESOLVED
    hosts = _of(asked, "host").items()
    assert len(hosts) > 90
    assert {name: findings for name, (_, findings) in hosts if any(f"{name.partition(' ')[0]}:" in one.what for one in findings)} == {}
