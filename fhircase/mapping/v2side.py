"""HL7 v2 → case: the lines of a v2 mapping compiled to closures, once, at load.

A line gives a value, ABSENT (nothing said: the key stays away) or None (the sender's ``""``: delete). Each value's place is
kept as its origin, with the text as sent where it could not be carried over whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from fhircase import hl7v2
from fhircase.errors import Problem
from fhircase.hl7v2 import DELETE, Authorities, Delimiters, Message, Moment, Repetition, Segment
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


class Seg:
    """One segment, split once; ``fields[n]`` is field n as written."""

    __slots__ = ("segment", "name", "fields", "_reps", "_delimiter", "_run")

    def __init__(self, segment: Segment, run: Run) -> None:
        self.segment = segment
        self.name = segment.name
        self.fields = segment.raw.split(run.field)
        if self.name == "MSH":
            self.fields.insert(1, run.field)
        self._reps: dict[int, list[Rep]] = {}
        self._delimiter = run.repetition
        self._run = run

    def __str__(self) -> str:
        return self.name + (f"[{self.segment.occurrence}]" if self.segment.occurrence > 1 else "")

    def reps(self, field: int) -> list[Rep]:
        """The repetitions of a field that say anything."""
        found = self._reps.get(field)
        if found is None:
            text = self.fields[field] if field < len(self.fields) else ""
            if not text:
                found = []
            elif self._delimiter and self._delimiter in text:
                found = [Rep(part, self._run, self, field, at) for at, part in enumerate(text.split(self._delimiter), 1) if part]
            else:
                found = [Rep(text, self._run, self, field, 1)]
            self._reps[field] = found
        return found


class Rep:
    """One repetition of a field, split once. Texts with escapes or ``""`` go the parser's own way."""

    __slots__ = ("raw", "parts", "sub", "slow", "segment", "field", "number")

    def __init__(self, raw: str, run: Run, segment: Seg, field: int, number: int) -> None:
        self.raw = raw
        self.parts = raw.split(run.component) if run.component else [raw]
        self.sub = run.sub
        self.segment = segment
        self.field = field
        self.number = number
        self.slow: Repetition | None = None
        if run.escape in raw or '""' in raw:
            wanted = number if number > 1 else None
            self.slow = next((one for one in segment.segment.repetitions(field) if one.place.repetition == wanted), None)

    def get(self, component: int = 1, sub: int = 1) -> str | None:
        """None when nothing is said, DELETE for ``""``."""
        if self.slow is not None:
            return self.slow.get(component, sub)
        parts = self.parts
        if component > len(parts):
            return None
        text = parts[component - 1]
        if self.sub in text:
            subs = text.split(self.sub)
            return (subs[sub - 1] or None) if sub <= len(subs) else None
        return text or None if sub == 1 else None

    def __str__(self) -> str:
        text = f"{self.segment}-{self.field}"
        return f"{text}[{self.number}]" if self.number > 1 else text


class Spot:
    """A case path on the way: made once per group entry, written out only when asked for."""

    __slots__ = ("above", "name", "index", "_text")

    def __init__(self, above: Spot | None, name: str, index: int = -1) -> None:
        self.above = above
        self.name = name
        self.index = index
        self._text: str | None = None

    def __str__(self) -> str:
        if self._text is None:
            here = self.name if self.index < 0 else f"{self.name}[{self.index}]"
            self._text = f"{self.above}.{here}" if self.above is not None else here
        return self._text


@lru_cache(maxsize=64)
def _knotty(delimiters: Delimiters) -> Callable[[str], object]:
    """Finds what makes a field more than one row of plain components."""
    marks = delimiters.repetition + delimiters.escape + delimiters.sub + '"'
    return re.compile(f"[{re.escape(marks)}]").search


