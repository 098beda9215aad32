"""HL7 v2 words only: the parser, places, times and the acknowledgement.

``parse(bytes) -> Message``; ``message.get("PV1-36.1")`` is a text, None (nothing said) or ``DELETE`` (the sender's ``""``)."""

from fhircase.hl7v2.ack import ack, wants_answer
from fhircase.hl7v2.authority import Authorities
from fhircase.hl7v2.message import DELETE, Delimiters, Message, Repetition, Segment, header, parse
from fhircase.hl7v2.places import Place
from fhircase.hl7v2.times import Moment, date, moment

__all__ = [
    "DELETE",
    "Authorities",
    "Delimiters",
    "Message",
    "Moment",
    "Place",
    "Repetition",
    "Segment",
    "ack",
    "date",
    "header",
    "moment",
    "parse",
    "wants_answer",
]
