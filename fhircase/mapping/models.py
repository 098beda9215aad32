"""Models and kinds of case management, where a deployment differs from those of ``case.models``: ``mappings/models.json``. The words
and values are judged there; here they are read, and told by their place in the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fhircase.case import models
from fhircase.errors import Malformed
from fhircase.fhir import jsontext
from fhircase.mapping.codes import Codes
from fhircase.mapping.mistakes import Mistake
from fhircase.mapping.yamltext import Node
from fhircase.mapping.yamltext import read as read_yaml

FILE = "models.json"
KINDS, DOMAINS, LABELS = "episode-kind", "domain", "privacy-label"
"""The code tables that hold the words of models and kinds, the domains, and which kinds get a label."""


def read(text: str, shown: str, tables: Mapping[str, Codes], mistakes: list[Mistake]) -> Mapping[str, Any]:
    """The overrides of ``case.models`` in a file that is called ``shown``; what is wrong is noted, by JSON pointer."""
    try:
        found = jsontext.loads(text)
    except Malformed as error:
        (problem,) = error.problems
        place = re.fullmatch(r"line (\d+) column (\d+)", problem.path)
        line, column = (int(place[1]), int(place[2])) if place else (1, 1)
        mistakes.append(Mistake(shown, line, column, "", f"{problem.what} ({problem.hint})" if problem.hint else problem.what))
        return {}
    words = {name: tables[name].sources() if name in tables else None for name in (KINDS, DOMAINS, LABELS)}
    wrong = models.problems(found, models.Known(words[KINDS], words[DOMAINS], words[LABELS]))
    places = read_yaml(text, shown, []) if wrong else None  # JSON is YAML, and YAML knows its lines
    for problem in wrong:
        mistakes.append(replace(_place(places, problem.path, shown), path=problem.path, what=f"{problem.what} ({problem.hint})"))
    return found if isinstance(found, dict) else {}


def _place(node: Node | None, pointer: str, shown: str) -> Mistake:
    """Where a JSON pointer leads, as far as the file goes."""
    found = node.mistake("") if node is not None else Mistake(shown, 1, 1, "", "")
    for step in (one.replace("~1", "/").replace("~0", "~") for one in pointer.split("/")[1:]):
        if node is None:
            break
        if isinstance(node.value, list):
            node = node.value[int(step)]
            found = node.mistake("")
        else:
            found = node.mistake("", step)
            node = node.get(step)
    return found
