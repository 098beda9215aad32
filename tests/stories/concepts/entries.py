"""One realistic entry for each list of the case view, in the words of its mapping. ``{client}`` and the like stand for references of
the place where it is played (place.py)."""

from __future__ import annotations

from typing import Any

FEET = {"unit": "feet", "unit_code": "[ft_i]", "unit_system": "http://unitsofmeasure.org"}

ENTRIES: dict[str, dict[str, Any]] = {
    "goals": {
        "title": "Walk 50 feet independently within two weeks", "lifecycle": "active", "domain": "mobility", "measure": "Distance walked",
        "measure_code": "41950-7", "target_value": 50, "target_unit": "feet", "target_unit_code": "[ft_i]",
        "target_unit_system": "http://unitsofmeasure.org", "due": "2026-12-06", "set_by": "{client}", "needs": ["{need}"],
        "notes": [{"text": "Prefers mornings"}],
    },
    "services": {
        "state": "active", "intent": "order", "kind": "home-health", "urgency": "urgent", "needs": ["{need}"], "goal": "{goal}",
        "provider": ["{home}"], "coverage": ["{coverage}"], "from": "2026-11-25", "to": "2026-12-25", "notes": [{"text": "After noon"}],
    },
    "equipment": {"state": "active", "intent": "order", "kind": "wheelchair", "needs": ["{need}"], "goal": "{goal}", "provider": "{home}"},
    "nutrition": {"state": "active", "intent": "order", "made": "2026-11-22T10:00:00Z", "instruction": "Soft, low salt"},
    "groups": {"state": "active", "intent": "proposal", "actions": [{"title": "First the ramp", "request": "{service}"}]},
    "loops": {
        "state": "in-progress", "kind": "fulfill", "focus": "{service}", "owner": "{home}", "title": "Home health twice a week",
        "deadline": "2026-12-01", "output": [{"what": "appointment", "date": "2026-11-26"}],
    },
    "tasks": {
        "state": "requested", "kind": "appeal", "title": "Appeal the denied ramp", "focus": "{coverage}", "owner": "{manager}",
        "reason": "Denied without a reason", "deadline": "2026-12-10",
    },
    "needs": {"kind": "barrier", "domain": "environment", "text": "Third floor without lift", "clinical": "active", "severity": "moderate"},
    "strengths": {"domain": "family", "text": "Her sister next door cooks on weekends", "by": ["{client}"], "when": "2026-11-21"},
    "preferences": {
        "kinds": ["care-experience-preference"], "domain": "environment", "text": "I want my own bed and my cat", "by": ["{client}"],
        "when": "2026-11-21",
    },
    "stability": {"domain": "housing", "level": "vulnerable", "baseline": True, "when": "2026-11-21", "by": ["{manager}"]},
    "outcomes": {"measure": "satisfaction", "score": 4, "answered_by": ["{client}"], "when": "2026-11-22"},
    "family_links": {"about": ["{daughter}"], "link": "strained", "when": "2026-11-21"},
    "assessments": {
        "what": "Distance walked without help", "code": "41950-7", "system": "http://loinc.org", "domain": "functional", "value": 20,
        "kinds": ["functional-status"], "when": "2026-11-21T09:00:00Z", "by": ["{manager}"], "baseline": True, **FEET,
    },
    "questionnaires": {
        "state": "completed", "questionnaire": "https://county.example/Questionnaire/intake|2", "when": "2026-11-21T10:00:00Z",
        "said_by": "{client}", "items": [{"link": "1", "text": "Lack of transport?", "answers": [{"yes": True}]}],
    },
    "family_history": {"state": "completed", "relationship": "mother", "name": "Rosa", "conditions": [{"text": "Heart failure"}]},
    "medications": {"state": "active", "intent": "order", "what": "Metoprolol 50 mg"},
    "medication_use": {"state": "not-taken", "what": "Metoprolol 50 mg", "said_by": "{client}", "asserted": "2026-11-22"},
    "allergies": {"what": "Penicillin", "clinical": "active", "verification": "confirmed"},
    "crisis_plans": {
        "title": "When the voices come back", "state": "active", "about": "I stop sleeping", "contributors": ["{client}"],
        "steps": [{"do": "Call my daughter", "who": ["{daughter}"]}],
    },
    "contacts": {"relationship": "guardian", "names": [{"family": "Lind", "given": ["Eva"]}], "since": "2026-01-01"},
    "households": {"name": "The flat in Elm Street", "quantity": 2},
    "consents": {
        "state": "active", "scope": "privacy", "categories": ["release-of-information"], "by": ["{client}"], "given_at": "2026-11-21",
        "rule": "opt-in", "provision": {"decision": "permit", "actors": [{"role": "recipient", "who": "{home}"}]},
    },
    "coverages": {"state": "active", "subscriber_id": "MCD778", "payers": ["{client}"], "until": "2026-12-31"},
    "appointments": {
        "state": "booked", "title": "Physical therapy", "starts": "2026-11-27T09:00:00Z", "ends": "2026-11-27T10:00:00Z",
        "based_on": ["{service}"], "participants": [{"person": "{client}", "answer": "accepted"}],
    },
    "communications": {
        "state": "completed", "mediums": ["phone"], "categories": ["advocacy"], "sent": "2026-11-21T10:00:00Z", "sender": "{manager}",
        "recipients": ["{client}"], "payload": [{"text": "Asked why the ramp was denied"}],
    },
    "planned_contacts": {"state": "active", "to": "2026-11-29", "mediums": ["phone"], "recipients": ["{client}"], "sender": "{manager}"},
    "flags": {"state": "active", "categories": ["safety"], "what": "Lives with a violent partner", "since": "2026-11-20"},
    "risks": {"state": "final", "basis": ["{assessment}"], "predictions": [{"outcome": "Admission within 30 days", "risk": "high"}]},
    "procedures": {
        "state": "completed", "what": "Counselling by the case manager", "performers": [{"person": "{manager}"}], "when": "2026-11-21",
    },
    "issues": {"state": "preliminary", "severity": "moderate", "implicated": ["{service}"], "detail": "Ordered by two settings"},
    "reports": {
        "state": "complete", "kind": "individual", "measure": "https://county.example/Measure/goals-met", "from": "2026-11-01",
        "to": "2026-11-30", "groups": [{"what": "Goals met", "score": 0.5}],
    },
    "documents": {
        "state": "current", "title": "Discharge letter", "attachments": [{"title": "Letter", "url": "https://mercy.example/letter.pdf"}],
    },
}
"""List of the case view → a new entry."""

