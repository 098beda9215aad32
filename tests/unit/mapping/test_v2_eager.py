"""Speed has changed nothing: what the lazy, compiled reader gives is what a slow one gives that splits everything at once and
walks the lines one by one, for any message, however mangled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhircase import hl7v2
from fhircase.errors import Malformed, TooLarge
from fhircase.hl7v2 import DELETE, Authorities, Message
from fhircase.mapping import Mappings
from fhircase.mapping.lines import Line, Source
from fhircase.mapping.v2side import _COMPOSITE, ABSENT, _look
from fhircase.mapping.values import typed
from tests.conftest import ROOT

ZONE = "America/New_York"
AUTHORITIES = Authorities("mercy", {"MERCY": "urn:oid:1.2.3"}, "MERCY")
YES = {"y": True, "yes": True, "true": True, "1": True, "n": False, "no": False, "false": False, "0": False}


class EagerRep(NamedTuple):
    place: str
    raw: str
    texts: list[list[str | None]]

    def get(self, component: int = 1, sub: int = 1) -> str | None:
        if self.raw == '""':
            return DELETE
        if component > len(self.texts):
            return None
        subs = self.texts[component - 1]
        if subs == [DELETE] and subs[0] is DELETE:
            return DELETE
        return subs[sub - 1] if sub <= len(subs) else None


class EagerSegment(NamedTuple):
    name: str
    place: str
    fields: list[list[EagerRep]]

    def reps(self, field: int) -> list[EagerRep]:
        return self.fields[field] if field < len(self.fields) else []


class Eager:
    """A message split to its last subcomponent before anything is read."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.authorities = AUTHORITIES
        self.problems: set[tuple[str, str, str, str]] = set()
        self.told: set[tuple[str, str]] = set()
        self.origins: dict[str, tuple[str, str | None]] = {}
        self.all: list[EagerSegment] = []
        counts: dict[str, int] = {}
        owner = ""
        for one in message.segments():
            name = one.name
            counts[name] = counts.get(name, 0) + 1
            if name in ("ROL", "PRT"):
                if owner:
                    continue
            elif name in ("PR1", "GT1", "IN1"):
                owner = name
            elif not (owner and name in ("IN2", "IN3")):
                owner = ""
            fields = one.raw.split(message.delimiters.field)
            if name == "MSH":
                fields.insert(1, message.delimiters.field)
            place = name if counts[name] == 1 else f"{name}[{counts[name]}]"
            self.all.append(EagerSegment(name, place, [self.reps(place, at, text) for at, text in enumerate(fields)]))

    def reps(self, place: str, field: int, text: str) -> list[EagerRep]:
        marks = self.message.delimiters
        return [
            EagerRep(
                f"{place}-{field}" + (f"[{number}]" if number > 1 else ""),
                raw,
                [[self.text(sub) for sub in split(part, marks.sub)] for part in split(raw, marks.component)],
            )
            for number, raw in enumerate(split(text, marks.repetition), 1)
            if raw
        ]

    def text(self, written: str) -> str | None:
        if written in ("", '""'):
            return DELETE if written else None
        marks = self.message.delimiters
        named = {"F": marks.field, "S": marks.component, "T": marks.sub, "R": marks.repetition, "E": marks.escape, "P": marks.truncation}
        made, at = "", 0
        while at < len(written):
            found = re.compile(r"(\.[a-z]{2}[+-]?\d*|X(?:[0-9A-Fa-f]{2})+|[CMZ][0-9A-Fa-f]+|[A-Z])(.)", re.DOTALL).match(written, at + 1)
            if not marks.escape or written[at] != marks.escape or found is None or found[2] != marks.escape:
                made, at = made + written[at], at + 1
                continue
            name, whole = found[1], written[at : found.end()]
            said = "\n" if name == ".br" else named.get(name) or whole
            if name[0] == "X" and len(name) > 1:
                said = bytes.fromhex(name[1:]).decode(self.message.codec, "replace")
                if re.search("[\x00-\x08\x0e-\x1f\ufffd]", said):
                    said = whole
            made, at = made + said, found.end()
        return made

    # The lines, one by one.

    def named(self, name: str) -> list[EagerSegment]:
        return [one for one in self.all if one.name == name]

    def find(self, source: Source, segment: Any, rep: Any) -> EagerRep | None:
        if source.datatype:
            return rep
        at = segment if segment is not None and segment.name == source.segment else next(iter(self.named(source.segment)), None)
        return next(iter(at.reps(source.field)), None) if at is not None else None

    def tell(self, what: str, place: str, code: str, severity: str = "warning") -> None:
        if (place, code) not in self.told:
            self.told.add((place, code))
            self.problems.add((what, place, code, severity))

    def scope(self, lines: Any, segment: Any, rep: Any, of: Any, path: str) -> dict[str, Any]:
        doc = {}
        for line in lines:
            value = self.line(line, segment, rep, of, f"{path}.{line.name}".lstrip("."))
            if value is not ABSENT:
                doc[line.name] = value
        for line in lines if doc else ():
            if line.name not in doc and line.default is not None:
                doc[line.name] = line.default
            elif line.name not in doc and line.need:
                self.tell("is needed", f"{path}.{line.name}", "required", "error")
        return doc

    def allowed(self, line: Line, segment: Any, rep: Any) -> bool:
        def holds(rules: Any) -> bool:
            for place, wanted in rules:
                at = self.find(place, segment, rep)
                if ((at.get(place.component or 1, place.sub or 1) if at is not None else None) or "") not in wanted:
                    return False
            return True

        return (not line.when or holds(line.when)) and not (line.unless and holds(line.unless))

    def spots(self, line: Line, segment: Any, rep: Any) -> Iterator[tuple[Any, Any, Any]]:
        for source in line.sources:
            assert isinstance(source, Source)
            if source.datatype:
                yield from [(segment, rep, None)] if rep is not None else []
                continue
            for at in [segment] if segment is not None and segment.name == source.segment else self.named(source.segment):
                if source.field:
                    yield from ((at, part, source) for part in at.reps(source.field))
                else:
                    yield at, None, None

    def line(self, line: Line, segment: Any, rep: Any, of: Any, path: str) -> Any:
        assert not line.pick
        if line.fields is None:
            if not self.allowed(line, segment, rep):
                return ABSENT
            return self.values(line, segment, rep, path) if line.many else self.value(line, line.sources, segment, rep, of, path)
        if not line.many:
            for at, part, place in self.spots(line, segment, rep) if line.sources else [(segment, rep, of)]:
                if self.allowed(line, at, part) and (doc := self.scope(line.fields, at, part, place, path)):
                    return doc
            return ABSENT
        made: list[Any] = []
        deleted = False
        within = bool(line.sources) and bool(line.sources[0].datatype)  # type: ignore[union-attr]
        for at, part, place in self.spots(line, segment, rep):
            if part is not None and part.raw == '""':
                deleted = True
            elif self.allowed(line, at, part):
                doc = self.scope(line.fields, at, part, place, f"{path}[{len(made)}]")
                if doc or not within:
                    made.append(doc)
        return made if any(made) else None if deleted else ABSENT

    def values(self, line: Line, segment: Any, rep: Any, path: str) -> Any:
        made: list[Any] = []
        deleted = False
        for source in line.sources:
            assert isinstance(source, Source)
            at = segment if segment is not None and segment.name == source.segment else next(iter(self.named(source.segment)), None)
            for each in [rep] if source.datatype else at.reps(source.field) if at is not None else []:
                within = Source(component=source.component, sub=source.sub, datatype="CX")
                value = self.value(line, (within,), segment, each, None, f"{path}[{len(made)}]") if each is not None else ABSENT
                deleted = deleted or value is None
                if value is not None and value is not ABSENT:
                    made.append(value)
        return made or (None if deleted else ABSENT)

    def value(self, line: Line, sources: Any, segment: Any, rep: Any, of: Any, path: str) -> Any:
        deleted: str | None = None
        unknown: tuple[str, str] | None = None
        for number, source in enumerate(sources):
            kind = line.as_[number] if len(line.as_) == len(sources) else line.as_[0]
            if isinstance(source, dict):
                for place, word in source.items():
                    at = rep if of == place else self.find(place, segment, rep) if of is None else None
                    if at is not None and (of is not None or at.get(place.component or 1, place.sub or 1)):
                        self.origins[path] = (at.place, None)
                        return word
                continue
            at = self.find(source, segment, rep)
            if at is None:
                continue
            where = at.place + "".join(f".{n}" for n in (source.component, source.sub) if n)
            if kind in _COMPOSITE:
                text = DELETE if at.raw == '""' else _COMPOSITE[kind](source, self, at)  # type: ignore[arg-type]
            else:
                text = at.get(source.component or 1, source.sub or 1)
            if text is DELETE:
                deleted = deleted or where
                continue
            if text is None:
                continue
            value: Any = text
            lost: str | None = None
            if line.codes is not None:
                value, known = _look(line.codes)(text)
                if value is None:
                    unknown = unknown or (None if known else (text, where))
                    continue
            elif kind in _COMPOSITE or kind == "text":
                if text.isspace():
                    continue
            else:
                value, lost = self.convert(kind, text, where)
                if value is ABSENT:
                    if lost is not None:
                        self.origins[path] = (where, lost)
                    continue
            self.origins[path] = (where, lost)
            return value
        if unknown is not None:
            assert line.codes is not None
            self.tell(f"code not in codes/{line.codes.name}", unknown[1], "code-invalid")
            self.origins[path] = (unknown[1], unknown[0])
            return unknown[0] if line.keeps_text else ABSENT
        if deleted is not None:
            self.origins[path] = (deleted, None)
            return None
        return ABSENT

    def convert(self, kind: str, text: str, where: str) -> tuple[Any, str | None]:
        moment = hl7v2.moment(text, zone=ZONE)
        if kind == "time-of-birth":
            timed = moment is not None and "T" in moment.text and moment.doubt is None and len(text) >= 9
            return (moment.text if moment is not None and timed else ABSENT), None
        if kind in ("date", "dateTime"):
            if moment is None:
                self.tell(f"is not a {'date' if kind == 'date' else 'time'}", where, "value")
                return ABSENT, text
            if kind == "date":
                day = moment.text[:10]
                return day, text if len(text.strip()) > len(day.replace("-", "")) else None
            if moment.doubt is None:
                return moment.text, None
            offset = moment.doubt == "offset"
            self.tell(
                "its offset is no offset on earth: kept to the day"
                if offset
                else "the clock was changed at this time: the first reading was taken",
                where,
                "value",
            )
            return moment.text, text
        if kind == "boolean":
            if text.strip().lower() not in YES:
                self.tell("is neither Y nor N", where, "value")
                return ABSENT, text
            return YES[text.strip().lower()], None
        assert kind == "number"
        number = typed(text.strip(), "number")
        if number is None:
            self.tell("is not a number", where, "value")
            return ABSENT, text
        return number, None


