"""Seventeen typical mistakes and some more: each is told at load, with file, line, column, path and the likely cure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fhircase.mapping import MappingErrors, Mappings, check

from .conftest import GOAL, LIFE, concept_map

GOAL_STATUS = "http://hl7.org/fhir/goal-status"
ADT = """\
mapping: adt
v2: ADT
fields:
  goals:
    use: goal
    v2: DG1
    many: yes
    fields:
      title: {v2: DG1-3.2}
"""


def told(path: Path) -> list[str]:
    with pytest.raises(MappingErrors) as caught:
        Mappings.load(path)
    return [str(one) for one in caught.value.mistakes]


MISTAKES: dict[str, tuple[str, str, str]] = {
    "misspelt element": (
        "description.text",
        "descriptoin.text",
        "mappings/goal.yaml:4:21: fields.title.fhir: 'descriptoin.text': Goal has no element 'descriptoin' (did you mean 'description'?)",
    ),
    "misspelt element further down": (
        "description.text",
        "description.txt",
        "mappings/goal.yaml:4:21: fields.title.fhir: 'description.txt': Goal.description has no element 'txt' (did you mean 'text'?)",
    ),
    "misspelt key": (
        "client:    {fhir:",
        "client:    {fihr:",
        "mappings/goal.yaml:8:15: fields.client.fihr: 'fihr' is not known here (did you mean 'fhir'?)",
    ),
    "choice without type": (
        "start.ofType(date)",
        "start",
        (
            "mappings/goal.yaml:7:21: fields.started.fhir: 'start': Goal.start has several types, say which: start.ofType(date), "
            "start.ofType(CodeableConcept)"
        ),
    ),
    "choice with another type": (
        "start.ofType(date)",
        "start.ofType(Period)",
        "mappings/goal.yaml:7:21: fields.started.fhir: 'start.ofType(Period)': Goal.start cannot be Period; allowed: date, CodeableConcept",
    ),
    "reference to a type that is not allowed": (
        "ref: Patient",
        "ref: Practitioner",
        "mappings/goal.yaml:8:35: fields.client.ref: Goal.subject cannot point to Practitioner; allowed: Group, Organization, Patient",
    ),
    "misspelt type": (
        "ref: Patient",
        "ref: Patinet",
        "mappings/goal.yaml:8:35: fields.client.ref: 'Patinet' is not a resource type (did you mean 'Patient'?)",
    ),
    "reference without ref": (
        "{fhir: subject, ref: Patient, need: yes}",
        "{fhir: subject, need: yes}",
        "mappings/goal.yaml:8:3: fields.client: Goal.subject is a Reference: say ref: <type>, or go on to .display",
    ),
    "concept without codes": (
        "description.text",
        "description",
        "mappings/goal.yaml:4:3: fields.title: Goal.description is CodeableConcept: say codes: <map>, or go on to .text",
    ),
    "required element without need": (
        "{fhir: subject, ref: Patient, need: yes}",
        "{fhir: subject, ref: Patient}",
        "mappings/goal.yaml:4:3: fields: Goal.subject is required by FHIR but no field with 'need: yes' or 'else', nor 'always', writes it",
    ),
    "unknown code table": (
        "codes: life",
        "codes: lief",
        "mappings/goal.yaml:5:45: fields.lifecycle.codes: there is no codes/lief.json (did you mean 'life'?)",
    ),
    "codes on a plain text": (
        "{fhir: description.text, need: yes}",
        "{fhir: description.text, codes: area, need: yes}",
        "mappings/goal.yaml:4:39: fields.title.codes: CodeableConcept.text is string: a code table needs code, Coding or CodeableConcept",
    ),
    "written twice": (
        "  domain:",
        "  title:     {fhir: statusReason}\n  domain:",
        "mappings/goal.yaml:6:3: fields.title: written twice (first at line 4)",
    ),
    "list where there is one": (
        "start.ofType(date)}",
        "start.ofType(date), many: yes}",
        "mappings/goal.yaml:7:3: fields.started: Goal.start is a single element, not a list: leave out 'many'",
    ),
    "group without many": (
        "  client:",
        "  notes:     {fhir: note, fields: {text: {fhir: text, need: yes}}}\n  client:",
        "mappings/goal.yaml:8:3: fields.notes: Goal.note is a list: say many: yes, or name one entry [0]",
    ),
    "composite without parts": (
        "  client:",
        "  note:      {fhir: note}\n  client:",
        "mappings/goal.yaml:8:3: fields.note: Goal.note is Annotation: go on to one of its parts (author, text, time), or give 'fields'",
    ),
    "broken path": (
        "description.text",
        "identifier.where(system='x'.value",
        (
            "mappings/goal.yaml:4:21: fields.title.fhir: 'identifier.where(system='x'.value': cannot be read from column 12 on; "
            "a path is names, [n], ofType(), where(a='x'), extension('url')"
        ),
    ),
    "where on a member that is not there": (
        "description.text",
        "identifier.where(sytem='x').value",
        (
            "mappings/goal.yaml:4:21: fields.title.fhir: 'identifier.where(sytem='x').value': Identifier has no element 'sytem' "
            "(did you mean 'system'?)"
        ),
    ),
    "yes or no": (
        "subject, ref: Patient, need: yes}",
        "subject, ref: Patient, need: maybe}",
        "mappings/goal.yaml:8:50: fields.client.need: say yes or no",
    ),
    "v2 on a FHIR line": (
        "{fhir: category,",
        "{v2: PID-5, fhir: category,",
        "mappings/goal.yaml:6:15: fields.domain.v2: 'v2' does not belong on this line",
    ),
    "key that is no field": (
        "  client:",
        "  notes:     {fhir: note, many: yes, key: [txet], fields: {text: {fhir: text, need: yes}}}\n  client:",
        "mappings/goal.yaml:8:43: fields.notes.key: 'txet' is not among these fields (did you mean 'text'?)",
    ),
    "misspelt type of the file": (
        "fhir: Goal\n",
        "fhir: Gaol\n",
        "mappings/goal.yaml:2:7: fhir: 'Gaol' is not a resource type of R4 (did you mean 'Goal'?)",
    ),
    "unknown release": (
        "start.ofType(date)",
        "{R4: start.ofType(date), R6: start}",
        "mappings/goal.yaml:7:46: fields.started.fhir.R6: 'R6' is not a release (R4, R5)",
    ),
    "one place twice": (
        "  client:",
        "  begun:     {fhir: start.ofType(date)}\n  client:",
        "mappings/goal.yaml:8:3: fields.begun: 'start.ofType(date)' is already written by 'started'",
    ),
    "not YAML": ("  domain:    {", "  domain:    {{", "mappings/goal.yaml:7:3: not YAML: "),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_typical_mistake_is_told_with_place_and_cure(name: str, folder: Callable[..., Path]) -> None:
    old, new, wanted = MISTAKES[name]
    assert old in GOAL
    found = told(folder(GOAL.replace(old, new, 1)))
    assert any(one.startswith(wanted) for one in found), found


def test_the_unspoilt_file_loads(folder: Callable[..., Path]) -> None:
    assert Mappings.load(folder()).names() == ["goal"]


def test_all_mistakes_of_all_files_are_told_at_once(folder: Callable[..., Path]) -> None:
    spoilt = GOAL.replace("description.text", "descriptoin.text").replace("ref: Patient", "ref: Patinet")
    found = told(folder(spoilt, files={"codes/area.json": "{", "other.yaml": "mapping: othr\nfhir: Goal\n"}))
    assert len(found) >= 5
    assert {one.split(":")[0] for one in found} == {"mappings/codes/area.json", "mappings/goal.yaml", "mappings/other.yaml"}


def test_a_code_outside_of_a_required_binding_is_told(folder: Callable[..., Path]) -> None:
    found = told(folder(codes={"life": concept_map({**LIFE, "gone": "cancled"}, GOAL_STATUS)}))
    assert len(found) == 1
    assert found[0].startswith(
        "mappings/goal.yaml:5:45: fields.lifecycle.codes: codes/life.json: 'gone' -> 'cancled' is not a code of Goal.lifecycleStatus"
    )
    assert found[0].endswith("(did you mean 'cancelled'?)")


def test_two_words_for_one_code_need_a_winner(folder: Callable[..., Path]) -> None:
    rows = {**LIFE, "dropped": "completed"}
    found = told(folder(codes={"life": concept_map(rows, GOAL_STATUS)}))
    assert len(found) == 1 and "'done' and 'dropped' both become 'completed'" in found[0]
    maps = Mappings.load(folder(codes={"life": concept_map(rows, GOAL_STATUS, {"dropped": "wider"})}))
    assert maps.codes("life").back("completed") == "done"


def test_a_v2_line_that_makes_no_field_of_its_mapping_is_told(folder: Callable[..., Path]) -> None:
    found = told(folder(files={"adt.yaml": ADT.replace("title:", "titel:")}))
    assert found == ["mappings/adt.yaml:9:7: fields.goals.fields.titel: mapping 'goal' has no field 'titel' (did you mean 'title'?)"]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("{v2: DG1-0.2}", "'DG1-0.2' is not a place of HL7 v2"),
        ("{v2: DG1}", "'DG1' is a whole segment: name a field of it"),
        ("{v2: CX.1}", "'CX.1' is a place within a repetition"),
        ("{v2: DG1-3.2, as: dat}", "'dat' is not one of text, date, dateTime"),
        ("{codes: life}", "has neither 'v2' nor 'else'"),
    ],
)
def test_a_v2_place_that_cannot_be_is_told(line: str, wanted: str, folder: Callable[..., Path]) -> None:
    found = told(folder(files={"adt.yaml": ADT.replace("{v2: DG1-3.2}", line)}))
    assert any(wanted in one for one in found), found


def test_a_v2_code_that_is_no_word_of_the_mapping_is_told(folder: Callable[..., Path]) -> None:
    adt = ADT + "      domain: {v2: DG1-6, codes: v2-area}\n"
    found = told(folder(files={"adt.yaml": adt}, codes={"v2-area": concept_map({"F": "fod"}, "s")}))
    assert found == [
        "mappings/adt.yaml:10:34: fields.goals.fields.domain.codes: codes/v2-area.json: 'F' -> 'fod' is not a word of codes/area.json"
    ]


def test_a_template_with_an_unknown_field_or_route_is_told(folder: Callable[..., Path]) -> None:
    template = "template: t\nkind: medical\nroutes: [home]\ngoals:\n  - {titel: x, lifecycle: new}\n"
    found = told(folder(files={"templates/t.yaml": template}))
    assert found == ["mappings/templates/t.yaml:5:13: goals[0].titel: titel: no such field (did you mean 'title'?)"]


def test_check_tells_mistakes_as_lines_and_counts_them(folder: Callable[..., Path]) -> None:
    lines = check(folder(GOAL.replace("description.text", "descriptoin.text")))
    assert lines[0].startswith("mappings/goal.yaml:4:21: ") and lines[-1] == f"{len(lines) - 1} mistakes"


def test_an_example_that_does_not_come_back_is_told_by_check(folder: Callable[..., Path]) -> None:
    good = GOAL + "examples:\n  - name: one\n    case: {title: Eat, lifecycle: new, client: Patient/p}\n"
    assert check(folder(good)) == ["ok   goal: one [R4, R5]", "1 examples, 0 with problems"]
    bad = good.replace("lifecycle: new", "lifecycle: nwe")
    assert check(folder(bad))[0] == "FAIL goal: one [R4, R5]"
