"""Answers, history, preferences, outcomes, medicines, tasks, documents: a resource that somebody else wrote is read, one field of the
case is changed, and the resource differs there and nowhere else, token by token."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fhircase.fhir import checks, jsontext
from fhircase.fhir.models import second_opinion
from fhircase.mapping import Mappings

from .test_codes import coded

Doc = dict[str, Any]


class Foreign(NamedTuple):
    """``resource``: as its sender wrote it. ``field``: where in the case document (``items/0/answers/0/yes``), ``value`` what it is
    changed to; ``changed``: element → (token before, token after), None where it is not there. ``read``: fields that must be read so."""

    resource: str
    field: str
    value: Any
    changed: dict[str, tuple[str | None, str | None]]
    read: Doc


FOREIGN = {
    "questionnaire": Foreign(
        """{"resourceType":"QuestionnaireResponse","id":"q9","meta":{"versionId":"3",
          "profile":["https://partner.example/StructureDefinition/intake"]},
        "contained":[{"resourceType":"Practitioner","id":"asker","name":[{"family":"Lee"}]}],
        "extension":[{"url":"https://partner.example/channel","valueCode":"kiosk"}],
        "identifier":{"system":"https://partner.example/answers","value":"A-9","use":"usual"},
        "questionnaire":"https://partner.example/Questionnaire/intake|2",
          "_questionnaire":{"extension":[{"url":"https://partner.example/title","valueString":"Intake"}]},
        "status":"completed","subject":{"reference":"Patient/p","display":"Jane"},"authored":"2026-11-20T10:00:00.00-05:00",
        "author":{"reference":"#asker"},"source":{"reference":"Patient/p"},
        "item":[{"linkId":"1","text":"Home","item":[
          {"linkId":"1.1","text":"How many stairs","answer":[{"valueDecimal":12.50,"extension":[{"url":"https://partner.example/sure",
            "valueBoolean":false}]}]},
          {"linkId":"1.2","text":"Lift","answer":[{"valueBoolean":false,"item":[{"linkId":"1.2.1","text":"Why not",
            "answer":[{"valueString":"never built"}]}]}]},
          {"linkId":"1.3","text":"Rooms","item":[{"linkId":"1.3.1","text":"Kitchen","answer":[{"valueBoolean":true}]}]}]},
         {"linkId":"2","text":"Photograph","answer":[{"valueAttachment":{"contentType":"image/png",
           "url":"https://partner.example/1.png"}}]}]}""",
        "items/0/items/1/answers/0/yes",
        True,
        {"item[0].item[1].answer[0].valueBoolean": ("false", "true")},
        {"id": "A-9", "state": "completed", "by": "#asker", "said_by": "Patient/p", "when": "2026-11-20T10:00:00.00-05:00"},
    ),
    "family-history": Foreign(
        """{"resourceType":"FamilyMemberHistory","id":"f1",
          "meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]},
        "extension":[{"url":"http://hl7.org/fhir/StructureDefinition/family-member-history-genetics-sibling-x","valueString":"twin of"}],
        "identifier":[{"system":"https://partner.example/fh","value":"77"}],"instantiatesUri":["https://partner.example/protocol"],
        "status":"partial","patient":{"reference":"Patient/p"},"date":"2026-11","name":"Rosa",
        "relationship":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-RoleCode","code":"MTH","display":"mother"},
          {"system":"https://partner.example/kin","code":"mom"}],"text":"Mum"},
        "sex":{"coding":[{"system":"http://hl7.org/fhir/administrative-gender","code":"female"}]},"bornPeriod":{"start":"1940",
          "end":"1941"},
        "deceasedAge":{"value":61.0,"unit":"a","system":"http://unitsofmeasure.org","code":"a"},
        "condition":[{"id":"c1","code":{"coding":[{"system":"https://partner.example/dx","code":"stroke","display":"Stroke"}],
          "text":"Stroke"},
          "outcome":{"coding":[{"system":"https://partner.example/outcome","code":"dead"}],"text":"Died of it"},
            "contributedToDeath":false,
          "onsetRange":{"low":{"value":55,"system":"http://unitsofmeasure.org","code":"a"}},"note":[{"text":"at work"}]},
         {"code":{"text":"Asthma"}}]}""",
        "conditions/0/contributed_to_death",
        True,
        {"condition[0].contributedToDeath": ("false", "true")},
        {"relationship": "mother", "sex": "female", "state": "partial", "when": "2026-11", "name": "Rosa"},
    ),
    "preference": Foreign(
        """{"resourceType":"Observation","id":"o1",
          "meta":{"profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-care-experience-preference|8.0.0"]},
        "status":"final","category":[{"coding":[{"system":"http://hl7.org/fhir/us/core/CodeSystem/us-core-category",
          "code":"care-experience-preference"}]},
          {"coding":[{"system":"https://partner.example/category","code":"advance-care"}]}],
        "code":{"coding":[{"system":"http://loinc.org","code":"95541-9","display":"Care experience preference"}],"text":"Preference"},
        "subject":{"reference":"Patient/p"},"focus":[{"reference":"Location/ward-7","display":"Ward 7"}],"effectiveDateTime":"2026-11-20",
        "performer":[{"reference":"Patient/p"},{"identifier":{"value":"chaplain"}}],"valueString":"Door open at night",
        "_valueString":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/translation","extension":[
          {"url":"lang","valueCode":"es"},{"url":"content","valueString":"Puerta abierta"}]}]},"method":{"text":"asked"}}""",
        "when",
        "2026-11-21",
        {"effectiveDateTime": ('"2026-11-20"', '"2026-11-21"')},
        {"what": "care-experience", "text": "Door open at night", "about": ["Location/ward-7"], "by": ["Patient/p"]},
    ),
    "stability": Foreign(
        """{"resourceType":"Observation","id":"s1","extension":[{"url":"https://partner.example/matrix","valueString":"row 3"}],
        "status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"survey",
          "display":"Survey"}]}],
        "code":{"coding":[{"system":"https://partner.example/matrix","code":"housing","display":"Housing stability"}]},
        "subject":{"reference":"Patient/p"},"effectiveDateTime":"2026-11-20T10:00:00+01:00","valueInteger":2,
        "referenceRange":[{"low":{"value":1.0},"high":{"value":5.0}}],"note":[{"text":"sleeps in the car",
          "authorString":"Night shift"}]}""",
        "score",
        3,
        {"valueInteger": ("2", "3")},
        {"what": "Housing stability", "score": 2, "kinds": ["survey"]},
    ),
    "family-link": Foreign(
        """{"resourceType":"Observation","id":"l1","contained":[{"resourceType":"RelatedPerson","id":"son",
          "patient":{"reference":"Patient/p"}}],
        "status":"preliminary","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category",
          "code":"social-history"}]}],
        "code":{"coding":[{"system":"urn:fhircase:codes:observation-topic","code":"family-link"},{"system":"https://partner.example/o",
          "code":"bond"}]},
        "subject":{"reference":"Patient/p"},"focus":[{"reference":"#son","type":"RelatedPerson","display":"Leo"}],
        "effectivePeriod":{"start":"2020-05","extension":[{"url":"https://partner.example/about","valueBoolean":true}]},
        "valueCodeableConcept":{"coding":[{"system":"urn:fhircase:codes:link-state",
          "code":"strong"},{"system":"https://partner.example/o","code":"tight"}]},
        "interpretation":[{"text":"protective"}]}""",
        "since",
        "2020-06",
        {"effectivePeriod.start": ('"2020-05"', '"2020-06"')},
        {"about": ["#son"], "link": "strong", "what": "family-link", "state": "preliminary"},
    ),
    "outcome": Foreign(
        """{"resourceType":"Observation","id":"u1","identifier":[{"system":"https://partner.example/o","value":"1"}],"status":"final",
        "category":[{"coding":[{"system":"urn:fhircase:codes:assessment-kind","code":"outcome"}]},{"text":"quarterly"}],
        "code":{"coding":[{"system":"urn:fhircase:codes:outcome-measure","code":"cost"}],"text":"Cost to date"},
          "subject":{"reference":"Patient/p"},
        "effectivePeriod":{"start":"2026-01-01","end":"2026-03-31"},"issued":"2026-04-01T08:00:00.000Z",
          "performer":[{"reference":"Organization/payer","display":"Payer"}],
        "valueQuantity":{"value":1240.00,"unit":"USD","system":"urn:iso:std:iso:4217","code":"USD",
          "extension":[{"url":"https://partner.example/net","valueBoolean":true}]},
        "component":[{"code":{"text":"days"},"valueQuantity":{"value":12.0}}]}""",
        "to",
        "2026-04-30",
        {"effectivePeriod.end": ('"2026-03-31"', '"2026-04-30"')},
        {"measure": "cost", "unit": "USD", "answered_by": ["Organization/payer"]},
    ),
    "medication": Foreign(
        """{"resourceType":"MedicationRequest","id":"m1","contained":[{"resourceType":"Medication","id":"pill",
          "code":{"text":"Nizatidine"}}],
        "modifierExtension":[{"url":"https://partner.example/trial","valueBoolean":false}],
        "extension":[{"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-medication-adherence","extension":[
          {"url":"medicationAdherence","valueCodeableConcept":{"coding":[{"system":"http://snomed.info/sct","code":"275928001"}]}},
          {"url":"dateAsserted","valueDateTime":"2026-11-01T10:00:00Z"},{"url":"informationSource",
            "valueCodeableConcept":{"text":"Spouse"}}]}],
        "identifier":[{"use":"official","system":"https://partner.example/rx","value":"12345689"}],"status":"active","intent":"order",
        "category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/medicationrequest-category","code":"outpatient"}],
          "text":"Out"}],
        "medicationReference":{"reference":"#pill"},"subject":{"reference":"Patient/p"},"authoredOn":"2026-11-01",
          "requester":{"reference":"Practitioner/d","display":"Dr Bone"},
        "dosageInstruction":[{"sequence":1,"text":"10 mL at bedtime","timing":{"repeat":{"boundsPeriod":{"start":"2026-11-01"},
          "frequency":1,"period":1.0,"periodUnit":"d","when":["HS"]}},
          "route":{"coding":[{"system":"https://partner.example/route","code":"PO"}]},
          "doseAndRate":[{"type":{"text":"ordered"},"doseQuantity":{"value":10.0,"unit":"mL","system":"http://unitsofmeasure.org",
            "code":"mL"}}]},
         {"sequence":2,"text":"then stop"}],
        "dispenseRequest":{"initialFill":{"quantity":{"value":5}},"numberOfRepeatsAllowed":1,"quantity":{"value":480.0,"unit":"mL"}},
        "substitution":{"allowedBoolean":true}}""",
        "dosage/0/times",
        2,
        {"dosageInstruction[0].timing.repeat.frequency": ("1", "2")},
        {"medicine": "#pill", "state": "active", "categories": ["outpatient"], "adherence_at": "2026-11-01T10:00:00Z", "repeats": 1},
    ),
    "medication-use": Foreign(
        """{"resourceType":"MedicationStatement","id":"u1","language":"en","status":"not-taken",
        "statusReason":[{"coding":[{"system":"https://partner.example/why","code":"money","display":"Too expensive"}]}],
        "category":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/medication-statement-category","code":"community",
          "display":"Community"}]},
        "medicationCodeableConcept":{"coding":[{"system":"http://www.nlm.nih.gov/research/umls/rxnorm","code":"310429",
          "display":"furosemide 20 MG Oral Tablet"},
          {"system":"https://partner.example/drug","code":"F20"}],"text":"Furosemide"},
        "subject":{"reference":"Patient/p"},"effectivePeriod":{"start":"2026-11-01"},"dateAsserted":"2026-11-09T10:00:00Z",
          "informationSource":{"reference":"Patient/p"},
        "partOf":[{"reference":"Observation/x"}],"dosage":[{"text":"one a day","maxDosePerPeriod":{"numerator":{"value":2.0},
          "denominator":{"value":1}}}]}""",
        "asserted",
        "2026-11-10T10:00:00Z",
        {"dateAsserted": ('"2026-11-09T10:00:00Z"', '"2026-11-10T10:00:00Z"')},
        {"state": "not-taken", "state_reasons": ["Too expensive"], "what": "Furosemide", "code": "310429", "said_by": "Patient/p"},
    ),
    "allergy": Foreign(
        """{"resourceType":"AllergyIntolerance","id":"a1","extension":[{"url":"https://partner.example/seen","valueDate":"2026-01-01"}],
        "clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical","code":"active",
          "version":"4.0.1"}]},
        "verificationStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/allergyintolerance-verification",
          "code":"confirmed"}]},
        "category":["food","medication"],"criticality":"low","code":{"coding":[{"system":"http://snomed.info/sct","code":"762952008",
          "display":"Peanuts"}]},
        "patient":{"reference":"Patient/p"},"onsetAge":{"value":6.0,"unit":"years","system":"http://unitsofmeasure.org","code":"a"},
        "reaction":[{"id":"r1","manifestation":[{"coding":[{"system":"http://snomed.info/sct","code":"271807003",
          "display":"skin rash"}]}],"severity":"mild",
          "note":[{"text":"arms"}]},
         {"manifestation":[{"text":"Swollen lips"}],"severity":"moderate",
           "exposureRoute":{"coding":[{"system":"https://partner.example/r","code":"PO"}]}}]}""",
        "reactions/1/severity",
        "severe",
        {"reaction[1].severity": ('"moderate"', '"severe"')},
        {
            "clinical": "active",
            "verification": "confirmed",
            "categories": ["food", "medication"],
            "criticality": "low",
            "code": "762952008",
        },
    ),
    "nutrition": Foreign(
        """{"resourceType":"NutritionOrder","id":"n1","contained":[{"resourceType":"Practitioner","id":"d","name":[{"text":"Cook"}]}],
        "instantiatesUri":["https://partner.example/diet"],"status":"active","intent":"order","patient":{"reference":"Patient/p"},
          "dateTime":"2026-11-20T08:00:00-05:00",
        "orderer":{"reference":"#d"},"foodPreferenceModifier":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/diet",
          "code":"vegan"}]}],
        "oralDiet":{"type":[{"coding":[{"system":"https://partner.example/diet","code":"dash","display":"DASH diet"}]}],
          "schedule":[{"repeat":{"boundsPeriod":{"start":"2026-11-20"},"frequency":3,"period":1.0,"periodUnit":"d"}}],
          "nutrient":[{"modifier":{"coding":[{"system":"http://snomed.info/sct","code":"39972003","display":"Sodium"}]},
            "amount":{"value":2.0,"unit":"g","id":"most"}}],
          "texture":[{"modifier":{"coding":[{"system":"http://snomed.info/sct","code":"228049004",
            "display":"Chopped food"},{"system":"https://partner.example/t","code":"c"}]},
            "foodType":{"text":"Meat"}}],"instruction":"Small meals"},
        "enteralFormula":{"baseFormulaProductName":"Any","administration":[{"rateQuantity":{"value":60.0,"unit":"ml/h"}}]}}""",
        "instruction",
        "Small meals, warm",
        {"oralDiet.instruction": ('"Small meals"', '"Small meals, warm"')},
        {"diets": ["DASH diet"], "preferences": ["vegan"], "made": "2026-11-20T08:00:00-05:00"},
    ),
    "request-group": Foreign(
        """{"resourceType":"RequestGroup","id":"g1","instantiatesCanonical":["https://partner.example/PlanDefinition/home"],
          "status":"active","intent":"plan",
        "code":{"coding":[{"system":"https://partner.example/g","code":"home"}],"text":"Home"},"subject":{"reference":"Patient/p"},
        "action":[{"id":"a1","prefix":"1","title":"Chair","priority":"routine","relatedAction":[{"actionId":"a2",
          "relationship":"before-start","offsetDuration":{"value":3.0,
            "unit":"days","system":"http://unitsofmeasure.org","code":"d"}}],"resource":{"reference":"DeviceRequest/e",
              "display":"Wheelchair"}},
         {"id":"a2","title":"Choose","selectionBehavior":"exactly-one","condition":[{"kind":"applicability"}],"action":[
           {"title":"Ramp","timingDuration":{"value":2.0},"resource":{"reference":"ServiceRequest/r"}},
           {"title":"Lift","action":[{"title":"Survey","resource":{"reference":"Task/s"}}]}]}]}""",
        "actions/1/actions/0/duty",
        "must",
        {"action[1].action[0].requiredBehavior": (None, '"must"')},
        {"title": "Home", "state": "active", "intent": "plan"},
    ),
    "task": Foreign(
        """{"resourceType":"Task","id":"t1","meta":{"profile":["https://partner.example/StructureDefinition/referral"]},
        "contained":[{"resourceType":"Organization","id":"us","name":"Us"}],"extension":[{"url":"https://partner.example/channel",
          "valueCode":"fax"}],
        "identifier":[{"type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v2-0203","code":"PLAC"}]},
          "system":"https://partner.example/t","value":"T-1"}],
        "basedOn":[{"reference":"ServiceRequest/s"}],"status":"completed",
          "businessStatus":{"coding":[{"system":"https://partner.example/b","code":"7.0"}],"text":"Done"},
        "intent":"order","priority":"asap","code":{"coding":[{"system":"http://hl7.org/fhir/CodeSystem/task-code","code":"fulfill",
          "display":"Fulfill the focal request"},
          {"system":"https://partner.example/c","code":"ref"}]},"focus":{"reference":"ServiceRequest/s","display":"Meals"},
            "for":{"reference":"Patient/p"},
        "authoredOn":"2026-11-01T10:00:00Z","lastModified":"2026-11-09T10:00:00Z","requester":{"reference":"#us"},
          "owner":{"reference":"Organization/o"},
        "relevantHistory":[{"reference":"Provenance/h"}],
        "restriction":{"repetitions":1,"period":{"end":"2026-12-01","extension":[{"url":"https://partner.example/soft",
          "valueBoolean":true}]}},
        "output":[{"type":{"coding":[{"system":"urn:fhircase:codes:output-kind","code":"teach-back"}],"text":"Teach-back"},
          "valueBoolean":false},
          {"type":{"coding":[{"system":"https://partner.example/o","code":"fee"}],"text":"Fee"},"valueDecimal":12.50},
          {"type":{"text":"Photograph"},"valueAttachment":{"url":"https://partner.example/p.png"}}]}""",
        "output/0/yes",
        True,
        {"output[0].valueBoolean": ("false", "true")},
        {"kind": "fulfill", "stage": "Done", "deadline": "2026-12-01", "requester": "#us", "owner": "Organization/o"},
    ),
    "document": Foreign(
        """{"resourceType":"DocumentReference","id":"d1","implicitRules":"https://partner.example/rules",
        "masterIdentifier":{"system":"urn:ietf:rfc:3986","value":"urn:oid:1.2.3"},"status":"current","docStatus":"preliminary",
        "type":{"coding":[{"system":"http://loinc.org","code":"18842-5",
          "display":"Discharge summary"},{"system":"https://partner.example/d","code":"ds"}],"text":"Summary"},
        "category":[{"coding":[{"system":"http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
          "code":"clinical-note"}]}],
        "subject":{"reference":"Patient/p"},"date":"2026-11-20T10:00:00.000-05:00","author":[{"reference":"Practitioner/d",
          "display":"Dr Bone"}],
        "securityLabel":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R",
          "display":"restricted"}]}],
        "content":[{"attachment":{"contentType":"text/plain","data":"Tm8gcmVzdHJpY3Rpb24=","size":14},
          "format":{"system":"https://partner.example/f","code":"txt","display":"Text"}},
         {"attachment":{"contentType":"application/pdf","url":"https://partner.example/1.pdf","title":"Summary",
           "hash":"2jmj7l5rSw0yVb/vlWAYkK/YBwk="},
          "extension":[{"url":"https://partner.example/pages","valueInteger":4}]}],
        "context":{"encounter":[{"reference":"Encounter/e"}],"event":[{"text":"discharge"}],"period":{"start":"2026-11-10"},
          "sourcePatientInfo":{"reference":"Patient/p"}}}""",
        "attachments/1/title",
        "Discharge summary",
        {"content[1].attachment.title": ('"Summary"', '"Discharge summary"')},
        {
            "kind": "discharge-summary",
            "categories": ["clinical-note"],
            "visits": ["Encounter/e"],
            "labels": [{"code": "R", "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"}],
        },
    ),
    "household": Foreign(
        """{"resourceType":"Group","id":"h1","identifier":[{"system":"https://partner.example/hh","value":"4"}],"active":true,
          "type":"person","actual":true,
        "code":{"coding":[{"system":"https://partner.example/g","code":"fam"}],"text":"Family under one roof"},"name":"Ortiz",
          "quantity":3,
        "characteristic":[{"code":{"text":"income"},"valueQuantity":{"value":1200.00,"unit":"USD"},"exclude":false}],
        "member":[{"entity":{"reference":"Patient/p","display":"Jane"},"period":{"start":"2020"},
          "extension":[{"url":"https://partner.example/head","valueBoolean":true}]},
         {"entity":{"reference":"Patient/q"},"inactive":false}]}""",
        "members/1/inactive",
        True,
        {"member[1].inactive": ("false", "true")},
        {"kind": "Family under one roof", "quantity": 3, "active": True, "name": "Ortiz"},
    ),
    "strength": Foreign(
        """{"resourceType":"Observation","id":"g1","text":{"status":"generated",
          "div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">sings</div>"},"status":"final",
        "category":[{"coding":[{"system":"urn:fhircase:codes:assessment-kind","code":"strength"}]}],
        "code":{"coding":[{"system":"https://partner.example/strengths","code":"talent","display":"Talent"}]},
          "subject":{"reference":"Patient/p"},
        "valueString":"Sings","note":[{"text":"in church","extension":[{"url":"https://partner.example/seen","valueBoolean":true}]}]}""",
        "text",
        "Sings and plays",
        {"valueString": ('"Sings"', '"Sings and plays"')},
        {"what": "Talent", "kinds": ["strength"], "text": "Sings"},
    ),
}
UNKNOWN_CODES = {
    "family-history": {"code not in codes/condition-outcome": "condition[0].outcome"},
    "preference": {"code not in codes/assessment-kind": "category"},
    "stability": {"code not in codes/observation-topic": "code"},
    "medication": {
        "code not in codes/adherence": "extension('http://hl7.org/fhir/us/core/StructureDefinition/us-core-medication-adherence')"
        ".extension('medicationAdherence').value.ofType(CodeableConcept)"
    },
    "medication-use": {"code not in codes/medication-use-reason": "statusReason"},
    "nutrition": {"code not in codes/diet": "oralDiet.type"},
    "task": {"code not in codes/output-kind": "output[1].type"},
    "household": {"code not in codes/group-kind": "code"},
    "strength": {"code not in codes/observation-topic": "code"},
}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every element with its JSON token: 72.50 is not 72.5."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for at, one in enumerate(value):
            yield from leaves(one, f"{path}[{at}]")
    else:
        yield path, jsontext.dumps(value)


def differences(before: Any, after: Any) -> dict[str, tuple[str | None, str | None]]:
    old, new = dict(leaves(before)), dict(leaves(after))
    return {path: (old.get(path), new.get(path)) for path in {**old, **new} if old.get(path) != new.get(path)}


def with_field(doc: Doc, field: str, value: Any) -> Doc:
    made: Any = jsontext.loads(jsontext.dumps(doc))
    *above, last = field.split("/")
    here = made
    for part in above:
        here = here[int(part)] if isinstance(here, list) else here[part]
    here[last] = value
    return made


@pytest.mark.parametrize("name", FOREIGN)
def test_an_edit_of_one_field_changes_that_element_of_anothers_resource_and_no_other(name: str, maps: Mappings) -> None:
    foreign, mapping = FOREIGN[name], maps.mapping(name)
    original = jsontext.loads(foreign.resource)
    assert checks.check(original) == [], "the test's own resource is sound"
    read = mapping.into(original).doc
    assert {key: read.get(key) for key in foreign.read} == foreign.read
    assert jsontext.dumps(mapping.out(read, onto=original).resource) == jsontext.dumps(original)
    written = mapping.out(with_field(read, foreign.field, foreign.value), onto=original)
    assert not written.problems
    assert differences(original, written.resource) == foreign.changed
    assert checks.check(written.resource) == [] and second_opinion(written.resource) == []


@pytest.mark.parametrize("name", FOREIGN)
def test_a_new_document_makes_a_sound_resource(name: str, maps: Mappings) -> None:
    mapping = maps.mapping(name)
    assert len(mapping.examples) >= 2
    for example in mapping.examples:
        made = mapping.out(example.case)
        assert not made.problems
        assert checks.check(made.resource) == []
        assert [one.what for one in checks.warnings(made.resource)] == ["A resource should have narrative (dom-6)"]
        assert second_opinion(made.resource) == []


@pytest.mark.parametrize("name", FOREIGN)
def test_an_unknown_code_is_told_by_its_place_and_kept(name: str, maps: Mappings) -> None:
    original = jsontext.loads(FOREIGN[name].resource)
    read = maps.mapping(name).into(original)
    assert {one.severity for one in read.problems} <= {"warning"}
    assert {one.what: one.path for one in read.problems} == UNKNOWN_CODES.get(name, {})


@pytest.mark.parametrize(
    ("name", "field", "element"),
    [
        ("task", "state_reason", "statusReason"),
        ("task", "kind", "code"),
        ("outcome", "measure", "code"),
        ("stability", "level", "valueCodeableConcept"),
        ("family-link", "link", "valueCodeableConcept"),
        ("document", "kind", "type"),
        ("medication", "state_reason", "statusReason"),
        ("allergy", "verification", "verificationStatus"),
    ],
)
def test_a_word_of_no_table_is_told_and_kept_as_text_not_guessed(name: str, field: str, element: str, maps: Mappings) -> None:
    mapping = maps.mapping(name)
    doc = {key: value for key, value in mapping.examples[-1].case.items() if key != "not_assessed"}
    made = mapping.out({**doc, field: "snowed in"})
    assert [(one.path, one.severity) for one in made.problems] == [(field, "warning")]
    assert "snowed" not in made.problems[0].what + made.problems[0].hint
    assert made.resource[element] == {"text": "snowed in"}
    assert mapping.into(made.resource).doc[field] == "snowed in"


@pytest.mark.parametrize(
    "name", ["questionnaire", "medication", "medication-use", "task", "document", "family-history", "nutrition", "request-group"]
)
def test_an_unknown_status_is_an_error_and_never_guessed(name: str, maps: Mappings) -> None:
    mapping = maps.mapping(name)
    made = mapping.out({**mapping.examples[-1].case, "state": "snowed in"})
    assert "status" not in made.resource
    assert [(one.path, one.severity) for one in made.problems] == [("state", "error")]


def test_a_task_without_kind_and_a_household_member_without_reference(maps: Mappings) -> None:
    made = maps.mapping("task").out({"state": "draft", "intent": "order"})
    assert [(one.path, one.what) for one in made.problems] == [("kind", "is needed")]
    group = maps.mapping("household").out({"kind": "household", "members": [{"person": "RelatedPerson/r"}]})
    assert [(one.path, one.what) for one in group.problems] == [("members[0].person", "cannot point to RelatedPerson")]


def test_the_levels_of_stability_stand_in_their_order(maps: Mappings) -> None:
    assert maps.codes("stability-level").sources() == ["crisis", "vulnerable", "stable", "self-sufficient"]


def test_security_labels_are_read_and_never_written(maps: Mappings) -> None:
    document, original = maps.mapping("document"), jsontext.loads(FOREIGN["document"].resource)
    doc = document.into(original).doc
    for labels in ([], [{"code": "N", "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"}]):
        assert document.out({**doc, "labels": labels}, onto=original).resource == original
        assert "securityLabel" not in document.out({**doc, "labels": labels}).resource


def test_an_inline_attachment_is_kept_when_another_is_taken_away(maps: Mappings) -> None:
    document, original = maps.mapping("document"), jsontext.loads(FOREIGN["document"].resource)
    doc = document.into(original).doc
    written = document.out({**doc, "attachments": doc["attachments"][:1]}, onto=original).resource
    assert written["content"] == original["content"][:1] and written["content"][0]["attachment"]["data"]


US_CORE = {
    "QuestionnaireResponse": ["questionnaire"],
    "MedicationRequest": ["medication"],
    "AllergyIntolerance": ["allergy"],
    "DocumentReference": ["document"],
    "Observation": ["preference", "outcome", "stability", "strength", "family-link"],
}


def test_every_example_of_us_core_comes_back_as_it_was_sent(samples: Path, maps: Mappings) -> None:
    seen = set()
    with tarfile.open(samples / "packages" / "us_core_800.tgz") as archive:
        for member in archive:
            if "/example/" not in member.name or not member.name.endswith(".json"):
                continue
            stream = archive.extractfile(member)
            assert stream is not None
            resource = jsontext.loads(stream.read())
            for name in US_CORE.get(resource["resourceType"], ()):
                read = maps.mapping(name).into(resource)
                assert read.doc, member.name
                assert jsontext.dumps(maps.mapping(name).out(read.doc, onto=resource).resource) == jsontext.dumps(resource), member.name
                seen.add(name)
    assert seen == {name for names in US_CORE.values() for name in names}


def test_the_preferences_of_us_core_are_read_as_such(samples: Path, maps: Mappings) -> None:
    with tarfile.open(samples / "packages" / "us_core_800.tgz") as archive:
        for kind in ("care-experience", "treatment-intervention"):
            stream = archive.extractfile(f"package/example/Observation-{kind}-preference.json")
            assert stream is not None
            read = maps.mapping("preference").into(jsontext.loads(stream.read()))
            assert (read.doc["what"], read.doc["kinds"], bool(read.doc["text"])) == (kind, [f"{kind}-preference"], True)
            assert not read.problems


def test_our_own_codes_are_the_words_of_the_case(maps: Mappings) -> None:
    seen = set()
    for name in FOREIGN:
        for line in coded(maps.mapping(name).lines):
            for group in line.codes.groups if line.codes is not None else ():
                if group.target.startswith("urn:fhircase:codes:"):
                    assert group.target == group.source, line.name
                    assert {word: target.code for word, (target, _) in group.rows.items()} == {word: word for word in group.rows}
                    seen.add(group.target.rpartition(":")[2])
    assert {"task-kind", "task-reason", "output-kind", "outcome-measure", "stability-level", "link-state", "group-kind"} <= seen


def test_the_answers_of_prapare_are_read_down_to_the_third_level(samples: Path, maps: Mappings) -> None:
    with tarfile.open(samples / "packages" / "us_core_800.tgz") as archive:
        stream = archive.extractfile("package/example/QuestionnaireResponse-prapare-example.json")
        assert stream is not None
        resource = jsontext.loads(stream.read())
    read = maps.mapping("questionnaire").into(resource)
    sent = [token for path, token in leaves(resource["item"]) if path.endswith(".valueCoding.code")]
    assert sent and [token for path, token in leaves(read.doc["items"]) if ".answers[" in path and path.endswith("].code")] == sent
