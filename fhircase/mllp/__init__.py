"""HL7 v2 over TCP: the Minimal Lower Layer Protocol (HL7 v2 implementation guide, appendix C; MLLP release 1)."""

from fhircase.mllp.frames import Decoder, FrameTooLarge, NotFramed, frame
from fhircase.mllp.listener import Limits, Listener, Peer
from fhircase.mllp.peers import Peers

__all__ = ["Decoder", "FrameTooLarge", "Limits", "Listener", "NotFramed", "Peer", "Peers", "frame"]
