"""HL7 v2 → case: the lines of a v2 mapping compiled to closures, once, at load.

A line gives a value, ABSENT (nothing said: the key stays away) or None (the sender's ``""``: delete). Each value's place is
kept as its origin, with the text as sent where it could not be carried over whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fhircase import hl7v2
from fhircase.errors import Problem
from fhircase.hl7v2 import DELETE, Authorities, Message, Repetition, Segment
from fhircase.mapping.codes import Codes
from fhircase.mapping.lines import Line, Source
from fhircase.mapping.values import typed

Doc = dict[str, Any]


class Place(NamedTuple):
    """Where a case value was read from: ``PV1-36.1``, ``PID-3[2].1`` (second repetition), ``DG1[2]-3.1`` (second DG1).
    ``raw``: the text as sent where it could not be carried over whole (a time without zone, an unknown code)."""

    place: str
    raw: str | None = None


class _Absent:
    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()

#: Groups that bring their own ROL and PRT segments, which say nothing of the visit's team (HL7 v2.8 chapter 3, ADT_A01).
_OWNERS = frozenset({"PR1", "GT1", "IN1"})
_MOVABLE = frozenset({"ROL", "PRT"})


@dataclass(slots=True)
class Run:
    """One reading of one message."""

    message: Message
    zone: str | None
    authorities: Authorities
    problems: list[Problem] = field(default_factory=list)
    origins: dict[str, Place] = field(default_factory=dict)
    told: set[tuple[str, str]] = field(default_factory=set)
    found: dict[str, list[Segment]] = field(default_factory=dict)

    def segments(self, name: str) -> list[Segment]:
        found = self.found.get(name)
        if found is None:
            found = self.message.segments(name)
            if name in _MOVABLE and found:
                found = self._of_the_visit(name)
            self.found[name] = found
        return found

    def _of_the_visit(self, name: str) -> list[Segment]:
        made, owner = [], ""
        for segment in self.message.segments():
            if segment.name not in _MOVABLE:
                owner = segment.name if segment.name in _OWNERS or (owner in _OWNERS and segment.name in ("IN2", "IN3")) else ""
            elif segment.name == name and not owner:
                made.append(segment)
        return made

    def tell(self, what: str, place: str, hint: str, code: str, severity: str = "warning") -> None:
        """Once for each place: two lines that read it would say the same."""
        if (place, code) not in self.told:
            self.told.add((place, code))
            self.problems.append(Problem(what, place, hint, code, severity))


class Here(NamedTuple):
    """Where a line reads: the segment and repetition of the enclosing group, and the place that the repetition is of."""

    segment: Segment | None = None
    repetition: Repetition | None = None
    of: Source | None = None


_TOP = Here()
Reader = Callable[[Run, Here, str], Any]


def _part_of(source: Source) -> str:
    return "".join(f".{n}" for n in (source.component, source.sub) if n)


def _getter(source: Source) -> Callable[[Run, Here], tuple[str | None, Any]]:
    """The text at a place and what tells the place's name."""
    component, sub, number = source.component or 1, source.sub or 1, source.field
    if source.datatype:

        def within(run: Run, here: Here) -> tuple[str | None, Any]:
            repetition = here.repetition
            return (None, None) if repetition is None else (repetition.get(component, sub), repetition)

        return within
    name = source.segment

    def absolute(run: Run, here: Here) -> tuple[str | None, Any]:
        segment = here.segment
        if segment is None or segment.name != name:
            segments = run.segments(name)
            if not segments:
                return None, None
            segment = segments[0]
        return segment.get(number, component, sub), segment

    return absolute


def _named(source: Source, where: Any) -> str:
    """The place as text: ``PID-3[2].1``."""
    if isinstance(where, Repetition):
        return f"{where.place}{_part_of(source)}"
    if isinstance(where, Segment) and where.occurrence > 1:
        return f"{source.segment}[{where.occurrence}]-{source.field}{_part_of(source)}"
    return str(source)


# ------------------------------------------------------------------------------------------------ conversions


