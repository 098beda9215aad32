"""Code tables: FHIR R4 ConceptMaps read once at start, looked up both ways."""

from __future__ import annotations


class Codes:
    """One ConceptMap of ``mappings/codes``."""

    name: str

    def forward(self, code: str, system: str | None = None) -> str | None:
        """The target code of ``code`` (in the group whose target or source is ``system``, if given); None when no row knows it."""
        raise NotImplementedError

    def back(self, code: str, system: str | None = None) -> str | None:
        """The source code that a target code stands for; None when no row knows it."""
        raise NotImplementedError