def split(text: str, delimiter: str) -> list[str]:
    return text.split(delimiter) if delimiter else [text]


RICH = (
    "MSH|^~\\&|EPIC|MERCY|FHIRCASE|COUNTY|20261120143005-0500||ADT^A03^ADT_A03|MSG42|P|2.5.1\r"
    "EVN|A03|20261120143000-0500|||OP1^Lee^Kim|20261120142500\r"
    "PID|1||M1^^^MERCY^MR~M2^^^X&1.2.3&ISO^MA||O\\T\\BRIEN^José^Q~DOE^Jane^^JR||195603040230-0500|F|||12 Main St^Apt 3^Salem^OR^97301^USA^H"
    '||^PRN^PH^^^503^5550100~^NET^Internet^j@example.org|555|es|W||||||||||||20261120|""\r'
    "PD1||||1245319599^Adams^Ruth^^^Dr^^^NPI&2.16.1&ISO^L\r"
    "NK1|1|ORTIZ^Ana|DAU|14 Main St^^Salem|5550111||C\rNK1|2|ACME^Inc|EMR||||||||||ACME\r"
    "PV1|1|I|4E^401^B^MERCY||||123^Welby^Marcus||||||||||||V777^^^MERCY^VN|||||||||||||||||06|SNF1&SUNNY||MERCY|||||20261110|20261120142500\r"
    "DG1|1||I50.9^Heart failure^I10||20261110|F|||||||||1\rDG1|2||E11.9||2026|W\rROL|1|AD|PP|99^House^Greg|2020\rROL|2|DE|AT|98^Foe^Ann"
).encode()
STORIES = sorted(ROOT.glob("fixtures/**/*.hl7"))
SPLICES = [
    b'""',
    b"|",
    b"^",
    b"&",
    b"~",
    b"\\",
    b'|""|',
    b'~""~',
    b"\\T\\",
    b"\\X41\\",
    b"\\.br\\",
    b"\\X",
    b" ",
    b"\r",
    b"\n",
    b"0",
    b"Z",
    b"\xc3\xa9",
]