class Run:
    """One reading of one message."""

    __slots__ = (
        "message", "zone", "authorities", "problems", "log", "knotty", "field", "component", "repetition", "escape", "sub",
        "_told", "_segments", "_moments",
    )  # fmt: skip

    def __init__(self, message: Message, zone: str | None, authorities: Authorities) -> None:
        self.message = message
        self.zone = zone
        self.authorities = authorities
        self.problems: list[Problem] = []
        self.log: list[tuple[Spot | None, str, Rep | Seg | None, str, str | None]] = []
        self._told: set[tuple[str, str]] = set()
        self._segments: dict[str, list[Seg]] = {}
        self._moments: dict[str, Moment | None] = {}
        delimiters = message.delimiters
        self.knotty = _knotty(delimiters)
        self.field, self.component, self.repetition = delimiters.field, delimiters.component, delimiters.repetition
        # NUL stands in no message: it divides nothing where the sender declared none.
        self.escape, self.sub = delimiters.escape or "\0", delimiters.sub or "\0"

    def segments(self, name: str) -> list[Seg]:
        found = self._segments.get(name)
        if found is None:
            whole = self.message.segments(name)
            if not whole:
                found = self._segments[name] = []
                return found
            if name in _MOVABLE:
                whole = self._of_the_visit(name)
            found = self._segments[name] = [Seg(one, self) for one in whole]
        return found

    def moment(self, text: str) -> Moment | None:
        if text not in self._moments:
            try:
                self._moments[text] = hl7v2.moment(text, zone=self.zone)
            except ValueError:
                self._moments[text] = hl7v2.moment(text)
        return self._moments[text]

    def tell(self, what: str, place: str, hint: str, code: str, severity: str = "warning") -> None:
        """Once for each place: two lines that read it would say the same."""
        if (place, code) not in self._told:
            self._told.add((place, code))
            self.problems.append(Problem(what, place, hint, code, severity))

    def origins(self) -> dict[str, Place]:
        made = {}
        for above, name, rep, part, raw in self.log:
            made[f"{above}.{name}" if above is not None else name] = Place(f"{rep}{part}" if rep is not None else part, raw)
        return made

    def _of_the_visit(self, name: str) -> list[Segment]:
        made, owner = [], ""
        for segment in self.message.segments():
            if segment.name not in _MOVABLE:
                owner = segment.name if segment.name in _OWNERS or (owner in _OWNERS and segment.name in ("IN2", "IN3")) else ""
            elif segment.name == name and not owner:
                made.append(segment)
        return made


#: (run, segment and repetition of the enclosing group, the place that the repetition is of, the case path above, field name)
Reader = Callable[[Run, "Seg | None", "Rep | None", "Source | None", "Spot | None", str], Any]
Finder = Callable[[Run, "Seg | None", "Rep | None"], "Rep | None"]


def _finder(source: Source) -> Finder:
    """The repetition that a place is in: the one at hand, or the first of the field."""
    if source.datatype:
        return lambda run, segment, rep: rep
    name, field = source.segment, source.field

    def find(run: Run, segment: Seg | None, rep: Rep | None) -> Rep | None:
        if segment is None or segment.name != name:
            segments = run.segments(name)
            if not segments:
                return None
            segment = segments[0]
        reps = segment.reps(field)
        return reps[0] if reps else None

    return find


def _part(source: Source) -> str:
    return "".join(f".{n}" for n in (source.component, source.sub) if n)


# ------------------------------------------------------------------------------------------------ conversions


#: Times that need no thought: to the second with an offset, to the day; days that every month has.
_SECOND = re.compile(
    r"(\d{4})(0[1-9]|1[0-2])(0[1-9]|1\d|2[0-8])([01]\d|2[0-3])([0-5]\d)([0-5]\d)([+-](?:0\d|1[0-3]))([0-5]\d)", re.ASCII
).fullmatch
_DAY = re.compile(r"(\d{4})(0[1-9]|1[0-2])(0[1-9]|1\d|2[0-8])", re.ASCII).fullmatch


def _plain(text: str) -> str | None:
    """What ``hl7v2.moment`` would say of a plain time, sooner."""
    found = _SECOND(text) or _DAY(text)
    if found is None or text[:4] == "0000":
        return None
    year, month, day, *clock = found.groups()
    if not clock:
        return f"{year}-{month}-{day}"
    hour, minute, second, shift, minutes = clock
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}{shift}:{minutes}"


