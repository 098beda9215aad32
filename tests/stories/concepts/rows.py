"""The concepts of case management that the service carries, and which tests show each.

    @row("client", "shared")          entered by one door, read by another and at a second partner
    @row("client", "acts")            what the service does with it
    @row("client", "twin")            what must not set it off

    python -m tests.stories.concepts.rows     the table"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

Part = Literal["shared", "acts", "twin"]
Test = TypeVar("Test", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Row:
    """``name`` in short, ``begins`` how the concept begins in the list of concepts; ``acts`` False where only its data is carried
    so far."""

    name: str
    begins: str
    acts: bool = True


ROWS = (
    Row("case", "the case itself, open to closed"),
    Row("client", "client, the person at the centre", acts=False),
    Row("family", "family, support system, guardian"),
    Row("owner", "single point of contact"),
    Row("team", "who does the work"),
    Row("model", "model of case management"),
    Row("kind", "kind of case"),
    Row("way-in", "way in: provider", acts=False),
    Row("finding", "finding those who need a case", acts=False),
    Row("setting", "setting: acute hospital", acts=False),
    Row("assessment", "assessment over biological"),
    Row("stability", "stability: crisis", acts=False),
    Row("needs", "needs, challenges and barriers"),
    Row("strengths", "strengths and resources"),
    Row("planning", "planning with the client"),
    Row("decision", "options and informed decision"),
    Row("goal", "specific, measurable goal"),
    Row("services", "implementation: services arranged", acts=False),
    Row("education", "education of the client", acts=False),
    Row("directory", "resource connection", acts=False),
    Row("payer", "payer: insurance", acts=False),
    Row("appointments", "appointments and schedules", acts=False),
    Row("contacts", "contacts: calls", acts=False),
    Row("coordination", "coordination and referral", acts=False),
    Row("monitoring", "monitoring progress", acts=False),
    Row("closing", "evaluation, termination"),
    Row("medication", "medication conflicts", acts=False),
    Row("advocacy", "advocacy: preferences heard", acts=False),
    Row("consent", "autonomy, self-determination", acts=False),
    Row("safety", "safety and well-being"),
    Row("empowerment", "empowerment, self-sufficiency"),
    Row("holistic", "holistic, whole-person care"),
    Row("duplicates", "no duplicate services", acts=False),
    Row("least-restrictive", "least restrictive setting", acts=False),
    Row("discharge-planning", "discharge planning begins", acts=False),
    Row("continuity", "continuity: hospital", acts=False),
    Row("collaboration", "collaboration with family", acts=False),
    Row("outcomes", "outcomes: health status", acts=False),
    Row("ethics", "ethics: autonomy"),
)
NAMES = frozenset(one.name for one in ROWS)
FOLDER = Path(__file__).resolve().parent


def row(name: str, part: Part) -> Callable[[Test], Test]:
    """Says which concept a test shows. Raises KeyError for a name that is no row."""
    if name not in NAMES:
        raise KeyError(name)

    def mark(test: Test) -> Test:
        shown = getattr(test, "rows", ())
        test.rows = (*shown, (name, part))  # type: ignore[attr-defined]
        return test

    return mark


def shown() -> dict[str, dict[str, list[str]]]:
    """Row → part → names of its tests."""
    found: dict[str, dict[str, list[str]]] = {one.name: {"shared": [], "acts": [], "twin": []} for one in ROWS}
    for module, name, test in _tests():
        for concept, part in getattr(test, "rows", ()):
            found[concept][part].append(f"{module}::{name}")
    return found


def _tests() -> Iterator[tuple[str, str, Any]]:
    for file in sorted(FOLDER.glob("test_*.py")):
        module = importlib.import_module(f"tests.stories.concepts.{file.stem}")
        for name, test in vars(module).items():
            if name.startswith("test_") and callable(test):
                yield file.stem, name, test


def table() -> str:
    found = shown()
    lines = ["| concept | entered, read elsewhere and at a second partner | acts | negative twin |", "| --- | --- | --- | --- |"]
    for one in ROWS:
        parts = found[one.name]
        later = "" if one.acts else "carried"
        cells = [", ".join(parts[part]) or later for part in ("shared", "acts", "twin")]
        lines.append("| " + " | ".join([one.begins, *cells]) + " |")
    return "\n".join(lines)


def main() -> int:
    print(table())
    return pytest.main(["-q", str(FOLDER)])


if __name__ == "__main__":
    sys.exit(main())