FIELDS = [
    b"",
    b" ",
    b'""',
    b"Z",
    b"N",
    b"1.5",
    b"a^b",
    b'^""',
    b'a^""&x',
    b"x&y^z&w",
    b"& ^ & ",
    b"^ ^ ",
    b"~a",
    b"a~~b",
    b'""~b',
    b"\\F\\",
    b"\\X41\\^\\.br\\",
    b"19560304023000-0500",
    b"19991399",
    b"2026",
    b"202611010130",
    b"20260308023000",
    b"20261120142500+9900",
    b"20261120",
    b"N^NET^Internet^a@b.c",
    b"M1^^^X^SS",
]


@st.composite
def mangled(draw: Any) -> bytes:
    """A message with bytes changed, put in or taken out, cut off, or written with other delimiters."""
    raw = bytearray(draw(st.sampled_from([RICH, RICH, *(file.read_bytes() for file in STORIES)])))
    if draw(st.booleans()):
        old, new = b"|^~\\&", bytes(draw(st.permutations(b"|^~\\&#*!@$"))[:5])
        raw = bytearray(bytes(raw).translate(bytes(dict(zip(old, new)).get(byte, byte) for byte in range(256))))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, max(len(raw) - 1, 0)))
        how = draw(st.sampled_from(["field", "field", "field", "put in", "change", "flip", "take out", "cut"]))
        if how == "field" and len(raw) > 3:
            fields = bytes(raw).split(raw[3:4])
            fields[draw(st.integers(0, len(fields) - 1))] = draw(st.sampled_from(FIELDS))
            raw = bytearray(raw[3:4].join(fields))
        elif how == "put in":
            raw[at:at] = draw(st.sampled_from(SPLICES))
        elif how == "change":
            raw[at : at + 1] = draw(st.sampled_from(SPLICES))
        elif how == "flip":
            raw[at : at + 1] = bytes([(raw[at] if raw else 0) ^ (1 << draw(st.integers(0, 7)))])
        elif how == "take out":
            del raw[at : at + draw(st.integers(1, 5))]
        elif at > 60:
            del raw[at:]
    return bytes(raw)


