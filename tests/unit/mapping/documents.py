"""Random case documents of a mapping, made from what its lines say of their values: hypothesis draws the seed, plain Python
the rest, so that a law can look at thousands. ``smallest`` then says what of a document a law breaks on."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from fhircase.fhir.definitions import Release
from fhircase.mapping import Mapping
from fhircase.mapping.examples import without
from fhircase.mapping.lines import Line

Json = dict[str, Any]
_LETTERS = "abcdefgXYZ0189-_.,'\"\\{}<>&|^~äøñ東🙂\u200b"


def text(rng: Random) -> str:
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(1, 8)))


def date(rng: Random) -> str:
    return f"{rng.randint(1900, 2100)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def _partial_date(rng: Random) -> str:
    return date(rng)[: rng.choice((4, 7, 10))]


def instant(rng: Random) -> str:
    return f"{date(rng)}T{rng.randint(0, 23):02}:30:00{rng.choice(('Z', '.000Z', '+10:30', '-05:00'))}"


def _number(rng: Random) -> Any:
    return rng.choice((rng.randint(-999, 999), Decimal(rng.randint(-9999, 9999)).scaleb(-2)))


VALUES: dict[str, Callable[[Random], Any]] = {
    "text": text,
    "number": _number,
    "integer": lambda rng: rng.randint(1, 99),
    "boolean": lambda rng: rng.random() < 0.5,
    "date": _partial_date,
    "dateTime": lambda rng: rng.choice((_partial_date, instant))(rng),
    "instant": instant,
}


#: Types whose text is of a form of its own.
_FORMS: dict[str, Callable[[Random], str]] = {
    "base64Binary": lambda rng: b64encode(rng.randbytes(rng.randint(1, 9))).decode(),
    "id": lambda rng: f"i-{rng.randint(1, 999)}.A",
    "time": lambda rng: f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:00",
    "oid": lambda rng: f"urn:oid:1.2.{rng.randint(1, 99)}",
    "uuid": lambda rng: f"urn:uuid:{UUID(int=rng.getrandbits(128))}",
    "code": lambda rng: f"code-{rng.randint(1, 9)}",
} | dict.fromkeys(("uri", "url", "canonical"), lambda rng: f"https://partner.example/{rng.randint(1, 999)}|2")


def _words(line: Line) -> list[str]:
    """The words that come back as they went."""
    assert line.codes is not None
    coder = line.coders[0]
    words = line.codes.sources() or ["en", "es"]
    if len(line.paths) == 1:
        return [word for word in words if coder.read(coder.write(word)[0]) == (word, True)]
    return [word for word in words if any(one.read(one.write(word)[0]) == (word, True) for one in line.coders)]


def _value(line: Line, rng: Random, known: bool) -> Any:
    path = line.paths[0]
    if line.kind == "code":
        if not known and line.coders[0].shape != "code" and len(line.paths) == 1 and rng.random() < 0.2:
            return f"<{text(rng)}>"
        return rng.choice(_words(line))
    if line.kind == "ref":
        return f"{rng.choice(line.ref)}/{rng.choice(('a', 'b', 'c-1'))}"
    if line.kind == "either":
        return VALUES[rng.choice(line.paths).kind or "text"](rng)
    if path.element.codes:
        return rng.choice(path.element.codes)
    return _FORMS.get(path.type, VALUES[line.kind])(rng)


def _field(line: Line, rng: Random, known: bool) -> Any:
    if not line.many:
        return _fields(line.fields, rng, known) if line.fields is not None else _value(line, rng, known)
    made: list[Any] = []
    seen: set[str] = set()
    for _ in range(rng.randint(1, 3)):
        one = _fields(line.fields, rng, known) if line.fields is not None else _value(line, rng, known)
        mark = repr([one.get(key) for key in line.key]) if line.key else repr(one)
        if one and mark not in seen:
            made.append(one)
            seen.add(mark)
    return made


def _fields(lines: tuple[Line, ...], rng: Random, known: bool) -> Json:
    doc: Json = {}
    for line in lines:
        if line.only != "in" and (line.need or line.default is not None or rng.random() < 0.5):
            value = _field(line, rng, known)
            while line.need and value in ([], {}):
                value = _field(line, rng, known)
            if value not in (None, [], {}):
                doc[line.name] = value
    return _one_side(doc, lines)


def _one_side(doc: Json, lines: tuple[Line, ...]) -> Json:
    """FHIR has room for one type of a choice: the first said stays."""
    taken: dict[str, str] = {}
    for line in lines:
        for path in line.paths:
            before, mark, rest = path.text.partition(".ofType(")
            # Two choices in one path (an extension's) are told apart by the longer text.
            if mark and line.name in doc and not line.alternatives and taken.setdefault(before, rest.split(")")[0]) != rest.split(")")[0]:
                doc = {name: value for name, value in doc.items() if name != line.name}
    return doc


def document(mapping: Mapping, rng: Random, release: Release = "R4", known: bool = False) -> Json:
    """A document that can be written whole: what ``when`` has no place for in it is left out. ``known``: of coded fields only
    words that the tables have, no texts of one's own."""
    doc = _fields(mapping.lines_of(release), rng, known)
    return without(doc, [one.path for one in mapping.out(doc, release=release).problems if one.code == "business-rule"]) or {}


def seeds() -> st.SearchStrategy[int]:
    return st.integers(0, 2**48)


def documents(mapping: Mapping, release: Release = "R4") -> st.SearchStrategy[Json]:
    return seeds().map(lambda seed: document(mapping, Random(seed), release))


def smallest(value: Any, breaks: Callable[[Any], bool]) -> Any:
    """What is left of a JSON value when everything is taken away without which ``breaks`` still holds."""

    def parts(one: Any) -> list[Any]:
        if isinstance(one, dict):
            fewer = [{k: v for k, v in one.items() if k != key} for key in one if key != "resourceType"]
            return fewer + [{**one, key: less} for key, held in one.items() for less in parts(held)]
        if isinstance(one, list):
            fewer = [one[:at] + one[at + 1 :] for at in range(len(one))]
            return fewer + [[*one[:at], less, *one[at + 1 :]] for at, held in enumerate(one) for less in parts(held)]
        return []

    for _ in range(300):
        less = next((one for one in parts(value) if breaks(one)), None)
        if less is None:
            break
        value = less
    return value
