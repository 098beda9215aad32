"""The product's mappings, loaded once; a folder of mappings to spoil."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhircase.mapping import Mappings

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def maps() -> Mappings:
    return Mappings.load()


@pytest.fixture(scope="session")
def samples() -> Path:
    folder = Path(os.environ.get("FHIRCASE_SAMPLES", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the sample data is not here")
    return folder


GOAL = """\
mapping: goal
fhir: Goal
fields:
  title:     {fhir: description.text, need: yes}
  lifecycle: {fhir: lifecycleStatus, codes: life, need: yes}
  domain:    {fhir: category, codes: area}
  started:   {fhir: start.ofType(date)}
  client:    {fhir: subject, ref: Patient, need: yes}
"""
LIFE = {"new": "proposed", "running": "active", "done": "completed"}


def concept_map(rows: dict[str, str], target: str, equivalence: dict[str, str] | None = None) -> str:
    elements = [
        {"code": word, "target": [{"code": code, "equivalence": (equivalence or {}).get(word, "equivalent")}]}
        for word, code in rows.items()
    ]
    return json.dumps(
        {"resourceType": "ConceptMap", "status": "active", "group": [{"source": "s", "target": target, "element": elements}]}, indent=1
    )


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """A folder with one small mapping and what is written over it: ``folder(goal=…, codes={…}, files={…})``."""

    def make(goal: str = GOAL, codes: dict[str, str] | None = None, files: dict[str, str] | None = None) -> Path:
        written: dict[str, Any] = {"goal.yaml": goal, "codes/life.json": concept_map(LIFE, "http://hl7.org/fhir/goal-status")}
        written["codes/area.json"] = concept_map(
            {"food": "dietary", "safety": "safety"}, "http://terminology.hl7.org/CodeSystem/goal-category"
        )
        written |= {f"codes/{name}.json": text for name, text in (codes or {}).items()}
        written |= files or {}
        for name, text in written.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return tmp_path

    return make