def same(maps: Mappings, raw: bytes) -> bool:
    try:
        message = hl7v2.parse(raw)
    except (Malformed, TooLarge):
        return False
    mapping = maps.mapping("adt")
    eager = Eager(message)
    lazy = {str(one.place()): one for one in message.segments()}
    for segment in eager.all:
        for number, reps in enumerate(segment.fields[3 if segment.name == "MSH" else 1 :], 3 if segment.name == "MSH" else 1):
            assert [str(one.place) for one in lazy[segment.place].repetitions(number)] == [one.place for one in reps]
            for one, rep in zip(lazy[segment.place].repetitions(number), reps):
                for component, subs in enumerate(rep.texts, 1):
                    for sub in range(1, len(subs) + 2):
                        assert one.get(component, sub) == rep.get(component, sub)
    doc = eager.scope(mapping.lines, None, None, None, "")
    found = mapping.read(message, zone=ZONE, authorities=AUTHORITIES)
    assert found.doc == doc
    assert {(one.what, one.path, one.code, one.severity) for one in found.problems} == eager.problems
    assert {field: tuple(place) for field, place in found.origins.items()} == eager.origins
    return True


@settings(max_examples=300, deadline=None)
@given(raw=mangled())
def test_a_message_read_lazily_says_what_one_split_at_once_says(maps: Mappings, raw: bytes) -> None:
    same(maps, raw)


@pytest.mark.parametrize("raw", [RICH, *(file.read_bytes() for file in STORIES)])
def test_whole_messages_read_the_same_both_ways(maps: Mappings, raw: bytes) -> None:
    assert same(maps, raw)


def test_every_filled_field_of_a_message_reads_the_same_whatever_stands_in_it(maps: Mappings) -> None:
    lines = RICH.split(b"\r")
    read = 0
    for at, line in enumerate(lines[1:], 1):
        fields = line.split(b"|")
        for number in range(1, len(fields)):
            for text in FIELDS if fields[number] else ():
                other = b"|".join([*fields[:number], text, *fields[number + 1 :]])
                read += same(maps, b"\r".join([*lines[:at], other, *lines[at + 1 :]]))
    assert read > 1_400
