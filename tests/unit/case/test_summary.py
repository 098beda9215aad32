"""The client reads their own words first, in their language, and nothing that is not for them."""

from __future__ import annotations

import json
import string
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest

from fhircase.case import phrases
from fhircase.case.phrases import EQUIPMENT, LANGUAGES, PHRASES, ROLES, SERVICES
from fhircase.case.summary import SECTIONS, Summary, summary
from tests.conftest import ROOT
from tests.unit.case.support import CLIENT, MANAGER, TODAY, case, guardian


def told(doc: dict[str, Any] | None = None, **given: Any) -> Summary:
    return summary(case() if doc is None else doc, TODAY, **given)


def lines(name: str, doc: dict[str, Any] | None = None, **given: Any) -> tuple[str, ...]:
    return told(doc, **given).sections[list(SECTIONS).index(name)].lines


def speaking(*languages: Any, **parts: Any) -> dict[str, Any]:
    doc = case(**parts)
    doc["client"]["languages"] = list(languages)
    return doc


# ------------------------------------------------------------------------------------------ own words first


def test_the_clients_own_words_come_first_then_who_helps_what_is_planned_what_is_next_and_a_crisis() -> None:
    made = told()
    assert made.title == "The plan of Ana Ortiz"
    assert [section.title for section in made.sections] == [
        "In your own words",
        "Who helps you",
        "What is planned",
        "What comes next",
        "If things get bad",
    ]
    assert made.sections[0].lines == ("You want: “Walk 50 feet alone”. You plan to get there by Sunday, December 6, 2026.",)


def test_goals_preferences_and_strengths_are_the_clients_words_and_a_strength_that_others_saw_says_so() -> None:
    doc = case(
        preferences=[{"id": "p", "text": "my own bed", "by": [CLIENT]}, {"id": "q", "text": "what the nurse thinks", "by": [MANAGER]}],
        strengths=[{"id": "s", "text": "my sister", "by": [CLIENT]}, {"id": "t", "text": "keeps appointments", "by": [MANAGER]}],
    )
    assert lines("own", doc)[1:] == (
        "This matters to you: my own bed",
        "You say this helps you: my sister",
        "We see this strength: keeps appointments",
    )


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"due": None}, "You want: “Walk 50 feet alone”"),
        ({"due": "2026-12"}, "You want: “Walk 50 feet alone”"),
        ({"due": "2026-11-24"}, "You want: “Walk 50 feet alone”"),
        ({"due": "2026-11-25"}, "You want: “Walk 50 feet alone”. You plan to get there by Wednesday, November 25, 2026."),
        ({"achievement": "achieved"}, "You wanted: “Walk 50 feet alone”. You have done it."),
        ({"lifecycle": "cancelled"}, "We have not written down your own wishes yet. Please tell us what you want."),
        ({"set_by": MANAGER}, "We have not written down your own wishes yet. Please tell us what you want."),
    ],
)
def test_a_goal_is_told_as_it_stands(fields: dict[str, Any], line: str) -> None:
    doc = case()
    doc["goals"][0].update(fields)
    assert lines("own", doc) == (line,)


def test_a_goal_that_others_set_is_told_as_work_and_not_as_the_clients_wish() -> None:
    doc = case()
    doc["goals"][0]["set_by"] = MANAGER
    assert "We also work on: Walk 50 feet alone" in lines("planned", doc)
    assert not any("Walk" in line for line in lines("planned"))


def test_a_guardian_of_then_spoke_for_the_client_and_one_who_had_ended_did_not() -> None:
    doc = case(preferences=[{"id": "p", "text": "quiet", "by": ["RelatedPerson/r-1"], "when": "2026-11-10"}])
    for until, shown in (("2026-11-12", True), ("2026-11-09", False)):
        assert ("This matters to you: quiet" in lines("own", doc | {"contacts": [guardian(until=until)]})) == shown


# ------------------------------------------------------------------------------------------ who, planned, next, crisis


