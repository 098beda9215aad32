"""Polls a second: a partner that is a member asks for the plan and its goals; against the same bytes by one indexed query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from fhircase.demo.servers import Api
from fhircase.storage import engine
from tests.bench import table, town
from tests.bench.load import Load, rate

FLOOR = 0.30
SECONDS = 2.0
CLIENTS = 40
POLL = "/fhir/CarePlan?patient={}&_lastUpdated=ge2000-01-01T00:00:00Z&_include=CarePlan:goal"


def plans_shared(hub: Any) -> tuple[dict[str, str], list[str]]:
    """Headers of a rehab that accepted ``CLIENTS`` hand-overs, and their Patient ids. The polls find a plan with its goals."""
    sender = {"Authorization": f"Bearer {town.key(hub, 'mercy')}", "Content-Type": "application/hl7-v2"}
    with requests.Session() as session:
        for n in range(CLIENTS):
            assert session.post(f"{hub.url}/intake/hl7v2", town.discharge(f"{n:012d}"), headers=sender, timeout=20).status_code == 200
    rehab = Api(hub.url, town.key(hub, "riverside"))
    tasks = [task for task in rehab.search("/fhir/Task") if task["status"] == "requested"]
    for task in tasks:
        rehab.call("PUT", f"/fhir/Task/{task['id']}", task | {"status": "accepted"}, If_Match=f'W/"{task["meta"]["versionId"]}"')
    patients = [task["for"]["reference"].removeprefix("Patient/") for task in tasks]
    assert len(patients) == CLIENTS
    return dict(rehab.session.headers), patients


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_polls_of_a_member(kind: str, tmp_path: Path, request: Any) -> None:
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("hub", "bare")]
    if kind == "postgresql":
        cluster = request.getfixturevalue("postgres_cluster")
        urls = [cluster.create(), cluster.create()]
    with town.hub(tmp_path / "hub", urls[0]) as hub:
        headers, patients = plans_shared(hub)
        load = Load([POLL.format(patient) for patient in patients], headers)
        pages = {}
        for patient, path in zip(patients, load.paths):
            answer = requests.get(hub.url + path, headers=headers, timeout=20)
            modes = [entry["search"]["mode"] for entry in answer.json()["entry"]]
            assert modes.count("match") == 1 and modes.count("include") >= 2, "the plan and its goals"
            pages[patient] = answer.content
        database = engine.connect(town.empty(urls[1]))
        with database.write() as session:
            blob = "BYTEA" if kind == "postgresql" else "BLOB"
            session.run(f"CREATE TABLE page (patient TEXT PRIMARY KEY, body {blob} NOT NULL)")
            session.many("INSERT INTO page (patient, body) VALUES (?, ?)", list(pages.items()))
        database.close()
        with town.bare("polls", urls[1], tmp_path / "nothing") as bare:
            row = table.compare(
                "polls", kind, lambda: rate(hub.url, load, SECONDS, tmp_path), lambda: rate(bare, load, SECONDS, tmp_path), floor=FLOOR
            )
        seen = Api(hub.url, town.ADMIN).get("/audit?partner=riverside&_count=1")
        assert seen, "the polls are in the audit"
    assert row.kept, row
