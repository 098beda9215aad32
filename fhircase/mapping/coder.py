"""One coded element: a case word ↔ code, Coding or CodeableConcept, through a ConceptMap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhircase.mapping.codes import EQUAL, Codes, Group, Target, passed

Json = dict[str, Any]


class Coder:
    """``shape``: ``code``, ``Coding`` or ``CodeableConcept``. ``groups``: those of the map that speak of this element."""

    __slots__ = ("codes", "shape", "groups", "_forward", "_back", "_written", "_pairs", "_open", "_systems")

    def __init__(self, codes: Codes, shape: str, groups: Sequence[Group]) -> None:
        self.codes = codes
        self.shape = shape
        self.groups = tuple(groups)
        self._forward: dict[str, tuple[Target, ...]] = {}
        self._back: dict[tuple[str, str], str] = {}
        self._pairs: dict[frozenset[tuple[str, str]], str] = {}
        self._open = tuple(group for group in groups if group.unmapped is not None)
        self._systems = {group.target: group for group in groups}
        for group in groups:
            for word, (target, _) in group.rows.items():
                known = self._forward.get(word, ())
                if shape == "CodeableConcept" or not known:
                    self._forward[word] = (*known, target)
            for code, word in group.back.items():
                self._back.setdefault((group.target, code), word)
        self._written = frozenset((group.target, target.code) for group in groups for target, _ in group.rows.values())
        loose: dict[frozenset[tuple[str, str]], str] = {}
        for word, targets in self._forward.items():
            if len(targets) > 1:
                pair = frozenset((one.system, one.code) for one in targets)
                equal = any(group.rows[word][1] in EQUAL for group in groups if word in group.rows)
                (self._pairs if equal else loose).setdefault(pair, word)
        for pair, word in loose.items():
            self._pairs.setdefault(pair, word)

    def targets(self, word: str) -> tuple[Target, ...]:
        """What a word becomes; () when neither a row nor ``unmapped`` knows it."""
        found = self._forward.get(word)
        if found is not None:
            return found
        if self._open and not self.codes.matchless(word):
            for group in self._open:
                target = passed(group, word)
                if target is not None:
                    return (target,)
        return ()

    def write(self, word: str) -> tuple[Any, bool]:
        """The element for a word and whether a table knew it. What is not known is kept as text where the element has
        room for one, and is None where it has not."""
        found = self.targets(word)
        if self.shape == "CodeableConcept":
            return ({"coding": [one.coding() for one in found]}, True) if found else ({"text": word}, self.codes.matchless(word))
        if self.shape == "Coding":
            return (found[0].coding(), True) if found else ({"display": word}, self.codes.matchless(word))
        return (found[0].code, True) if found else (None, False)

    def word(self, system: str, code: str) -> str | None:
        """The word for one code, through ``unmapped: provided`` where that is so."""
        found = self._back.get((system, code))
        if found is None and self._open:
            group = self._systems.get(system)
            if group is not None and group.unmapped == "provided" and code not in group.clashes:
                return code if code not in self._forward else None
        return found

    def read(self, element: Any) -> tuple[str | None, bool]:
        """The word for an element and whether a table knew it. An unknown code is read as its own text, display or code."""
        if self.shape == "code":
            if type(element) is not str:
                return None, False
            for group in self.groups:
                found = self.word(group.target, element)
                if found is not None:
                    return found, True
            return element, False
        if type(element) is not dict:
            return None, False
        if self.shape == "Coding":
            code = element.get("code")
            found = self.word(element.get("system", ""), code) if type(code) is str else None
            if found is not None:
                return found, True
            text = element.get("display") or code
            return (text if type(text) is str else None), code is None
        codings = element.get("coding")
        if type(codings) is list:
            found = self.known(codings)
            if found is not None:
                return found, True
            text = element.get("text")
            if type(text) is str:
                return text, not codings
            for coding in codings:
                if type(coding) is dict:
                    text = coding.get("display") or coding.get("code")
                    if type(text) is str:
                        return text, False
            return None, not codings
        text = element.get("text")
        return (text if type(text) is str else None), True

    def known(self, codings: list[Any]) -> str | None:
        """The word for several codings: all of them together first, then each in its order."""
        if len(codings) == 1:
            coding = codings[0]
            if type(coding) is not dict:
                return None
            code = coding.get("code")
            return self.word(coding.get("system", ""), code) if type(code) is str else None
        if self._pairs:
            present = {(c.get("system", ""), c.get("code")) for c in codings if type(c) is dict}
            for pair, word in self._pairs.items():
                if pair <= present:
                    return word
        for coding in codings:
            if type(coding) is dict and type(coding.get("code")) is str:
                found = self.word(coding.get("system", ""), coding["code"])
                if found is not None:
                    return found
        return None

    def ours(self, coding: Any) -> bool:
        """True when the table knows this coding."""
        return type(coding) is dict and type(coding.get("code")) is str and (
            (coding.get("system", ""), coding["code"]) in self._back
            or (coding.get("system", ""), coding["code"]) in self._written
            or self.word(coding.get("system", ""), coding["code"]) is not None
        )  # fmt: skip

    def update(self, element: Any, word: str, before: str | None) -> tuple[Any, bool]:
        """The element with another word. Codings of other tables stay beside ours, unless it was they that were read as
        the old value; the text goes, for it spoke of the old code."""
        made, known = self.write(word)
        if self.shape != "CodeableConcept" or type(element) is not dict or made is None:
            return made, known
        kept = {key: value for key, value in element.items() if key not in ("coding", "text")}
        codings = element.get("coding")
        others = [one for one in codings if not self.ours(one)] if type(codings) is list else []
        if type(codings) is list and before is not None and self.known(codings) is None:
            others = []
        fresh = made.get("coding", [])
        both = [*fresh, *others]
        result: Json = {}
        if both:
            result["coding"] = both
        if "text" in made:
            result["text"] = made["text"]
        result.update(kept)
        return result, known