def test_who_helps_is_told_by_name_and_those_who_have_left_are_not() -> None:
    doc = case()
    doc["team"] |= {"contact_points": [{"kind": "phone", "value": "555 0100"}, {"kind": "email", "value": "x@example.org"}]}
    doc["team"]["members"] += [
        {"role": "nurse", "person": "Practitioner/rn", "name": "Ben Fox"},
        {"role": "nurse", "person": "Practitioner/gone", "name": "Old Nurse", "until": "2026-11-01"},
        {"role": "client", "person": CLIENT, "name": "Ana Ortiz"},
        {"role": "dietitian", "person": "Practitioner/silent"},
        {"role": "physical-therapist", "person": "Practitioner/pt"},
    ]
    assert lines("who", doc, names={"Practitioner/pt": "Lu Chen"}) == (
        "Kim Lee looks after your plan. You can ask Kim Lee anything.",
        "Ben Fox: nursing",
        "Lu Chen: physical therapy",
        "Phone: 555 0100",
    )


def test_cover_is_told_while_the_case_manager_is_away() -> None:
    doc = case(team={"members": [{"role": "cover", "person": "Practitioner/x", "name": "Sam Roe", "since": "2026-11-20"}]})
    assert lines("who", doc) == ("Sam Roe looks after your plan for now, while your case manager is away.",)
    assert lines("who", case(team={})) == ("We will tell you who looks after your plan.",)


def test_what_is_arranged_what_the_client_does_alone_and_what_is_still_to_choose() -> None:
    doc = case(
        services=[
            {"id": "1", "state": "active", "intent": "order", "kind": "meals", "from": "2026-12-01"},
            {"id": "2", "state": "active", "intent": "order", "kind": "transport", "from": "2026-11-01"},
            {"id": "3", "state": "active", "intent": "order", "kind": "skills-training", "provider": [CLIENT]},
            {"id": "4", "state": "draft", "intent": "proposal", "kind": "home-health"},
            {"id": "5", "state": "active", "intent": "order", "kind": "sky-diving"},
            {"id": "6", "state": "completed", "intent": "order", "kind": "dialysis"},
            {"id": "7", "state": "active", "intent": "order", "kind": "hospice", "not_wanted": True},
            {"id": "8", "state": "draft", "intent": "proposal", "kind": "respite"},
        ],
        equipment=[{"id": "9", "state": "active", "intent": "order", "kind": "wheelchair"}],
        decisions=[{"on": "ServiceRequest/8", "by": CLIENT, "decided": "declined"}],
        tasks=[
            {"id": "t", "kind": "activity", "state": "in-progress", "owner": CLIENT, "title": "Walk to the shop each day"},
            {"id": "u", "kind": "to-do", "state": "in-progress", "owner": MANAGER, "title": "Check the benefits"},
        ],
    )
    assert lines("planned", doc) == (
        "Meals brought to your home, from Tuesday, December 1, 2026",
        "Rides",
        "You do this yourself: Learning new skills",
        "sky diving",
        "Wheelchair",
        "You do this yourself: Walk to the shop each day",
        "You can choose: Health care at home. You can say yes or no.",
    )
    assert lines("planned", case(services=[])) == ("Nothing is arranged yet.",)


def test_what_comes_next_stands_in_order_of_time_and_what_is_past_or_off_does_not() -> None:
    doc = case(
        appointments=[
            {"id": "1", "state": "booked", "title": "Eye clinic", "starts": "2026-12-03T14:25:00-05:00"},
            {"id": "2", "state": "booked", "kinds": ["physical-therapy"], "starts": "2026-11-30T09:00:00-05:00"},
            {"id": "3", "state": "cancelled", "title": "Off", "starts": "2026-12-01T09:00:00-05:00"},
            {"id": "4", "state": "booked", "title": "Past", "starts": "2026-11-24T09:00:00-05:00"},
            {"id": "5", "state": "proposed", "title": "Not agreed", "starts": "2026-12-01T09:00:00-05:00"},
        ],
        planned_contacts=[
            {"id": "6", "state": "active", "when": "2026-11-27", "recipients": [CLIENT]},
            {"id": "7", "state": "active", "when": "2026-11-28", "recipients": ["Organization/o-1"]},
            {"id": "8", "state": "active", "when": "2026-11-29", "recipients": [CLIENT], "not_wanted": True},
        ],
    )
    assert lines("next", doc) == (
        "Friday, November 27, 2026: We will be in touch with you",
        "Monday, November 30, 2026 at 9:00 am: Exercises to move better (physical therapy)",
        "Thursday, December 3, 2026 at 2:25 pm: Eye clinic",
    )
    assert lines("next") == ("No date is set yet.",)