def _convert(run: Run, as_: str, text: str, where: str) -> tuple[Any, str | None]:
    """The value and, where something was lost, the text as sent."""
    if as_ == "dateTime":
        try:
            moment = hl7v2.moment(text, zone=run.zone)
        except ValueError:
            moment = hl7v2.moment(text)
        if moment is None:
            run.tell("is not a time", where, "send YYYYMMDDHHMMSS+ZZZZ", "value")
            return ABSENT, text
        if moment.doubt == "no-zone":
            run.tell("a time without offset from a sender without a time zone: kept to the day", where, "set the sender's time zone", "incomplete")
        elif moment.doubt is not None:
            what = {"offset": "its offset is no offset on earth: kept to the day"}.get(moment.doubt, "the clock was changed at this time: the first reading was taken")
            run.tell(what, where, "send times with their offset", "value")
        return moment.text, text if moment.doubt is not None else None
    if as_ == "date":
        day = hl7v2.date(text)
        if day is None:
            run.tell("is not a date", where, "send YYYYMMDD", "value")
            return ABSENT, text
        return day[:10], text if len(day) > 10 else None
    if as_ == "time-of-birth":
        moment = hl7v2.moment(text, zone=run.zone)
        return (moment.text, None) if moment is not None and "T" in moment.text and moment.doubt is None else (ABSENT, None)
    if as_ == "number":
        value = typed(text.strip(), "number")
        if value is None:
            run.tell("is not a number", where, "", "value")
            return ABSENT, text
        return value, None
    if as_ == "boolean":
        said = {"y": True, "yes": True, "true": True, "1": True, "n": False, "no": False, "false": False, "0": False}.get(text.strip().lower())
        if said is None:
            run.tell("is neither Y nor N", where, "use table 0136", "value")
            return ABSENT, text
        return said, None
    return text, None


def _whole(as_: str, source: Source, run: Run, here: Here) -> tuple[Any, Any]:
    """Conversions that look at a whole composite."""
    if source.datatype:
        where: Any = here.repetition
        repetition = here.repetition
    else:
        segment = here.segment if here.segment is not None and here.segment.name == source.segment else next(iter(run.segments(source.segment)), None)
        where = segment
        repetitions = segment.repetitions(source.field) if segment is not None else []
        repetition = repetitions[0] if repetitions else None
    if repetition is None:
        return None, where
    component = source.component
    if as_ == "authority":
        if repetition.raw == '""':
            return DELETE, where
        number = component or 1
        if source.datatype == "EI":  # its authority is spread over components 2 to 4
            names = (repetition.get(number), repetition.get(number + 1), repetition.get(number + 2))
        else:
            names = (repetition.get(number), repetition.get(number, 2), repetition.get(number, 3))
        if number == 4 and (source.datatype == "CX"):
            return run.authorities.of(repetition), where
        return (run.authorities.system(*(name or None for name in names)) if names[0] or names[1] else None), where
    if repetition.raw == '""':
        return DELETE, where
    if as_ == "name":
        xpn = source.datatype == "XPN"
        family, given, middle, suffix, prefix = (1, 2, 3, 4, 5) if xpn else (2, 3, 4, 5, 6)
        parts = [repetition.get(n) for n in (prefix, given, middle, family)]
        text = " ".join(part for part in parts if part)
        after = repetition.get(suffix)
        return (f"{text}, {after}" if text and after else text) or None, where
    if as_ == "place":
        spot = " ".join(part for n in (1, 2, 3) if (part := repetition.get(n)))
        facility = repetition.get(4)
        text = f"{spot}, {facility}" if spot and facility else spot or facility or repetition.get(9) or ""
        return text or None, where
    # contact: XTN.12 is the whole number, else country, area and local part, else the first component of old messages
    if (repetition.get(3) or "") in ("Internet", "X.400") or (repetition.get(2) or "") == "NET":
        mail = repetition.get(4)
        if mail:
            return mail, where
    whole = repetition.get(12)
    if whole:
        return whole, where
    country, area, local, extension = (repetition.get(n) for n in (5, 6, 7, 8))
    if local and area:
        text = " ".join(part for part in (f"+{country.lstrip('+')}" if country else None, area, local) if part)
        return (f"{text} x{extension}" if extension else text), where
    return repetition.get(1) or local or repetition.get(4), where


_COMPOSITE = frozenset({"authority", "name", "contact", "place"})


# ------------------------------------------------------------------------------------------------ lines


def _matches(rules: Sequence[tuple[Source, frozenset[str]]]) -> Callable[[Run, Here], bool]:
    tests = [(_getter(place), wanted) for place, wanted in rules]

    def match(run: Run, here: Here) -> bool:
        return all((get(run, here)[0] or "") in wanted for get, wanted in tests)

    return match