def _convert(run: Run, as_: str, text: str, rep: Rep, part: str) -> tuple[Any, str | None]:
    """The value and, where something was lost, the text as sent."""
    if as_ == "dateTime":
        quick = _plain(text)
        if quick is not None:
            return quick, None
        moment = run.moment(text)
        if moment is None:
            run.tell("is not a time", f"{rep}{part}", "send YYYYMMDDHHMMSS+ZZZZ", "value")
            return ABSENT, text
        if moment.doubt is None:
            return moment.text, None
        if moment.doubt == "no-zone":
            what, hint = "a time without offset from a sender without a time zone: kept to the day", "set the sender's time zone"
            run.tell(what, f"{rep}{part}", hint, "incomplete")
        else:
            what = "the clock was changed at this time: the first reading was taken"
            if moment.doubt == "offset":
                what = "its offset is no offset on earth: kept to the day"
            run.tell(what, f"{rep}{part}", "send times with their offset", "value")
        return moment.text, text
    if as_ == "date":
        quick = _plain(text)
        if quick is not None and len(quick) == 10:
            return quick, None
        moment = run.moment(text)
        if moment is None:
            run.tell("is not a date", f"{rep}{part}", "send YYYYMMDD", "value")
            return ABSENT, text
        day = moment.text[:10]
        return day, text if len(text.strip()) > len(day.replace("-", "")) else None
    if as_ == "time-of-birth":
        if len(text) < 9:
            return ABSENT, None
        moment = run.moment(text)
        return (moment.text, None) if moment is not None and "T" in moment.text and moment.doubt is None else (ABSENT, None)
    if as_ == "number":
        value = typed(text.strip(), "number")
        if value is None:
            run.tell("is not a number", f"{rep}{part}", "", "value")
            return ABSENT, text
        return value, None
    if as_ == "boolean":
        said = {"y": True, "yes": True, "true": True, "1": True, "n": False, "no": False, "false": False, "0": False}.get(
            text.strip().lower()
        )
        if said is None:
            run.tell("is neither Y nor N", f"{rep}{part}", "use table 0136", "value")
            return ABSENT, text
        return said, None
    return text, None


def _authority(source: Source, run: Run, rep: Rep) -> str | None:
    """The identifier system of an assigning authority (an HD), None when none is named."""
    number = source.component or 1
    if source.datatype == "CX" and number == 4:
        return run.authorities.of(rep)  # type: ignore[arg-type]
    namespace = rep.get(number)
    if source.datatype == "EI":  # its authority is spread over components 2 to 4
        universal, kind = rep.get(number + 1), rep.get(number + 2)
    else:
        universal, kind = rep.get(number, 2), rep.get(number, 3)
    return run.authorities.system(namespace or None, universal or None, kind or None) if namespace or universal else None


#: Fields of type XPN among those that name a person (HL7 v2.8).
_XPN = frozenset({("PID", 5), ("PID", 6), ("PID", 9), ("NK1", 2), ("NK1", 30), ("PRD", 2), ("GT1", 3), ("IN1", 16)})


def _name(source: Source, run: Run, rep: Rep) -> str | None:
    """A person's name to show: XPN, or XCN where the number comes first."""
    plain = source.datatype == "XPN" or (source.segment, source.field) in _XPN
    family, given, middle, suffix, prefix = (1, 2, 3, 4, 5) if plain else (2, 3, 4, 5, 6)
    text = " ".join([part for n in (prefix, given, middle, family) if (part := rep.get(n))])
    after = rep.get(suffix)
    return (f"{text}, {after}" if text and after else text) or None


def _place(source: Source, run: Run, rep: Rep) -> str | None:
    """A person location (PL) to show: point of care, room, bed, facility; its description when there is nothing else."""
    spot = " ".join(part for n in (1, 2, 3) if (part := rep.get(n)))
    facility = rep.get(4)
    return (f"{spot}, {facility}" if spot and facility else spot or facility) or rep.get(9)


def _contact(source: Source, run: Run, rep: Rep) -> str | None:
    """The number of an XTN: XTN.12 is the whole of it, else country, area and local part, else the first component of old
    messages; of an Internet address XTN.4."""
    if (rep.get(3) in ("Internet", "X.400") or rep.get(2) == "NET") and (mail := rep.get(4)):
        return mail
    whole = rep.get(12)
    if whole:
        return whole
    area, local = rep.get(6), rep.get(7)
    if local and area:
        country, extension = rep.get(5), rep.get(8)
        text = " ".join(part for part in (f"+{country.lstrip('+')}" if country else None, area, local) if part)
        return f"{text} x{extension}" if extension else text
    return rep.get(1) or local or rep.get(4)


