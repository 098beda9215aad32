"""All mappings of a folder, loaded and checked at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fhircase.mapping.codes import Codes
from fhircase.mapping.mapping import Mapping


@dataclass(frozen=True, slots=True)
class Template:
    """What a discharge proposes (DECISIONS 9): case documents of mappings ``goal`` and ``service``."""

    name: str
    goals: tuple[dict[str, Any], ...]
    services: tuple[dict[str, Any], ...]


class Mappings:
    @classmethod
    def load(cls, path: Path | None = None) -> Mappings:
        """Raises MappingErrors with every mistake of every file."""
        raise NotImplementedError

    def mapping(self, name: str, site: str | None = None) -> Mapping:
        """Raises KeyError for a name that is not there."""
        raise NotImplementedError

    def codes(self, name: str, site: str | None = None) -> Codes:
        raise NotImplementedError

    def templates(self, kind: str, route: str | None) -> Template:
        raise NotImplementedError


def check(path: Path | None = None) -> list[str]:
    raise NotImplementedError


def show(name: str, site: str | None = None) -> list[str]:
    raise NotImplementedError


def try_(name: str, file: Path) -> list[str]:
    raise NotImplementedError
