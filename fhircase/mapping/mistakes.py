"""Mistakes in mapping files: all are gathered and told at once, each with its place and the likely cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fhircase.errors import FhircaseError, Problem


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake. ``line`` and ``column`` count from 1; ``path`` is the key path inside the file
    (``fields.title.fhir``)."""

    file: str
    line: int
    column: int
    path: str
    what: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.path}: {self.what}" if self.path else f"{where}: {self.what}"


class MappingErrors(FhircaseError):
    """The mapping files cannot be used. ``mistakes`` holds every one that was found, in file order."""

    title = "The mapping files hold mistakes"

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes: tuple[Mistake, ...] = tuple(sorted(set(mistakes)))
        super().__init__(Problem(f"{m.path}: {m.what}", f"{m.file}:{m.line}:{m.column}", "", "invalid") for m in self.mistakes)

    def __str__(self) -> str:
        return "\n".join(str(mistake) for mistake in self.mistakes)


def likely(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` or nothing."""
    near = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