_COMPOSITE: Mapping[str, Callable[[Source, Run, Rep], str | None]] = {
    "authority": _authority, "name": _name, "place": _place, "contact": _contact,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ values


def _matches(rules: Sequence[tuple[Source, frozenset[str]]]) -> Callable[[Run, Seg | None, Rep | None], bool]:
    tests = [(_finder(place), place.component or 1, place.sub or 1, wanted) for place, wanted in rules]

    def match(run: Run, segment: Seg | None, rep: Rep | None) -> bool:
        for find, component, sub, wanted in tests:
            at = find(run, segment, rep)
            if ((at.get(component, sub) if at is not None else None) or "") not in wanted:
                return False
        return True

    return match


def _rows(codes: Codes) -> dict[str, str]:
    return {code: target.code for group in reversed(codes.groups) for code, (target, _) in group.rows.items()}


def _look(codes: Codes) -> Callable[[str], tuple[str | None, bool]]:
    """The word for a code, and whether the table knows it (a row without counterpart is known and has none)."""
    rows = _rows(codes)
    none = frozenset(code for group in codes.groups for code in group.none)

    def look(text: str) -> tuple[str | None, bool]:
        found = rows.get(text)
        if found is not None:
            return found, True
        stripped = text.strip()
        if stripped in none:
            return None, True
        found = rows.get(stripped) or codes.forward(stripped)
        return found, found is not None

    return look


def _value(line: Line) -> Reader:
    """One value: the first of its places that says something (of a coded line: whose code has a word)."""
    kinds = line.as_ if len(line.as_) == len(line.sources) else line.as_ * max(len(line.sources), 1)
    ways: list[tuple[Any, ...]] = []
    for source, kind in zip(line.sources, kinds):
        if isinstance(source, dict):
            ways.append((_Fixed(source), None, 0, 0, "", "", None))
        else:
            ways.append((source, _finder(source), source.component or 1, source.sub or 1, _part(source), kind, _COMPOSITE.get(kind)))
    codes, keeps = line.codes, line.keeps_text
    look = _look(codes) if codes is not None else None
    table = f"codes/{codes.name}" if codes is not None else ""
    pick = _picker(line)
    if pick is not None:
        ways = [(source, pick(source) if find is not None else None, *rest) for source, find, *rest in ways]

    def read(run: Run, segment: Seg | None, rep: Rep | None, of: Source | None, above: Spot | None, name: str) -> Any:
        deleted = None
        unknown = None
        for source, find, component, sub, part, kind, whole in ways:
            if find is None:
                word, at = source.word(run, segment, rep, of)
                if word is not None:
                    run.log.append((above, name, at, "", None))
                    return word
                continue
            at = find(run, segment, rep)
            if at is None:
                continue
            if whole is not None:
                text = DELETE if at.raw == '""' else whole(source, run, at)
            else:
                text = at.get(component, sub)
            if text is None:
                continue
            if text is DELETE:
                deleted = deleted or (at, part)
                continue
            raw = None
            value = text
            if look is not None:
                value, known = look(text)
                if value is None:
                    if not known and unknown is None:
                        unknown = (text, at, part)
                    continue
            elif whole is None and kind != "text":
                value, raw = _convert(run, kind, text, at, part)
                if value is ABSENT:
                    if raw is not None:
                        run.log.append((above, name, at, part, raw))
                    continue
            elif text.isspace():
                continue
            run.log.append((above, name, at, part, raw))
            return value
        if unknown is not None:
            text, at, part = unknown
            run.tell(f"code not in {table}", f"{at}{part}", f"add it to mappings/{table}.json", "code-invalid")
            run.log.append((above, name, at, part, text))
            return text if keeps else ABSENT
        if deleted is not None:
            run.log.append((above, name, *deleted, None))
            return None
        return ABSENT

    if len(ways) == 1 and isinstance(line.sources[0], Source):
        return _alone(line, ways[0], look, read)
    return read


def _alone(line: Line, way: tuple[Any, ...], look: Callable[[str], tuple[str | None, bool]] | None, long: Reader) -> Reader:
    """The common case, short: one place that says one plain thing. Everything else goes the long way."""
    source, find, component, sub, part, kind, whole = way
    here = bool(source.datatype) and not line.pick
    timed = kind in ("date", "dateTime")

    def read(run: Run, segment: Seg | None, rep: Rep | None, of: Source | None, above: Spot | None, name: str) -> Any:
        at = rep if here else find(run, segment, rep)
        if at is None:
            return ABSENT
        if at.slow is not None:
            return long(run, segment, rep, of, above, name)
        if whole is not None:
            value = whole(source, run, at)
            if value is None or value.isspace():
                return ABSENT
        else:
            parts = at.parts
            if component > len(parts) or not (value := parts[component - 1]):
                return ABSENT
            if at.sub in value or sub > 1:
                return long(run, segment, rep, of, above, name)
            if look is not None:
                value = look(value)[0]
                if value is None:
                    return long(run, segment, rep, of, above, name)
            elif timed and (quick := _plain(value)) is not None and (kind == "dateTime" or len(quick) == 10):
                value = quick
            elif kind != "text":
                value, raw = _convert(run, kind, value, at, part)
                if value is ABSENT or raw is not None:
                    return long(run, segment, rep, of, above, name)
            elif value.isspace():
                return ABSENT
        run.log.append((above, name, at, part, None))
        return value

    return read


class _Fixed:
    """A word for each place."""

    __slots__ = ("_words", "_places")

    def __init__(self, words: Mapping[Source, str]) -> None:
        self._words = {(place.segment, place.field, place.component, place.sub, place.datatype): word for place, word in words.items()}
        self._places = tuple((_finder(place), place.component or 1, place.sub or 1, word) for place, word in words.items())

    def word(self, run: Run, segment: Seg | None, rep: Rep | None, of: Source | None) -> tuple[str | None, Rep | None]:
        """The word for the place at hand, or for the first place that says anything."""
        if of is not None:
            word = self._words.get((of.segment, of.field, of.component, of.sub, of.datatype))
            return (word, rep) if word is not None else (None, None)
        for find, component, sub, word in self._places:
            at = find(run, segment, rep)
            if at is not None and at.get(component, sub):
                return word, at
        return None, None


def _picker(line: Line) -> Callable[[Source], Finder] | None:
    """Finds the repetition whose components are as ``pick`` says."""
    if not line.pick:
        return None
    rules = [(place.field, place.component or 1, place.sub or 1, wanted) for place, wanted in line.pick]

    def finder(source: Source) -> Finder:
        def find(run: Run, segment: Seg | None, rep: Rep | None) -> Rep | None:
            segments = [segment] if segment is not None and segment.name == source.segment else run.segments(source.segment)
            for one in segments:
                for at in one.reps(source.field):
                    for field, component, sub, wanted in rules:
                        there = at if field == source.field else next(iter(one.reps(field)), None)
                        if there is None or (there.get(component, sub) or "") not in wanted:
                            break
                    else:
                        return at
            return None

        return find

    return finder


def _values(line: Line) -> Reader:
    """A list of plain values: from every place that says something, each repetition of a field in turn."""
    ways = []
    for at, source in enumerate(line.sources):
        if isinstance(source, Source):
            within = replace(source, segment="", field=0, datatype="CX")
            kind = line.as_[at] if len(line.as_) > 1 else line.as_[0]
            ways.append((source, _value(replace(line, sources=(within,), as_=(kind,), many=False))))

    quick = tuple((source.component or 1, source.sub or 1, _part(source)) for source, _ in ways if source.datatype)
    if len(quick) != len(ways) or line.codes is not None or line.pick or line.as_ != ("text",):
        quick = ()

    def read(run: Run, segment: Seg | None, rep: Rep | None, of: Source | None, above: Spot | None, name: str) -> Any:
        made: list[Any] = []
        deleted = False
        if quick and rep is not None and rep.slow is None:
            size = len(rep.parts)
            for component, sub, part in quick:
                if component <= size and rep.parts[component - 1] and (text := rep.get(component, sub)) and not text.isspace():
                    run.log.append((above, f"{name}[{len(made)}]", rep, part, None))
                    made.append(text)
            return made or ABSENT
        for source, one in ways:
            if source.datatype:
                reps: Sequence[Rep | None] = (rep,)
            else:
                at = segment if segment is not None and segment.name == source.segment else next(iter(run.segments(source.segment)), None)
                reps = at.reps(source.field) if at is not None else ()
            for each in reps:
                if each is None:
                    continue
                value = one(run, segment, each, None, above, f"{name}[{len(made)}]")
                if value is None:
                    deleted = True
                elif value is not ABSENT:
                    made.append(value)
        if made:
            return made
        return None if deleted else ABSENT

    return read


# ------------------------------------------------------------------------------------------------ groups


class V2Scope:
    """Compiled lines over the message, one segment or one repetition. Plain texts and codes are read in place, and lines of a
    field that says nothing are passed over; everything else goes through its closure, which gives the same."""

    __slots__ = ("_within", "_fields", "_others", "_after")

    def __init__(self, lines: Iterable[Line]) -> None:
        within: list[tuple[int, str, str, dict[str, str] | None, Reader, bool]] = []
        fields: dict[str, list[tuple[int, str, str, dict[str, str] | None, Reader, str, int]]] = {}
        others: list[tuple[str, Reader]] = []
        for line in lines:
            source = line.sources[0] if len(line.sources) == 1 else None
            read = _reader(line)
            plain = line.as_ == ("text",) and not (line.when or line.unless or line.many or line.fields)
            rows = _rows(line.codes) if line.codes is not None else None
            timed = (
                len(line.as_) == 1 and line.as_[0] in ("date", "dateTime") and not (line.when or line.unless or line.many or line.fields)
            )
            if (
                not isinstance(source, Source)
                or line.pick
                or (source.datatype and not (plain or timed))
                or not (source.datatype or source.field)
            ):
                others.append((line.name, read))
            elif source.datatype:
                within.append(((source.component or 1) - 1, line.name, _part(source), rows, read, plain and source.sub < 2))
            else:
                quick = "text" if plain and source.sub < 2 else line.as_[0] if timed and rows is None and source.sub < 2 else ""
                fields.setdefault(source.segment, []).append(
                    (source.field, line.name, f"-{source.field}{_part(source)}", rows, read, quick, (source.component or 1) - 1)
                )
        self._within = tuple(sorted(within, key=lambda one: one[0]))
        self._fields = tuple((name, tuple(sorted(found, key=lambda one: one[0]))) for name, found in fields.items())
        self._others = tuple(others)
        self._after = tuple((line.name, line.need, line.default) for line in lines if line.need or line.default is not None)

    def read(self, run: Run, segment: Seg | None, rep: Rep | None, of: Source | None, above: Spot | None) -> Doc:
        doc: Doc = {}
        log, knotty, divider = run.log, run.knotty, run.component or "\0"
        if rep is not None and self._within:
            parts, subs, slow = rep.parts, rep.sub, rep.slow is not None
            size = len(parts)
            for index, name, part, rows, read, simple in self._within:
                if index >= size:
                    break
                text = parts[index]
                if not text:
                    if slow and (value := read(run, segment, rep, of, above, name)) is not ABSENT:
                        doc[name] = value
                elif slow or not simple or subs in text or (rows is not None and text not in rows) or text.isspace():
                    value = read(run, segment, rep, of, above, name)
                    if value is not ABSENT:
                        doc[name] = value
                else:
                    log.append((above, name, rep, part, None))
                    doc[name] = text if rows is None else rows[text]
        for other, lines in self._fields:
            if segment is not None and segment.name == other:
                at, several = segment, False
            else:
                found = run.segments(other)
                if not found:
                    continue
                at, several = found[0], len(found) > 1
            said = at.fields
            size = len(said)
            for field, name, part, rows, read, quick, component in lines:
                if field >= size and not several:
                    break
                text = said[field] if field < size else ""
                if not text and not several:
                    continue
                if quick and text and not knotty(text):
                    if divider in text:
                        pieces = text.split(divider)
                        text = pieces[component] if component < len(pieces) else ""
                    elif component:
                        text = ""
                    if text and not text.isspace():
                        word = (_plain(text) or "") if quick != "text" else text if rows is None else rows.get(text)
                        if word and (quick != "date" or len(word) == 10):
                            log.append((above, name, at, part, None))
                            doc[name] = word
                            continue
                    elif not text and not several:
                        continue
                value = read(run, segment, rep, of, above, name)
                if value is not ABSENT:
                    doc[name] = value
        for name, read in self._others:
            value = read(run, segment, rep, of, above, name)
            if value is not ABSENT:
                doc[name] = value
        if not doc:
            return doc
        for name, need, default in self._after:
            if name not in doc:
                if default is not None:
                    doc[name] = default
                elif need:
                    run.tell("is needed", f"{above}.{name}" if above is not None else name, "", "required", "error")
        return doc


def _reader(line: Line) -> Reader:
    if line.fields is not None:
        return _list(line) if line.many else _nested(line)
    if not line.sources:
        return lambda run, segment, rep, of, above, name: ABSENT
    reader = _values(line) if line.many else _value(line)
    return _guarded(reader, line) if line.when or line.unless else reader


def _guarded(reader: Reader, line: Line) -> Reader:
    allowed = _allowed(line)

    def read(run: Run, segment: Seg | None, rep: Rep | None, of: Source | None, above: Spot | None, name: str) -> Any:
        return reader(run, segment, rep, of, above, name) if allowed(run, segment, rep) else ABSENT

    return read


def _allowed(line: Line) -> Callable[[Run, Seg | None, Rep | None], bool]:
    when, unless = _matches(line.when), _matches(line.unless)
    if not line.when and not line.unless:
        return lambda run, segment, rep: True
    return lambda run, segment, rep: (not line.when or when(run, segment, rep)) and not (line.unless and unless(run, segment, rep))


def _nested(line: Line) -> Reader:
    scope = V2Scope(line.fields or ())
    sources = [one for one in line.sources if isinstance(one, Source)]
    allowed = _allowed(line)

    def read(run: Run, segment: Seg | None, rep: Rep | None, of: Source | None, above: Spot | None, name: str) -> Any:
        spots = _spots(run, segment, rep, sources) if sources else ((segment, rep, of),)
        for at, part, place in spots:
            if allowed(run, at, part):
                doc = scope.read(run, at, part, place, Spot(above, name))
                if doc:
                    return doc
        return ABSENT

    return read


def _spots(run: Run, segment: Seg | None, rep: Rep | None, sources: Sequence[Source]) -> list[tuple[Seg | None, Rep | None, Source | None]]:
    """Every segment or repetition that a group is read from."""
    made: list[tuple[Seg | None, Rep | None, Source | None]] = []
    for source in sources:
        if source.datatype:
            if rep is not None:
                made.append((segment, rep, None))
            continue
        field = source.field
        for at in (segment,) if segment is not None and segment.name == source.segment else run.segments(source.segment):
            if not field:
                made.append((at, None, None))
            elif field < len(at.fields) and at.fields[field]:
                for part in at.reps(field):
                    made.append((at, part, source))
    return made


def _list(line: Line) -> Reader:
    scope = V2Scope(line.fields or ())
    sources = [one for one in line.sources if isinstance(one, Source)]
    allowed = _allowed(line) if line.when or line.unless else None
    within = bool(sources) and bool(sources[0].datatype)
    once = within and len(sources) == 1 and not line.when and not line.unless

    def read(run: Run, segment: Seg | None, rep: Rep | None, of: Source | None, above: Spot | None, name: str) -> Any:
        if once:
            if rep is None or rep.raw == '""':
                return ABSENT if rep is None else None
            doc = scope.read(run, segment, rep, None, Spot(above, name, 0))
            return [doc] if doc else ABSENT
        made: list[Doc] = []
        deleted = False
        for at, part, place in _spots(run, segment, rep, sources):
            if part is not None and part.raw == '""':
                deleted = True
                continue
            if allowed is not None and not allowed(run, at, part):
                continue
            doc = scope.read(run, at, part, place, Spot(above, name, len(made)))
            # Lists over the same segments or fields run side by side, so an entry that says nothing keeps its place.
            if doc or not within:
                made.append(doc)
        if any(made):
            return made
        return None if deleted else ABSENT

    return read