def test_a_time_in_utc_is_told_as_the_clients_time_where_the_zone_is_known_and_as_a_day_else() -> None:
    doc = case(appointments=[{"id": "1", "state": "booked", "title": "Eye clinic", "starts": "2026-12-03T02:30:00Z"}])
    assert lines("next", doc, zone=timezone(timedelta(hours=-5))) == ("Wednesday, December 2, 2026 at 9:30 pm: Eye clinic",)
    assert lines("next", doc) == ("Thursday, December 3, 2026: Eye clinic",)


def test_in_a_crisis_the_emergency_number_comes_first_then_what_was_agreed_then_whom_to_call() -> None:
    doc = case(
        crisis_plans=[
            {
                "id": "1", "state": "active", "title": "When the voices come back", "about": "I stop sleeping",
                "steps": [
                    {"do": "Call my sister", "when": "first night without sleep"},
                    {"do": "Call the police", "never": True},
                    {"do": "Go out", "state": "cancelled"},
                ],
            },
            {"id": "2", "state": "revoked", "title": "Old plan"},
            {"id": "3", "state": "active", "title": "Over", "ends": "2026-11-24"},
            {"id": "4", "state": "active", "title": "Not yet", "starts": "2026-11-26"},
        ]
    )  # fmt: skip
    assert lines("crisis", doc) == (
        "If you are in danger, call the emergency number at once.",
        "This is what we agreed: When the voices come back",
        "Your warning signs: I stop sleeping",
        "Do this: Call my sister (first night without sleep)",
        "Do not do this: Call the police",
        "Then call Kim Lee.",
    )


# ------------------------------------------------------------------------------------------ what is not shown


def test_notes_findings_diagnoses_risks_flags_and_medicines_are_never_shown() -> None:
    secret = {"id": "x", "state": "active", "title": "SECRET", "text": "SECRET", "what": "SECRET", "notes": [{"text": "SECRET"}]}
    hidden = ("needs", "assessments", "stability", "flags", "risks", "medications", "medication_use", "allergies", "procedures", "outcomes",
              "questionnaires", "family_history", "communications", "family_links", "consents", "coverages", "handovers")  # fmt: skip
    doc = case(**{name: [secret] for name in hidden})
    for name in ("goals", "services"):
        doc[name][0]["notes"] = [{"text": "SECRET"}]
    doc["plan"]["notes"] = doc["team"]["notes"] = [{"text": "SECRET"}]
    made = told(doc)
    assert "SECRET" not in made.text
    assert made.text == told().text


def test_a_labelled_entry_is_shown_only_when_the_plan_itself_holds_it() -> None:
    doc = case()
    doc["services"].append({"id": "s-9", "state": "active", "intent": "order", "kind": "recovery-program", "labels": ["substance-use"]})
    assert "A recovery program" not in lines("planned", doc)
    doc["plan"]["activities"] = [{"service": "ServiceRequest/s-9"}]
    assert "A recovery program" in lines("planned", doc)


# ------------------------------------------------------------------------------------------ languages


@pytest.mark.parametrize(
    ("spoken", "used", "told_so"),
    [
        ([], "en", False),
        ([{"language": "es"}], "es", False),
        ([{"language": "es-MX", "preferred": True}], "es", False),
        ([{"language": "en"}, {"language": "de", "preferred": True}], "de", False),
        ([{"language": "de"}, {"language": "fr"}], "de", False),
        (["fr"], "fr", False),
        ([{"language": "vi", "preferred": True}, {"language": "fr"}], "fr", True),
        ([{"language": "vi"}], "en", True),
    ],
)
def test_the_clients_preferred_language_is_used_and_another_one_is_said(spoken: list[Any], used: str, told_so: bool) -> None:
    made = told(speaking(*spoken))
    assert made.language == used
    assert (phrases.say(used, "language") in made.text) == told_so


