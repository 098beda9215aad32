"""Every distinct resource that the packages and samples of others hold, alone and inside bundles."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fhircase.errors import Malformed
from fhircase.fhir import jsontext

PACKAGES = (
    "us_core_610",
    "us_core_700",
    "us_core_800",
    "pacio-toc-1.0.0-sushi",
    "sdoh-clinicalcare-3.0.0-sushi",
    "bser-2.0.0-ballot-sushi",
    "cow-1.0.0-ballot-sushi",
)

REFUSED = {
    # package or folder / file # entry of the bundle: what is wrong with it. HL7's engine refuses them too (tests/live/test_validator.py).
    "bser-2.0.0-ballot-sushi/Composition-composition-bser-referral-feedback-arthritis-everywoman.json": "a section without content (cmp-1)",
    "bser-2.0.0-ballot-sushi/Composition-composition-bser-referral-feedback-nutrition-everybaby.json": "a section without content (cmp-1)",
    "bser-2.0.0-ballot-sushi/ImplementationGuide-hl7.fhir.us.bser.json": "parameter codes of the publisher, not of R4",
    "cow-1.0.0-ballot-sushi/ActorDefinition-filler.json": "a type of R5",
    "cow-1.0.0-ballot-sushi/ActorDefinition-placer.json": "a type of R5",
    "cow-1.0.0-ballot-sushi/ImplementationGuide-hl7.fhir.uv.cow.json": "parameter codes of the publisher, not of R4",
    "davinci-alerts/conceptmap-direct-alerts.json": "an empty source",
    "gcp-data-harmonization/adt_a01.hl7.fhir.output.json": "holds the four below",
    "gcp-data-harmonization/adt_a01.hl7.fhir.output.json#35": "an empty display",
    "gcp-data-harmonization/adt_a01.hl7.fhir.output.json#36": "severity SEVERE",
    "gcp-data-harmonization/adt_a01.hl7.fhir.output.json#37": "severity MODERATE",
    "gcp-data-harmonization/adt_a01.hl7.fhir.output.json#38": "severity SEVERE",
    "gcp-data-harmonization/adt_a01.hl7.fhir.output.json#39": "severity MODERATE",
    "gcp-data-harmonization/adt_a01_ex1.hl7.fhir.output.json": "holds the two below",
    "gcp-data-harmonization/adt_a01_ex1.hl7.fhir.output.json#7": "an empty display",
    "gcp-data-harmonization/adt_a01_ex1.hl7.fhir.output.json#9": "an empty display",
    "gcp-data-harmonization/adt_a08_ex1.hl7.fhir.output.json": "holds the two below",
    "gcp-data-harmonization/adt_a08_ex1.hl7.fhir.output.json#11": "an empty display",
    "gcp-data-harmonization/adt_a08_ex1.hl7.fhir.output.json#9": "an empty display",
    "hl7-v2-to-fhir/FHIR_bundle.hl7_ADT_A01.json": "holds those below",
    "hl7-v2-to-fhir/FHIR_bundle.hl7_ADT_A01.json#1": "a use of v2",
    "hl7-v2-to-fhir/FHIR_bundle.hl7_ADT_A01.json#11": "response without code",
    "hl7-v2-to-fhir/FHIR_bundle.hl7_ADT_A01.json#12": "dates as v2 writes them",
    "hl7-v2-to-fhir/FHIR_bundle.hl7_ADT_A01.json#14": "no target",
    "hl7-v2-to-fhir/FHIR_bundle.hl7_ADT_A01.json#16": "no patient",
    "hl7-v2-to-fhir/FHIR_bundle.hl7_ADT_A01.json#19": "no patient, codes of v2",
    "hl7-v2-to-fhir/FHIR_bundle.hl7_ADT_A01.json#20": "no beneficiary, no status",
    "hl7-v2-to-fhir/FHIR_bundle.hl7_ADT_A01.json#21": "no patient",
    "inferno-synthea/uscore_bundle_patient_355.json": "holds the one below",
    "inferno-synthea/uscore_bundle_patient_355.json#266": "a Period with 'stop'",
    "microsoft-fhir-converter/ADT01-23-expected.json": "holds those below",
    "microsoft-fhir-converter/ADT01-23-expected.json#12": "no agent",
    "microsoft-fhir-converter/ADT01-23-expected.json#13": "a telecom without system (cpt-2)",
    "microsoft-fhir-converter/ADT01-23-expected.json#17": "a telecom without system (cpt-2)",
    "microsoft-fhir-converter/ADT01-23-expected.json#19": "a telecom without system (cpt-2)",
    "microsoft-fhir-converter/ADT01-23-expected.json#21": "a telecom without system (cpt-2)",
    "microsoft-fhir-converter/ADT01-23-expected.json#3": "a telecom without system (cpt-2)",
    "microsoft-fhir-converter/ADT04-23-expected.json": "holds those below",
    "microsoft-fhir-converter/ADT04-23-expected.json#12": "a use of v2",
    "microsoft-fhir-converter/ADT04-23-expected.json#13": "a telecom without system (cpt-2)",
    "microsoft-fhir-converter/ADT04-23-expected.json#14": "a telecom without system (cpt-2)",
    "microsoft-fhir-converter/ADT04-23-expected.json#16": "neither name nor identifier (org-1)",
    "microsoft-fhir-converter/ADT04-23-expected.json#19": "neither name nor identifier (org-1)",
    "microsoft-fhir-converter/ADT04-23-expected.json#4": "telecoms of v2",
    "microsoft-fhir-converter/ADT04-23-expected.json#6": "a use of v2",
    "microsoft-fhir-converter/ADT04-23-expected.json#7": "a use of v2",
    "microsoft-fhir-converter/Discharge_Summary-expected.json": "holds the one below",
    "microsoft-fhir-converter/Discharge_Summary-expected.json#2": "no class",
    "pacio-sample-data/0_Prior_transactionBundle.json": "holds those below",
    "pacio-sample-data/0_Prior_transactionBundle.json#100": "neither policy nor policyRule (ppc-1)",
    "pacio-sample-data/0_Prior_transactionBundle.json#109": "neither policy nor policyRule (ppc-1)",
    "pacio-sample-data/0_Prior_transactionBundle.json#134": "neither policy nor policyRule (ppc-1)",
    "pacio-sample-data/0_Prior_transactionBundle.json#46": "holds consents of that kind",
    "pacio-sample-data/0_Prior_transactionBundle.json#50": "a document without identifier and timestamp",
    "pacio-sample-data/0_Prior_transactionBundle.json#93": "data '(snip)'",
    "pacio-toc-1.0.0-sushi/ImplementationGuide-hl7.fhir.us.pacio-toc.json": "parameter codes of the publisher, not of R4",
    "sdoh-clinicalcare-3.0.0-sushi/ImplementationGuide-hl7.fhir.us.sdoh-clinicalcare.json": "parameter codes of the publisher, not of R4",
    "sdoh-clinicalcare-3.0.0-sushi/StructureDefinition-SDOHCC-ObservationEthnicityOMB.json": "a binding without strength",
}

OURS_ALONE = {
    # HL7's engine lets it through, being told to follow no reference.
    "microsoft-fhir-converter/ADT01-23-expected.json#4": "a reference that is neither Type/id nor a URL",
}

REPORTS = "validation-oo.json"
"""US Core's own validation report: OperationOutcomes without issues, hundreds of them."""


def documents(data: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name as in ``REFUSED`` and resource; the same content once."""
    seen: set[str] = set()
    for name, text in _files(data):
        try:
            resource = jsontext.loads(text)
        except Malformed:
            continue
        for at, one in _resources(name, resource):
            written = jsontext.dumps(one)
            if written not in seen:
                seen.add(written)
                yield at, one


def _files(data: Path) -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        with tarfile.open(data / "packages" / f"{package}.tgz") as archive:
            for member in archive:
                stream = archive.extractfile(member)
                if stream is not None and member.name.endswith(".json"):
                    yield f"{package}/{member.name.rpartition('/')[2]}", stream.read()
    for path in sorted((data / "samples").rglob("*.json")):
        yield f"{path.parent.name}/{path.name}", path.read_bytes()


def _resources(name: str, resource: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(resource, dict) and "resourceType" in resource:
        yield name, resource
        if resource["resourceType"] == "Bundle":
            for i, entry in enumerate(resource.get("entry", ())):
                if isinstance(entry.get("resource"), dict):
                    yield f"{name}#{i}", entry["resource"]
