"""Untrusted bytes → findings: what happened, to whom, drafted resources, every problem at once. Decides no identity and
looks nothing up: ``flows.take_in`` does."""

from fhircase.intake.adt import read as read_adt
from fhircase.intake.message import read as read_message
from fhircase.intake.refusal import Unacceptable

__all__ = ["Unacceptable", "read_adt", "read_message"]
