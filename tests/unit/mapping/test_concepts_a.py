"""Consent, coverage, appointments, contacts, flags, risks, the directory, issues, procedures and reports: what another system wrote is
read, one case field is changed, and nothing else of it moves, not a digit; what we write anew is good R4; a code that no table knows
is told and kept."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest

from fhircase.fhir import checks, jsontext, models
from fhircase.mapping import Mappings, schema


@dataclass(frozen=True, slots=True)
class Partner:
    """``sent``: a resource as another system wrote it. ``field``: the way to a case field in what is read of it, ``says`` what it
    says, ``value`` what it shall say; then ``before`` in the text is ``after`` and all else as it was. ``known`` is a coding in the
    text: with the code of another system in its place, ``unknown`` is told at ``told`` and read there as ``kept``."""

    sent: str
    field: tuple[str | int, ...]
    says: Any
    value: Any
    before: str
    after: str
    known: str
    unknown: str
    table: str
    told: str
    kept: tuple[str | int, ...]


LOCAL = '{"system":"https://partner.example/codes","code":"zz-9","display":"Something of ours"}'

PARTNERS: dict[str, Partner] = {
    "consent": Partner(
        """{"resourceType":"Consent","id":"77","meta":{"versionId":"3","security":[{"system":"https://partner.example/labels",
          "code":"x"}]},
        "language":"en","contained":[{"resourceType":"DocumentReference","id":"form","status":"current",
          "content":[{"attachment":{"url":"https://p.example/1.pdf"}}]}],
        "extension":[{"url":"https://partner.example/witness","valueString":"R. Roe"}],
        "identifier":[{"system":"https://partner.example/consents","value":"C-77"}],
        "status":"active","_status":{"extension":[{"url":"https://partner.example/by","valueCode":"clerk"}]},
        "scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}],"text":"privacy"},
        "category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"IDSCL"}]},
          {"coding":[{"system":"http://loinc.org","code":"59284-0","display":"Consent"}],"text":"Consent form"}],
        "patient":{"reference":"Patient/9","display":"Jane"},"dateTime":"2026-05-01T09:30:00.120-05:00",
          "performer":[{"display":"her daughter"},{"reference":"RelatedPerson/4"}],
        "sourceReference":{"reference":"#form"},"policyRule":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode",
          "code":"OPTIN"}]},
        "verification":[{"verified":true,"verifiedWith":{"reference":"Patient/9"},"verificationDate":"2026-05-02"}],
        "provision":{"type":"permit","period":{"start":"2026-05-01","end":"2027-05-01"},
          "actor":[{"role":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ParticipationType","code":"IRCP"}]},
            "reference":{"reference":"Organization/1"}},
            {"id":"second","role":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-RoleClass","code":"GUARD"}]},
              "reference":{"reference":"RelatedPerson/4"}}],
          "action":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentaction","code":"disclose"}]}],
          "securityLabel":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"N"}],
          "purpose":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"TREAT","display":"for care"}],
          "class":[{"system":"http://hl7.org/fhir/resource-types","code":"CarePlan"}],"code":[{"text":"all of it"}],
          "provision":[{"type":"deny","securityLabel":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"PSY"}],
            "provision":[{"type":"permit","purpose":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"ETREAT"}],
              "provision":[{"type":"deny","code":[{"text":"photographs"}]}]}]}]}}""",
        ("provision", "exceptions", 0, "exceptions", 0, "decision"), "permit", "deny",
        '[{"type":"permit","purpose":', '[{"type":"deny","purpose":',
        '{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"TREAT","display":"for care"}', LOCAL,
        "purpose-of-use", "provision.purpose", ("provision", "purposes", 0),
    ),
    "coverage": Partner(
        """{"resourceType":"Coverage","id":"cov","implicitRules":"https://partner.example/rules","text":{"status":"generated",
          "div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">PPO</div>"},
        "contained":[{"resourceType":"Organization","id":"payer","name":"Acme Health"}],
        "identifier":[{"type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v2-0203","code":"MB"}]},
          "system":"https://acme.example/members","value":"W12"}],
        "status":"active","type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"PPO"},
          {"system":"https://nahdo.org/sopt","code":"512"}],"text":"Acme PPO"},
        "subscriber":{"reference":"RelatedPerson/4"},"subscriberId":"W1234","beneficiary":{"reference":"Patient/9"},
        "relationship":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/subscriber-relationship","code":"child"}]},
        "period":{"start":"2026-01-01","_end":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason",
          "valueCode":"unknown"}]}},
        "payor":[{"reference":"#payer"},{"identifier":{"system":"https://naic.example","value":"60054"}}],
        "class":[{"extension":[{"url":"https://partner.example/tier","valueInteger":2}],
          "type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/coverage-class","code":"group"}]},"value":"4411",
          "name":"County"},
          {"type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/coverage-class","code":"plan"}]},"value":"GOLD"}],"order":2,
        "costToBeneficiary":[{"type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/coverage-copay-type","code":"copay"}]},
          "valueMoney":{"value":25.00,"currency":"USD"}},
          {"type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/coverage-copay-type","code":"copaypct"}]},
            "valueQuantity":{"value":20.50,"unit":"%","system":"http://unitsofmeasure.org","code":"%"}}]}""",
        ("groups", 0, "name"), "County", "County employees", '"name":"County"', '"name":"County employees"',
        '{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"PPO"},'
        '{"system":"https://nahdo.org/sopt","code":"512"}],"text":"Acme PPO"',
        f"{LOCAL}]",
        "coverage-kind", "type", ("kind",),
    ),
    "appointment": Partner(
        """{"resourceType":"Appointment","id":"a1","contained":[{"resourceType":"Location","id":"room","name":"Room 4"}],
        "extension":[{"url":"https://partner.example/booked-via","valueCode":"portal"}],"status":"booked",
        "serviceType":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/service-type","code":"65","display":"Physiotherapy"}]},
          {"coding":[{"system":"http://snomed.info/sct","code":"91251008"}]}],
        "specialty":[{"coding":[{"system":"http://snomed.info/sct","code":"394602003","display":"Rehabilitation"}]}],
        "appointmentType":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v2-0276","code":"FOLLOWUP",
          "display":"A follow up visit"}]},
        "reasonCode":[{"coding":[{"system":"http://hl7.org/fhir/sid/icd-10-cm","code":"I69.3"}],"text":"after stroke"}],"priority":5,
          "description":"Walking",
        "start":"2026-12-01T09:00:00.000+10:30","end":"2026-12-01T09:45:00.000+10:30","minutesDuration":45,"comment":"lift",
          "basedOn":[{"reference":"ServiceRequest/1"}],
        "participant":[{"actor":{"reference":"Patient/9","display":"Jane"},"status":"accepted","_status":{"id":"st"}},
          {"type":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ParticipationType","code":"PPRF"},
            {"system":"https://partner.example/codes","code":"therapist"}]},{"text":"driver"}],
            "actor":{"reference":"Practitioner/3"},"required":"required","status":"needs-action",
              "extension":[{"url":"https://partner.example/reminded","valueBoolean":true}]},
          {"actor":{"reference":"#room"},"status":"tentative"}],
        "requestedPeriod":[{"start":"2026-12-01","end":"2026-12-14"}]}""",
        ("participants", 1, "answer"), "needs-action", "declined", '"status":"needs-action"', '"status":"declined"',
        '{"system":"http://terminology.hl7.org/CodeSystem/v2-0276","code":"FOLLOWUP","display":"A follow up visit"}', LOCAL,
        "appointment-style", "appointmentType", ("style",),
    ),
    "communication": Partner(
        """{"resourceType":"Communication","id":"c1","contained":[{"resourceType":"Practitioner","id":"nurse","name":[{"family":"Roe"}]}],
        "modifierExtension":[{"url":"https://partner.example/secret","valueBoolean":false}],
          "instantiatesUri":["https://partner.example/protocols/7"],
        "partOf":[{"reference":"Procedure/2"}],"inResponseTo":[{"reference":"Communication/0"}],"status":"completed",
        "category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/communication-category","code":"notification"}]}],
          "priority":"urgent",
        "medium":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ParticipationMode","code":"PHONE"}],
          "text":"her mobile"}],
        "subject":{"reference":"Patient/9"},"topic":{"text":"the denial"},"about":[{"reference":"ServiceRequest/1",
          "type":"ServiceRequest"},{"reference":"Medication/5"}],
        "sent":"2026-11-23T10:00:00Z","received":"2026-11-23T10:00:00Z","recipient":[{"reference":"Organization/2"},
          {"display":"whoever was there"}],"sender":{"reference":"#nurse","display":"R. Roe"},
        "payload":[{"id":"p1","contentString":"Why was it denied?","extension":[{"url":"https://partner.example/lang","valueCode":"en"}]},
          {"contentAttachment":{"contentType":"application/pdf","data":"JVBERi0=","size":5,"title":"Letter"}},
            {"contentReference":{"reference":"DocumentReference/4"}}],
        "note":[{"authorReference":{"reference":"Practitioner/3"},"time":"2026-11-23T10:10:00Z","text":"will call back"}]}""",
        ("received",), "2026-11-23T10:00:00Z", "2026-11-23T10:04:00Z",
        '"received":"2026-11-23T10:00:00Z"', '"received":"2026-11-23T10:04:00Z"',
        '[{"system":"http://terminology.hl7.org/CodeSystem/v3-ParticipationMode","code":"PHONE"}],"text":"her mobile"', f"[{LOCAL}]",
        "communication-medium", "medium", ("mediums", 0),
    ),
    "planned-contact": Partner(
        """{"resourceType":"CommunicationRequest","id":"r1","extension":[{"url":"https://partner.example/queue","valueInteger":4}],
        "basedOn":[{"reference":"CarePlan/1"}],"replaces":[{"reference":"CommunicationRequest/0"}],
          "groupIdentifier":{"system":"https://partner.example/g","value":"G1","use":"temp"},
        "status":"active","statusReason":{"coding":[{"system":"https://partner.example/codes","code":"late"}],"text":"late"},
        "category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/communication-category","code":"reminder"}]}],
          "priority":"asap","doNotPerform":false,
        "medium":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ParticipationMode","code":"FACE"}]}],
          "subject":{"reference":"Patient/9"},
        "payload":[{"contentString":"Are the medicines at home?"}],"occurrencePeriod":{"start":"2026-11-20","end":"2026-11-22",
          "extension":[{"url":"https://partner.example/firm","valueBoolean":true}]},
        "authoredOn":"2026-11-20","requester":{"reference":"Practitioner/3"},"recipient":[{"reference":"Patient/9"}],
          "sender":{"reference":"PractitionerRole/5"},
        "reasonCode":[{"text":"discharged"}]}""",
        ("to",), "2026-11-22", "2026-11-24", '"end":"2026-11-22"', '"end":"2026-11-24"',
        '{"system":"http://terminology.hl7.org/CodeSystem/communication-category","code":"reminder"}', LOCAL,
        "communication-category", "category", ("categories", 0),
    ),
    "flag": Partner(
        """{"resourceType":"Flag","id":"f1","extension":[{"url":"http://hl7.org/fhir/StructureDefinition/flag-priority",
          "valueCodeableConcept":{"coding":[{"system":"http://hl7.org/fhir/flag-priority-code","code":"PH"}]}}],
        "identifier":[{"value":"12","use":"old"}],"status":"active",
          "category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/flag-category","code":"safety","display":"Safety"}],
          "text":"Safety"}],
        "code":{"coding":[{"system":"https://partner.example/flags","code":"bigdog","display":"Big dog"},
          {"system":"http://snomed.info/sct","code":"1"}],"text":"Big dog. Knock first."},
        "subject":{"reference":"Patient/9","display":"Peter Patient"},"period":{"start":"2026-11-01"},
          "author":{"reference":"Practitioner/3","display":"Nancy Nurse"}}""",
        ("what",), "Big dog. Knock first.", "Two big dogs. Knock first.",
        '"text":"Big dog. Knock first."', '"text":"Two big dogs. Knock first."',
        '[{"system":"http://terminology.hl7.org/CodeSystem/flag-category","code":"safety","display":"Safety"}],"text":"Safety"',
        f"[{LOCAL}]",
        "flag-category", "category", ("categories", 0),
    ),
    "risk": Partner(
        """{"resourceType":"RiskAssessment","id":"ra","contained":[{"resourceType":"Observation","id":"o","status":"final",
          "code":{"text":"age"}}],"status":"final",
        "method":{"coding":[{"system":"https://partner.example/methods","code":"brca","version":"2"}],"text":"LACE"},
          "subject":{"reference":"Patient/9"},"encounter":{"reference":"Encounter/2"},
        "occurrenceDateTime":"2026-11-20T14:33:00+10:00","basis":[{"reference":"#o"},{"reference":"Encounter/1"},
          {"identifier":{"value":"E-0"}}],
        "prediction":[{"extension":[{"url":"https://partner.example/model","valueUri":"urn:oid:1.2"}],
          "outcome":{"coding":[{"system":"https://partner.example/codes","code":"readm"}],"text":"Readmission"},
            "probabilityDecimal":31.50,"qualitativeRisk":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/risk-probability",
              "code":"high"},{"system":"https://partner.example/codes","code":"red"}],"text":"red"},
            "whenPeriod":{"start":"2026-11-20","end":"2026-12-20"},"rationale":"Lives alone"},
          {"outcome":{"text":"Fall"},"probabilityRange":{"low":{"value":10.0,"unit":"%","system":"http://unitsofmeasure.org","code":"%"}},
            "whenRange":{"low":{"value":60,"unit":"years"}},"relativeRisk":1.20}],
        "mitigation":"Call within two days"}""",
        ("predictions", 0, "risk"), "high", "moderate",
        '{"system":"http://terminology.hl7.org/CodeSystem/risk-probability","code":"high"},{"system":"https://partner.example/codes","code":"red"}],"text":"red"',
        '{"system":"http://terminology.hl7.org/CodeSystem/risk-probability","code":"moderate","display":"Moderate likelihood"},{"system":"https://partner.example/codes","code":"red"}]',
        '{"system":"http://terminology.hl7.org/CodeSystem/risk-probability","code":"high"},'
        '{"system":"https://partner.example/codes","code":"red"}],"text":"red"',
        f"{LOCAL}]",
        "risk-level", "prediction[0].qualitativeRisk", ("predictions", 0, "risk"),
    ),
    "program": Partner(
        """{"resourceType":"HealthcareService","id":"hs","contained":[{"resourceType":"Endpoint","id":"e","status":"active",
          "connectionType":{"code":"hl7-fhir-rest"},"payloadType":[{"text":"any"}],"address":"https://p.example"}],
        "extension":[{"url":"https://partner.example/rating","valueDecimal":4.50},{"url":"urn:fhircase:extension:capacity",
          "valueInteger":40},{"url":"urn:fhircase:extension:free-places","valueInteger":7}],
        "active":true,"providedBy":{"reference":"Organization/1","display":"County"},
          "category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/service-category","code":"18",
          "display":"Housing/Homelessness"}],"text":"Housing"}],
        "type":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/service-type","code":"6"},
          {"system":"urn:fhircase:codes:service-kind","code":"meals"}]}],
        "name":"Shelter","photo":{"url":"https://p.example/1.png"},"telecom":[{"system":"phone","value":"1","rank":1},{"system":"phone",
          "value":"2","use":"mobile"}],
        "serviceProvisionCode":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/service-provision-conditions",
          "code":"disc"}]}],
        "eligibility":[{"code":{"coding":[{"system":"urn:fhircase:codes:eligibility","code":"veteran"}]},"comment":"with **card**"},
          {"comment":"ask"}],
        "program":[{"text":"HUD"}],"communication":[{"coding":[{"system":"urn:ietf:bcp:47","code":"es"}],"text":"Spanish"}],
          "appointmentRequired":false,
        "availableTime":[{"id":"t","daysOfWeek":["mon","wed"],"availableStartTime":"08:00:00","availableEndTime":"17:00:00"},
          {"allDay":true,"daysOfWeek":["sun"]}],
        "notAvailable":[{"description":"Christmas","during":{"start":"2026-12-24"}}],"endpoint":[{"reference":"#e"}]}""",
        ("free_places",), 7, 0, '"valueInteger":7', '"valueInteger":0',
        '{"system":"urn:fhircase:codes:eligibility","code":"veteran"}', LOCAL,
        "eligibility", "eligibility[0].code", ("eligibility", 0, "who"),
    ),
    "role": Partner(
        """{"resourceType":"PractitionerRole","id":"pr","contained":[{"resourceType":"Location","id":"l","name":"Desk"}],
          "extension":[{"url":"https://partner.example/fte","valueDecimal":0.80}],
        "active":true,"period":{"start":"2024-01-01"},"practitioner":{"reference":"Practitioner/3","display":"Kim Lee"},
          "organization":{"reference":"Organization/1"},
        "code":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/practitioner-role","code":"nurse"}]},
          {"coding":[{"system":"urn:fhircase:codes:profession","code":"case-manager"}]}],
        "specialty":[{"coding":[{"system":"http://snomed.info/sct","code":"394811001","display":"Geriatrics"}]}],
          "location":[{"reference":"#l"},{"reference":"Location/7"}],
        "telecom":[{"system":"email","value":"k@p.example","use":"work","extension":[{"url":"https://partner.example/checked",
          "valueBoolean":true}]}],
        "availableTime":[{"daysOfWeek":["mon"],"availableStartTime":"09:00:00","availableEndTime":"17:00:00",
          "extension":[{"url":"https://partner.example/shift","valueCode":"early"}]},
          {"daysOfWeek":["tue"],"availableStartTime":"10:00:00","availableEndTime":"18:00:00"}],
            "endpoint":[{"reference":"Endpoint/1"}]}""",
        ("hours", 0, "closes"), "17:00:00", "16:30:00", '"availableEndTime":"17:00:00"', '"availableEndTime":"16:30:00"',
        '{"system":"http://terminology.hl7.org/CodeSystem/practitioner-role","code":"nurse"}', LOCAL,
        "profession", "code", ("professions", 0),
    ),
    "location": Partner(
        """{"resourceType":"Location","id":"w","extension":[{"url":"http://hl7.org/fhir/StructureDefinition/location-boundary-geojson",
          "valueAttachment":{"contentType":"application/geo+json","data":"e30="}}],
        "status":"active","operationalStatus":{"system":"http://terminology.hl7.org/CodeSystem/v2-0116","code":"H"},"name":"South Wing",
          "alias":["BU","SW"],"mode":"instance",
        "type":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-RoleCode","code":"RNEU",
          "display":"Neuroradiology unit"}]},{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-RoleCode","code":"RHU"}],
          "text":"Rehab"}],
        "telecom":[{"system":"phone","value":"2328","use":"work"},{"system":"url","value":"https://p.example"}],
        "address":{"use":"work","line":["Galapagosweg 91","Building A"],"city":"Den Burg","postalCode":"9105 PZ","country":"NLD",
          "period":{"start":"2020"}},
        "physicalType":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/location-physical-type","code":"wi",
          "display":"Wing"}]},
        "position":{"longitude":-83.69471090,"latitude":42.25640,"altitude":0},"managingOrganization":{"reference":"Organization/1"},
          "partOf":{"reference":"Location/1"},
        "hoursOfOperation":[{"daysOfWeek":["sat"],"openingTime":"14:00:00","closingTime":"18:00:00"}],
          "endpoint":[{"reference":"Endpoint/1"}]}""",
        ("latitude",), None, 42, '"latitude":42.25640', '"latitude":42',
        '{"system":"http://terminology.hl7.org/CodeSystem/location-physical-type","code":"wi","display":"Wing"}', LOCAL,
        "place-form", "physicalType", ("form",),
    ),
    "issue": Partner(
        """{"resourceType":"DetectedIssue","id":"ddi","contained":[{"resourceType":"Device","id":"cds","deviceName":[{"name":"CDS",
          "type":"other"}]}],"text":{"status":"generated","div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">x</div>"},
        "status":"final","code":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"DRG",
          "display":"Drug Interaction Alert"}]},"severity":"moderate","_severity":{"id":"s"},
        "patient":{"reference":"Patient/9"},"identifiedDateTime":"2026-11-05","author":{"reference":"#cds"},
        "implicated":[{"reference":"MedicationStatement/1","display":"500 mg"},{"reference":"MedicationRequest/2"},
          {"reference":"Medication/3"}],
        "evidence":[{"code":[{"coding":[{"system":"https://partner.example/codes","code":"INR"}],"text":"INR 5.20"}],
          "detail":[{"reference":"Observation/4"}]}],"detail":"bleeding",
        "mitigation":[{"action":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"13",
          "display":"Stopped Concurrent Therapy"}],"text":"Stopped for now"},"date":"2026-11-06",
          "author":{"reference":"Practitioner/3","display":"Dr. S"},"extension":[{"url":"https://partner.example/seen",
            "valueBoolean":true}]}]}""",
        ("mitigation", 0, "by"), "Practitioner/3", "PractitionerRole/8",
        '{"reference":"Practitioner/3","display":"Dr. S"}', '{"reference":"PractitionerRole/8"}',
        '{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"DRG","display":"Drug Interaction Alert"}', LOCAL,
        "issue-kind", "code", ("kind",),
    ),
    "procedure": Partner(
        """{"resourceType":"Procedure","id":"p","contained":[{"resourceType":"Device","id":"d","status":"active"}],
          "extension":[{"url":"https://partner.example/minutes","valueQuantity":{"value":30.0,"unit":"min"}}],
        "instantiatesCanonical":["https://partner.example/PlanDefinition/1"],"basedOn":[{"reference":"ServiceRequest/1"},
          {"identifier":{"value":"order 7"}}],"status":"completed",
        "category":{"coding":[{"system":"http://snomed.info/sct","code":"409073007","display":"Education"}]},
        "code":{"coding":[{"system":"https://mercy.example/lessons","code":"b1","display":"Money"},
          {"system":"https://partner.example/codes","code":"edu"}],"text":"Budgeting"},
        "subject":{"reference":"Patient/9"},"performedPeriod":{"start":"2026-11-24T10:00:00-05:00","end":"2026-11-24T11:00:00-05:00"},
        "performer":[{"function":{"coding":[{"system":"urn:fhircase:codes:team-role","code":"case-manager"},
          {"system":"http://snomed.info/sct","code":"768832004"}]},"actor":{"reference":"Practitioner/3"},
          "onBehalfOf":{"reference":"Organization/1"}},{"actor":{"reference":"Patient/9"}}],"bodySite":[{"text":"none"}],
        "outcome":{"coding":[{"system":"http://snomed.info/sct","code":"385669000","display":"Successful"},
          {"system":"https://partner.example/codes","code":"ok"}],"text":"went well"},
        "complication":[{"text":"none"}],"followUp":[{"coding":[{"system":"http://snomed.info/sct","code":"394725008"}],
          "text":"review"}],"focalDevice":[{"manipulated":{"reference":"#d"}}],"usedCode":[{"text":"worksheet"}]}""",
        ("outcome",), "successful", "partly-successful",
        '{"system":"http://snomed.info/sct","code":"385669000","display":"Successful"},'
        '{"system":"https://partner.example/codes","code":"ok"}],"text":"went well"',
        '{"system":"http://snomed.info/sct","code":"385670004"},{"system":"https://partner.example/codes","code":"ok"}]',
        '{"system":"http://snomed.info/sct","code":"409073007","display":"Education"}', LOCAL,
        "service-category", "category", ("category",),
    ),
    "measure-report": Partner(
        """{"resourceType":"MeasureReport","id":"m","contained":[{"resourceType":"List","id":"l","status":"current","mode":"snapshot"}],
          "extension":[{"url":"https://partner.example/run","valueInstant":"2026-12-01T00:00:00.000Z"}],
        "status":"complete","type":"subject-list","measure":"https://partner.example/Measure/access|1.2","date":"2026-12-01",
          "reporter":{"display":"the county"},"period":{"start":"2026-11-01","end":"2026-11-30"},
        "improvementNotation":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/measure-improvement-notation",
          "code":"decrease"}]},
        "group":[{"id":"g","code":{"coding":[{"system":"https://partner.example/codes","code":"wait"}],"text":"Days to first service"},
          "population":[{"code":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/measure-population","code":"denominator"}]},
            "count":50,"subjectResults":{"reference":"#l"}}],
          "measureScore":{"value":4.50,"unit":"days","comparator":"<"},
          "stratifier":[{"code":[{"text":"Language"},{"text":"Tongue"}],"stratum":[{"value":{"text":"English"},
            "measureScore":{"value":4.10}},
            {"value":{"text":"Spanish","coding":[{"system":"urn:ietf:bcp:47","code":"es"}]},
              "measureScore":{"value":7.20,"extension":[{"url":"https://partner.example/ci","valueString":"6-8"}]}},
            {"component":[{"code":{"text":"Language"},"value":{"text":"Other"}}],"population":[{"count":2}]}]}]}],
        "evaluatedResource":[{"reference":"Task/1"},{"reference":"Patient/9"}]}""",
        ("groups", 0, "stratifiers", 0, "strata", 1, "score"), None, 7, '"value":7.20', '"value":7',
        '{"system":"http://terminology.hl7.org/CodeSystem/measure-population","code":"denominator"}', LOCAL,
        "measure-population", "group[0].population[0].code", ("groups", 0, "populations", 0, "kind"),
    ),
}  # fmt: skip

NEW: dict[str, dict[str, Any]] = {
    "consent": {
        "id": "co-7", "state": "active", "scope": "privacy", "categories": ["disclosure", "release-of-information"], "client": "Patient/c",
        "given_at": "2026-11-22T10:00:00-05:00", "by": ["RelatedPerson/guardian"], "rule": "opt-in",
        "provision": {
            "decision": "permit", "until": "2027-01-01", "actors": [{"role": "recipient", "who": "Organization/rehab"}],
            "exceptions": [{"decision": "deny", "labels": ["mental-health", "justice"], "classes": ["assessment"]}],
        },
    },
    "coverage": {
        "state": "active", "kind": "medicare", "client": "Patient/c", "subscriber_id": "1EG4",
        "payers": ["Organization/cms"], "until": "2026-12-31",
        "groups": [{"kind": "plan", "value": "A"}], "costs": [{"kind": "deductible", "amount": 1632, "currency": "USD"}],
    },
    "appointment": {
        "state": "booked", "kinds": ["chemotherapy"], "starts": "2026-12-01T09:00:00Z", "ends": "2026-12-01T12:00:00Z",
        "participants": [{"person": "Patient/c", "answer": "accepted"}, {"person": "Location/ward", "answer": "accepted"}],
    },
    "communication": {
        "state": "completed", "categories": ["advocacy", "contact"], "mediums": ["video"], "client": "Patient/c",
        "sender": "Practitioner/cm",
        "recipients": ["RelatedPerson/d"], "sent": "2026-11-22T10:00:00Z", "payload": [{"text": "Is he sleeping?"}],
    },
    "planned-contact": {
        "state": "active", "intent": "plan", "categories": ["contact"], "client": "Patient/c", "from": "2026-11-22", "to": "2026-11-24",
        "recipients": ["Patient/c"],
    },
    "flag": {"state": "active", "categories": ["safety"], "what": "Falls at night", "client": "Patient/c", "since": "2026-11-22"},
    "risk": {
        "state": "final", "what": "Frequent stays", "client": "Patient/c", "basis": ["Encounter/1", "Encounter/2", "Encounter/3"],
        "predictions": [{"outcome": "Another stay", "risk": "high"}],
    },
    "program": {
        "name": "Recovery house", "active": True, "organization": "Organization/o", "kinds": ["recovery-program"], "prices": ["low-cost"],
        "eligibility": [{"who": "in-recovery"}, {"who": "adult"}], "languages": ["en"],
        "hours": [{"days": ["monday"], "opens": "09:00:00"}],
        "capacity": 12, "free_places": 0,
    },
    "role": {"active": True, "person": "Practitioner/p", "organization": "Organization/o", "professions": ["physician", "case-manager"]},
    "location": {"name": "Ward 2", "state": "active", "kinds": ["rehab-unit"], "address": {"lines": ["1 Way"], "city": "Salem"}},
    "issue": {
        "state": "final", "kind": "duplicate-service", "severity": "low", "client": "Patient/c",
        "implicated": ["ServiceRequest/1", "ServiceRequest/2"], "mitigation": [{"action": "keep", "at": "2026-11-22"}],
    },
    "procedure": {
        "state": "completed", "what": "Home visit", "client": "Patient/c", "when": "2026-11-22", "outcome": "successful",
        "performers": [{"role": "case-manager", "person": "Practitioner/cm"}],
    },
    "measure-report": {
        "state": "complete", "kind": "individual", "measure": "https://county.example/Measure/goals", "client": "Patient/c",
        "from": "2026-11-01",
        "groups": [{"what": "Goals met", "score": 3, "unit": "goals", "populations": [{"kind": "numerator", "count": 3}]}],
    },
}  # fmt: skip

CONCEPTS = tuple(PARTNERS)


def text_of(sent: str) -> str:
    return jsontext.dumps(jsontext.loads(sent))


def at(doc: Any, way: tuple[str | int, ...]) -> Any:
    for step in way:
        doc = doc[step]
    return doc


def swapped(name: str, old: str, new: str) -> str:
    """The text with one place changed."""
    sent = text_of(PARTNERS[name].sent)
    assert sent.count(old) == 1, f"{name}: {old!r} stands {sent.count(old)} times"
    return sent.replace(old, new)


def test_every_concept_has_a_partners_resource_and_a_new_document() -> None:
    assert set(CONCEPTS) == set(NEW) == {
        "consent", "coverage", "appointment", "communication", "planned-contact", "flag", "risk", "program", "role", "location", "issue",
        "procedure", "measure-report",
    }  # fmt: skip


@pytest.mark.parametrize("name", CONCEPTS)
def test_a_partners_resource_is_good_r4(name: str) -> None:
    assert [f"{one.path}: {one.what}" for one in checks.check(jsontext.loads(PARTNERS[name].sent))] == []


@pytest.mark.parametrize("name", CONCEPTS)
def test_one_field_changed_changes_its_element_and_no_other_token(name: str, maps: Mappings) -> None:
    partner, mapping = PARTNERS[name], maps.mapping(name)
    original: Any = jsontext.loads(partner.sent)
    doc = mapping.into(original).doc
    assert jsontext.dumps(mapping.out(doc, onto=original).resource) == text_of(partner.sent), "writing what was read"
    if partner.says is not None:
        assert at(doc, partner.field) == partner.says
    edited = copy.deepcopy(doc)
    at(edited, partner.field[:-1])[partner.field[-1]] = partner.value
    written = mapping.out(edited, onto=original)
    assert written.problems == ()
    assert jsontext.dumps(written.resource) == swapped(name, partner.before, partner.after)
    assert at(mapping.into(written.resource).doc, partner.field) == partner.value
    assert jsontext.dumps(original) == text_of(partner.sent), "the original was touched"


@pytest.mark.parametrize("name", CONCEPTS)
def test_an_unknown_code_is_told_and_kept(name: str, maps: Mappings) -> None:
    partner, mapping = PARTNERS[name], maps.mapping(name)
    told_before = {(one.path, one.what) for one in mapping.into(jsontext.loads(partner.sent)).problems}  # type: ignore[arg-type]
    sent = swapped(name, partner.known, partner.unknown)
    original: Any = jsontext.loads(sent)
    read = mapping.into(original)
    told = {(one.path, one.what) for one in read.problems} - told_before
    assert told == {(partner.told, f"code not in codes/{partner.table}")}
    assert {one.severity for one in read.problems} == {"warning"}
    assert at(read.doc, partner.kept) == "Something of ours"
    assert jsontext.dumps(mapping.out(read.doc, onto=original).resource) == sent
    edited = {**read.doc, "id": "ours-1"}
    assert '"code":"zz-9"' in jsontext.dumps(mapping.out(edited, onto=original).resource)


@pytest.mark.parametrize("name", CONCEPTS)
def test_a_new_document_makes_good_r4_and_comes_back(name: str, maps: Mappings) -> None:
    mapping, doc = maps.mapping(name), NEW[name]
    assert schema.of(mapping).problems(doc) == ()
    made = mapping.out(doc)
    assert made.problems == ()
    assert checks.check(made.resource) == []
    assert models.second_opinion(made.resource) == []
    assert mapping.into(made.resource).doc == doc


@pytest.mark.parametrize("name", CONCEPTS)
def test_every_example_passes_the_models_too(name: str, maps: Mappings) -> None:
    mapping = maps.mapping(name)
    for example in mapping.examples:
        made = mapping.out(example.case).resource
        assert models.second_opinion(made) == [], example.name
        assert schema.of(mapping).problems(example.case) == (), example.name


@pytest.mark.parametrize("name", CONCEPTS)
def test_what_a_new_resource_needs_is_told_by_field(name: str, maps: Mappings) -> None:
    mapping = maps.mapping(name)
    needed = [line.name for line in mapping.lines if line.need]
    assert [(one.path, one.what) for one in mapping.out({}).problems] == [(field, "is needed") for field in needed]


def test_an_exception_of_an_exception_is_read_and_kept_when_the_labels_above_it_change(maps: Mappings) -> None:
    mapping = maps.mapping("consent")
    original: Any = jsontext.loads(PARTNERS["consent"].sent)
    doc = mapping.into(original).doc
    below = [{"decision": "permit", "purposes": ["emergency-treatment"]}]
    assert doc["provision"]["exceptions"] == [{"decision": "deny", "labels": ["psychiatry"], "exceptions": below}]
    doc["provision"]["exceptions"][0]["labels"].append("substance-use")
    written = mapping.out(doc, onto=original).resource
    assert mapping.into(written).doc["provision"]["exceptions"] == doc["provision"]["exceptions"]
    assert [one["code"] for one in written["provision"]["provision"][0]["securityLabel"]] == ["PSY", "SUD"]


def test_what_stands_below_the_levels_that_are_read_stays_as_sent(maps: Mappings) -> None:
    mapping = maps.mapping("consent")
    original: Any = jsontext.loads(PARTNERS["consent"].sent)
    doc = mapping.into(original).doc
    doc["provision"]["exceptions"][0] |= {"until": "2026-12-31"}
    exception = mapping.out(doc, onto=original).resource["provision"]["provision"][0]
    assert exception["period"] == {"end": "2026-12-31"}
    assert exception["provision"][0]["provision"] == [{"type": "deny", "code": [{"text": "photographs"}]}]


def test_the_client_is_a_participant_of_an_appointment(maps: Mappings) -> None:
    made = maps.mapping("appointment").out(NEW["appointment"]).resource
    assert [one["actor"]["reference"] for one in made["participant"]] == ["Patient/c", "Location/ward"]


def test_a_label_of_justice_is_our_own_and_one_of_health_is_hl7s(maps: Mappings) -> None:
    labels = maps.mapping("consent").out(NEW["consent"]).resource["provision"]["provision"][0]["securityLabel"]
    assert [(one["system"], one["code"]) for one in labels] == [
        ("http://terminology.hl7.org/CodeSystem/v3-ActCode", "MH"),
        ("urn:fhircase:codes:sensitivity", "justice"),
    ]


def test_a_full_program_says_so_and_one_of_unknown_room_says_nothing(maps: Mappings) -> None:
    mapping = maps.mapping("program")
    made = mapping.out(NEW["program"]).resource
    assert made["extension"] == [
        {"url": "urn:fhircase:extension:capacity", "valueInteger": 12},
        {"url": "urn:fhircase:extension:free-places", "valueInteger": 0},
    ]
    assert "extension" not in mapping.out({"name": "Food bank"}).resource
