"""fhircase keeps one shared care plan per client in step between hospital, rehab and home care.

``fhircase/README.md`` shows the house and where a new line belongs."""

__version__ = "0.1.0"