def _code(run: Run, codes: Codes, text: str) -> tuple[str | None, bool]:
    """The word, and whether the table knows the code (a row without counterpart is known and has none)."""
    found = codes.forward(text)
    if found is None and (stripped := text.strip()) != text:
        found = codes.forward(stripped)
    return found, found is not None or codes.matchless(text)


def _value(line: Line) -> Reader:
    """One value: the first of its places that says something."""
    as_ = line.as_ if len(line.as_) == len(line.sources) else line.as_ * max(len(line.sources), 1)
    places: list[tuple[Any, ...]] = []
    for one, kind in zip(line.sources, as_):
        if isinstance(one, dict):
            places.append(("word", one, None, None))
        elif kind in _COMPOSITE:
            places.append(("whole", one, kind, None))
        else:
            places.append(("text", one, kind, _getter(one)))
    codes, keeps, table = line.codes, line.keeps_text, f"codes/{line.codes.name}" if line.codes else ""
    picks = _picked(line)

    def read(run: Run, here: Here, path: str) -> Any:
        deleted: str | None = None
        unknown: tuple[str, str] | None = None
        for form, source, kind, get in places:
            if form == "word":
                word, name = _fixed(source, run, here)
                if word is not None:
                    run.origins[path] = Place(name)
                    return word
                continue
            if picks is not None:
                text, where = picks(run, here, source)
            elif form == "whole":
                text, where = _whole(kind, source, run, here)
            else:
                text, where = get(run, here)
            if text is None:
                continue
            if text is DELETE:
                deleted = deleted or _named(source, where)
                continue
            raw = None
            value: Any = text
            if codes is not None:
                value, known = _code(run, codes, text)
                if value is None:
                    if not known and unknown is None:
                        unknown = (text, _named(source, where))
                    continue
            elif form == "text" and kind != "text":
                value, raw = _convert(run, kind, text, _named(source, where))
            elif not text.strip():
                continue
            run.origins[path] = Place(_named(source, where), raw)
            if value is ABSENT:
                continue
            return value
        if unknown is not None:
            text, name = unknown
            run.tell(f"code not in {table}", name, f"add it to mappings/{table}.json", "code-invalid")
            run.origins[path] = Place(name, text)
            return text if keeps else ABSENT
        if deleted is not None:
            run.origins[path] = Place(deleted)
            return None
        return ABSENT

    return read


def _fixed(words: Mapping[Source, str], run: Run, here: Here) -> tuple[str | None, str]:
    """The word for the place at hand, or for the first place that says anything."""
    for place, word in words.items():
        if here.of is not None:
            if place == here.of:
                return word, str(here.repetition.place) if here.repetition is not None else str(place)
        else:
            text, where = _getter(place)(run, here)
            if text:
                return word, _named(place, where)
    return None, ""


def _picked(line: Line) -> Callable[[Run, Here, Source], tuple[Any, Any]] | None:
    if not line.pick:
        return None
    rules = line.pick

    def pick(run: Run, here: Here, source: Source) -> tuple[Any, Any]:
        segments = [here.segment] if here.segment is not None and here.segment.name == source.segment else run.segments(source.segment)
        for segment in segments:
            for repetition in segment.repetitions(source.field):
                if all(
                    (repetition.get(place.component or 1, place.sub or 1) or "") in wanted
                    for place, wanted in rules
                    if place.segment == source.segment and place.field == source.field
                ):
                    return repetition.get(source.component or 1, source.sub or 1), repetition
        return None, None

    return pick


def _values(line: Line) -> Reader:
    """A list of plain values: from every place that says something, each repetition of a field in turn."""
    readers = [(source, _value(_one(line, source))) for source in line.sources if isinstance(source, Source)]

    def read(run: Run, here: Here, path: str) -> Any:
        made: list[Any] = []
        deleted = False
        for source, one in readers:
            spots: Iterable[Here] = (here,)
            if not source.datatype:
                segments = [here.segment] if here.segment is not None and here.segment.name == source.segment else run.segments(source.segment)
                first = segments[0] if segments else None
                if first is not None and len(first.repetitions(source.field)) > 1:
                    made += _each_repetition(run, first, source, path, len(made), line)
                    continue
            for spot in spots:
                value = one(run, spot, f"{path}[{len(made)}]")
                if value is None:
                    deleted = True
                elif value is not ABSENT:
                    made.append(value)
        if made:
            return made
        return None if deleted else ABSENT

    return read


