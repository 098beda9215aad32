"""The engine that reads ``mappings/``: FHIR ↔ case documents, HL7 v2 → case documents (``mappings/README.md``).

maps = Mappings.load()                       # all mistakes of all files at once, or nothing: MappingErrors
goal = maps.mapping("goal")
goal.into(resource).doc                      # FHIR → case
goal.out(doc, onto=resource).resource        # case → FHIR; only what differs is written
maps.mapping("adt").read(message).doc        # HL7 v2 → case
"""

from fhircase.mapping.codes import Codes
from fhircase.mapping.mapping import In, Mapping, Out, Place
from fhircase.mapping.mappings import OPENED, Mappings, Template, check, show, try_
from fhircase.mapping.mistakes import MappingErrors, Mistake

__all__ = ["OPENED", "Codes", "In", "Mapping", "MappingErrors", "Mappings", "Mistake", "Out", "Place", "Template", "check", "show", "try_"]