def test_a_language_that_is_asked_for_goes_before_the_clients() -> None:
    doc = speaking({"language": "es", "preferred": True})
    assert told(doc, language="de").language == "de"
    assert told(doc, language="vi").language == "es"
    assert told(doc, language="vi").wanted == ("vi", "es")


SPOKEN = {
    "en": ("In your own words", "You want: “Walk 50 feet alone”. You plan to get there by Sunday, December 6, 2026.",
           "Thursday, December 3, 2026 at 2:25 pm: Appointment"),
    "es": ("En sus propias palabras", "Usted quiere: «Walk 50 feet alone». Piensa lograrlo hasta el domingo 6 de diciembre de 2026.",
           "jueves 3 de diciembre de 2026 a las 14:25: Cita"),
    "fr": ("Avec vos propres mots", "Vous voulez : « Walk 50 feet alone ». Vous pensez y arriver d’ici le dimanche 6 décembre 2026.",
           "jeudi 3 décembre 2026 à 14 h 25 : Rendez-vous"),
    "de": ("In Ihren eigenen Worten", "Sie möchten: „Walk 50 feet alone“. Das wollen Sie bis Sonntag, 6. Dezember 2026 schaffen.",
           "Donnerstag, 3. Dezember 2026 um 14.25 Uhr: Termin"),
}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_whole_is_in_the_language_and_titles_stand_as_entered(language: str) -> None:
    doc = case(appointments=[{"id": "1", "state": "booked", "starts": "2026-12-03T14:25:00-05:00"}])
    made = told(doc, language=language)
    assert (made.sections[0].title, made.sections[0].lines[0], made.sections[3].lines[0]) == SPOKEN[language]
    for section in made.sections:
        assert section.title in made.text and all(f"- {line}" in made.text for line in section.lines)


def test_days_and_times_are_written_as_people_write_them() -> None:
    first = date(2027, 1, 1)
    assert [phrases.day(language, first) for language in LANGUAGES] == [
        "Friday, January 1, 2027",
        "viernes 1 de enero de 2027",
        "vendredi 1er janvier 2027",
        "Freitag, 1. Januar 2027",
    ]
    assert phrases.moment("es", datetime(2027, 1, 1, 1, 5)).endswith("a la 1:05")
    assert phrases.moment("fr", datetime(2027, 1, 1, 8, 0)).endswith("à 8 h")
    assert phrases.moment("en", datetime(2027, 1, 1, 0, 5)).endswith("at 12:05 am")
    assert phrases.moment("de", datetime(2027, 1, 1, 8, 0)).endswith("um 8 Uhr")


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", PHRASES)
def test_a_phrase_has_the_same_places_in_every_language_and_none_is_left_untranslated(key: str) -> None:
    row = PHRASES[key]
    assert len(row) == len(LANGUAGES) and all(row)
    assert len({frozenset(fields(text)) for text in row}) == 1
    if key not in ("member", "service", "on"):
        assert len(set(row)) > 2


def codes(name: str) -> set[str]:
    groups = json.loads((ROOT / "mappings" / "codes" / f"{name}.json").read_text("utf-8"))["group"]
    return {element["code"] for group in groups for element in group["element"]}


def test_every_kind_of_service_and_equipment_has_its_words() -> None:
    assert set(SERVICES) >= codes("service-kind")
    assert set(EQUIPMENT) >= codes("equipment-kind")
    assert set(ROLES) <= codes("team-role")


def test_sentences_are_short() -> None:
    for row in PHRASES.values():
        for text in row:
            for sentence in text.split(". "):
                assert len(sentence.split()) <= 20, sentence


@pytest.mark.parametrize(
    "odd", [None, 7, "x", [], {}, [None], ["x"], [{}], [{"id": 3, "state": [], "title": {}, "by": 5, "starts": "soon"}]]
)
def test_a_document_of_odd_shapes_is_told_without_falling(odd: Any) -> None:
    for name in [*case(), "preferences", "strengths", "appointments", "planned_contacts", "crisis_plans", "equipment", "loops", "tasks"]:
        assert told({**case(), name: odd}).text
    assert told({}).title == "Your plan"