CHANGES: dict[str, dict[str, Any]] = {
    "goals": {"title": "Walk 60 feet"}, "services": {"to": "2027-01-25"}, "equipment": {"urgency": "asap"},
    "nutrition": {"made": "2026-11-23T10:00:00Z"}, "groups": {"intent": "plan"}, "loops": {"state": "on-hold"},
    "tasks": {"deadline": "2026-12-11"}, "needs": {"severity": "severe"}, "strengths": {"text": "Her sister cooks every day"},
    "preferences": {"text": "I want my own bed, and no cat"}, "stability": {"level": "stable"}, "outcomes": {"score": 5},
    "family_links": {"link": "broken"}, "assessments": {"value": 25}, "questionnaires": {"when": "2026-11-22T10:00:00Z"},
    "family_history": {"name": "Rosa Maria"}, "medications": {"state": "on-hold"}, "medication_use": {"asserted": "2026-11-23"},
    "allergies": {"what": "Penicillin V"}, "crisis_plans": {"about": "I stop eating"}, "contacts": {"until": "2026-12-31"},
    "households": {"quantity": 3}, "consents": {"given_at": "2026-11-22"}, "coverages": {"until": "2027-01-31"},
    "appointments": {"title": "Occupational therapy"}, "communications": {"sent": "2026-11-21T11:00:00Z"},
    "planned_contacts": {"to": "2026-11-30"}, "flags": {"state": "inactive"}, "risks": {"state": "amended"},
    "procedures": {"what": "Counselling, second talk"}, "issues": {"severity": "high"}, "reports": {"to": "2026-12-31"},
    "documents": {"title": "Discharge letter, corrected"},
}  # fmt: skip
"""List → a change of one field, made by a partner on its own server."""