def _each_repetition(run: Run, segment: Segment, source: Source, path: str, since: int, line: Line) -> list[Any]:
    made: list[Any] = []
    for repetition in segment.repetitions(source.field):
        text = repetition.get(source.component or 1, source.sub or 1)
        if not text:
            continue
        value: Any = text
        name = f"{repetition.place}{_part_of(source)}"
        raw = None
        if line.codes is not None:
            value, known = _code(run, line.codes, text)
            if value is None:
                if known:
                    continue
                run.tell(f"code not in codes/{line.codes.name}", name, f"add it to mappings/codes/{line.codes.name}.json", "code-invalid")
                raw = text
                if not line.keeps_text:
                    continue
                value = text
        elif line.as_[0] != "text":
            value, raw = _convert(run, line.as_[0], text, name)
            if value is ABSENT:
                continue
        run.origins[f"{path}[{since + len(made)}]"] = Place(name, raw)
        made.append(value)
    return made


def _one(line: Line, source: Source) -> Line:
    from dataclasses import replace

    at = line.sources.index(source)
    return replace(line, sources=(source,), many=False, as_=(line.as_[at] if len(line.as_) > 1 else line.as_[0],))


class V2Scope:
    """Compiled lines over the message, one segment or one repetition."""

    __slots__ = ("_lines",)

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = tuple((line.name, _reader(line), line.need, line.default) for line in lines)

    def read(self, run: Run, here: Here, path: str) -> Doc:
        doc: Doc = {}
        said = False
        for name, read, need, default in self._lines:
            at = path + name
            value = read(run, here, at)
            if value is not ABSENT:
                doc[name] = value
                said = True
            elif default is not None:
                doc[name] = default
            elif need:
                run.tell("is needed", at, "", "required", "error")
        return doc if said else {}


def _reader(line: Line) -> Reader:
    if line.fields is not None:
        reader = _list(line) if line.many else _nested(line)
    elif line.many:
        reader = _values(line)
    elif not line.sources:
        reader = _nothing
    else:
        reader = _value(line)
    if line.when or (line.unless and line.fields is None):
        if line.fields is None:
            return _only(reader, line)
    return reader


def _nothing(run: Run, here: Here, path: str) -> Any:
    return ABSENT


def _only(reader: Reader, line: Line) -> Reader:
    when, unless = _matches(line.when), _matches(line.unless)

    def read(run: Run, here: Here, path: str) -> Any:
        if (line.when and not when(run, here)) or (line.unless and unless(run, here)):
            return ABSENT
        return reader(run, here, path)

    return read


def _nested(line: Line) -> Reader:
    scope = V2Scope(line.fields or ())
    sources = [one for one in line.sources if isinstance(one, Source)]
    when, unless = _matches(line.when), _matches(line.unless)

    def read(run: Run, here: Here, path: str) -> Any:
        for spot in _spots(run, here, sources) if sources else (here,):
            if (line.when and not when(run, spot)) or (line.unless and unless(run, spot)):
                continue
            doc = scope.read(run, spot, path + ".")
            if doc:
                return doc
        return ABSENT

    return read


def _spots(run: Run, here: Here, sources: Sequence[Source]) -> Iterable[Here]:
    """Every segment or repetition that a group is read from."""
    for source in sources:
        if source.datatype:
            if here.repetition is not None:
                yield here
            continue
        segments = [here.segment] if here.segment is not None and here.segment.name == source.segment else run.segments(source.segment)
        for segment in segments:
            if not source.field:
                yield Here(segment)
            else:
                for repetition in segment.repetitions(source.field):
                    yield Here(segment, repetition, source)


def _list(line: Line) -> Reader:
    scope = V2Scope(line.fields or ())
    sources = [one for one in line.sources if isinstance(one, Source)]
    when, unless = _matches(line.when), _matches(line.unless)
    by_segment = bool(sources) and not sources[0].field and not sources[0].datatype

    def read(run: Run, here: Here, path: str) -> Any:
        made: list[Doc] = []
        deleted = False
        for spot in _spots(run, here, sources):
            if spot.repetition is not None and spot.repetition.raw == '""':
                deleted = True
                continue
            if (line.when and not when(run, spot)) or (line.unless and unless(run, spot)):
                continue
            doc = scope.read(run, spot, f"{path}[{len(made)}].")
            # Lists over the same segments or fields run side by side, so an entry that says nothing keeps its place.
            if doc or by_segment or spot.of is not None:
                made.append(doc)
        if any(made):
            return made
        return None if deleted else ABSENT

    return read
