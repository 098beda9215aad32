"""The HL7 v2 message (ER7) as it was sent: a tolerant parser that loses nothing.

Segments are split at once, fields when they are asked for. Delimiters are those that MSH-1 and MSH-2 declare; line ends may
be CR, LF or CRLF; MLLP framing bytes and a byte order mark are taken off; escapes become text, those that are unknown or not
closed stay as they are. What is odd but readable is a note in ``Message.problems``; what cannot be read is refused with its place.

Source: HL7 v2.8 chapter 2 (2.5 delimiters, 2.7 escapes, 2.14.9 MSH, table 0211 character sets)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fhircase.errors import Malformed, Problem, TooLarge
from fhircase.hl7v2.places import Place

MAX_SEGMENTS = 2_000
MAX_BYTES = 5_000_000
_MAX_NOTES = 20

_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f]")
_BEFORE, _BEHIND = b"\x0b\x1c\r\n \t", b"\x0b\x1c\r\n"
_LINE_END = re.compile(r"\r\n|\r|\n")

#: HL7 table 0211 → Python codec, with the spellings that senders use for the same.
_CHARSETS: Final = {
    "ASCII": "ascii",
    "8859/1": "iso8859_1",
    "8859/2": "iso8859_2",
    "8859/3": "iso8859_3",
    "8859/4": "iso8859_4",
    "8859/5": "iso8859_5",
    "8859/6": "iso8859_6",
    "8859/7": "iso8859_7",
    "8859/8": "iso8859_8",
    "8859/9": "iso8859_9",
    "8859/15": "iso8859_15",
    "ISO IR6": "ascii",
    "ISO IR14": "shift_jis",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "UNICODE": "utf_8",
    "UNICODE UTF-8": "utf_8",
    "UNICODE UTF-16": "utf_16",
    "UTF-8": "utf_8",
    "UTF8": "utf_8",
    "ISO-8859-1": "iso8859_1",
    "ISO8859-1": "iso8859_1",
    "ISO 8859-1": "iso8859_1",
    "ISO-8859-15": "iso8859_15",
    "LATIN1": "iso8859_1",
    "WINDOWS-1252": "cp1252",
    "CP1252": "cp1252",
}


class _Delete(str):
    """The sender's ``""``: delete what you hold. An empty text, so it is falsy and safe to handle as text; tell it from
    "nothing said" (None) by identity with ``DELETE``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DELETE"


DELETE: Final[str] = _Delete()


@dataclass(frozen=True, slots=True)
class Delimiters:
    """What MSH-1 and MSH-2 declare. An empty text: the sender declared none, so nothing is split or escaped by it."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    sub: str = "&"
    truncation: str = ""

    @property
    def encoding(self) -> str:
        """MSH-2 as written."""
        return self.component + self.repetition + self.escape + self.sub + self.truncation

    def write(self, text: str) -> str:
        """Text as it may stand in a component: delimiters and line breaks escaped. Without an escape character they
        become spaces."""
        return "".join(self._written().get(char, char) for char in text)

    def _written(self) -> dict[str, str]:
        return _written(self)


@lru_cache(maxsize=64)
def _written(delimiters: Delimiters) -> dict[str, str]:
    escape = delimiters.escape
    named = {
        delimiters.field: "F",
        delimiters.component: "S",
        delimiters.sub: "T",
        delimiters.repetition: "R",
        escape: "E",
        delimiters.truncation: "P",
        "\r": "X0D",
        "\n": "X0A",
    }
    return {char: f"{escape}{name}{escape}" if escape else " " for char, name in named.items() if char}


@lru_cache(maxsize=64)
def _escapes(escape: str) -> re.Pattern[str]:
    """Every escape of chapter 2.7. Those that we do not translate (highlighting, formatting, local and multi-byte
    ones) match too, so that their closing character is not taken for the opening of the next."""
    e = re.escape(escape)
    return re.compile(rf"{e}(\.[a-z]{{2}}[+-]?\d*|X(?:[0-9A-Fa-f]{{2}})+|[CMZ][0-9A-Fa-f]+|[A-Z]){e}")


class _Reader:
    """How one message's texts are read: its delimiters and its character set."""

    __slots__ = ("codec", "delimiters", "_named", "_pattern")

    def __init__(self, delimiters: Delimiters, codec: str) -> None:
        self.delimiters = delimiters
        self.codec = codec
        self._named = {
            "F": delimiters.field,
            "S": delimiters.component,
            "T": delimiters.sub,
            "R": delimiters.repetition,
            "E": delimiters.escape,
            "P": delimiters.truncation,
            ".br": "\n",
        }
        self._pattern = _escapes(delimiters.escape) if delimiters.escape else None

    def text(self, written: str) -> str | None:
        """The text that was meant: None for nothing, DELETE for ``""``."""
        if not written:
            return None
        if written == '""':
            return DELETE
        if self._pattern is not None and self.delimiters.escape in written:
            return self._pattern.sub(self._unescape, written)
        return written

    def _unescape(self, match: re.Match[str]) -> str:
        name = match[1]
        known = self._named.get(name)
        if known:
            return known
        if name[0] == "X" and len(name) > 1:
            try:
                text = bytes.fromhex(name[1:]).decode(self.codec)
            except UnicodeDecodeError:
                return match[0]
            return match[0] if _CONTROL.search(text) else text
        return match[0]

    def pick(self, repetition: str, component: int, sub: int) -> str | None:
        if repetition == '""':
            return DELETE
        text = _part(repetition, self.delimiters.component, component)
        if text == '""':
            return DELETE
        return self.text(_part(text, self.delimiters.sub, sub))


def _part(text: str, delimiter: str, number: int) -> str:
    if not delimiter or delimiter not in text:
        return text if number == 1 else ""
    parts = text.split(delimiter, number)
    return parts[number - 1] if len(parts) >= number else ""


class Repetition:
    """One repetition of one field. ``raw`` is its text as written, ``place`` its name (``PID-3[2]``)."""

    __slots__ = ("place", "raw", "_reader")

    def __init__(self, raw: str, place: Place, reader: _Reader) -> None:
        self.raw = raw
        self.place = place
        self._reader = reader

    def get(self, component: int = 1, sub: int = 1) -> str | None:
        """The text of a (sub)component, unescaped: None when nothing is said, DELETE for ``""`` (of the component or
        of the whole field). A composite that is asked for as one text gives its first part."""
        return self._reader.pick(self.raw, component, sub)

    def subs(self, component: int) -> list[str | None]:
        """All subcomponents of a component."""
        text = _part(self.raw, self._reader.delimiters.component, component)
        delimiter = self._reader.delimiters.sub
        return [self._reader.text(part) for part in (text.split(delimiter) if delimiter else [text])]

    @property
    def text(self) -> str:
        """The whole repetition, unescaped, its delimiters as written ('' for nothing and for DELETE): for showing only."""
        return self._reader.text(self.raw) or ""

    def __bool__(self) -> bool:
        """True when anything is said, a delete included."""
        return bool(self.raw)

    def __repr__(self) -> str:
        return f"<{self.place}>"


class Segment:
    """One segment. ``occurrence`` counts segments of its name from 1 (also within a part of a message it is the place
    in the whole), ``line`` counts all segments from 1, ``raw`` is its text as written."""

    __slots__ = ("line", "name", "occurrence", "raw", "_fields", "_reader")

    def __init__(self, name: str, raw: str, occurrence: int, line: int, reader: _Reader) -> None:
        self.name = name
        self.raw = raw
        self.occurrence = occurrence
        self.line = line
        self._reader = reader
        self._fields: list[str] | None = None

    def field(self, number: int) -> str:
        """The field as written, '' when absent. MSH-1 is the field separator itself, MSH-2 is never split."""
        fields = self._fields
        if fields is None:
            fields = self.raw.split(self._reader.delimiters.field)
            if self.name == "MSH":
                fields.insert(1, self._reader.delimiters.field)
            self._fields = fields
        return fields[number] if 0 < number < len(fields) else ""

    def __len__(self) -> int:
        """The number of the last field."""
        self.field(1)
        return len(self._fields or ()) - 1

    def __bool__(self) -> bool:
        return True

    def place(
        self, field: int | None = None, component: int | None = None, sub: int | None = None, *, repetition: int | None = None
    ) -> Place:
        """The name of a place in this segment; the occurrence is named from the second on."""
        return Place(self.name, self.occurrence if self.occurrence > 1 else None, field, repetition, component, sub)

    def repetitions(self, field: int) -> list[Repetition]:
        """The repetitions of a field that say anything."""
        text = self.field(field)
        if not text:
            return []
        delimiter = self._reader.delimiters.repetition
        if self.name == "MSH" and field <= 2 or not delimiter or delimiter not in text:
            return [Repetition(text, self.place(field), self._reader)]
        return [
            Repetition(part, self.place(field, repetition=number if number > 1 else None), self._reader)
            for number, part in enumerate(text.split(delimiter), 1)
            if part
        ]

    def get(self, field: int, component: int = 1, sub: int = 1, *, repetition: int = 1) -> str | None:
        """The text at a place: None when nothing is said, DELETE for ``""``."""
        text = self.field(field)
        if not text:
            return None
        if self.name == "MSH" and field <= 2:
            return text
        return self._reader.pick(_part(text, self._reader.delimiters.repetition, repetition), component, sub)

    def __repr__(self) -> str:
        return f"<{self.place()}>"


class Message:
    """A parsed message. ``problems`` are notes on what was odd but readable (severity warning); ``codec`` the Python
    name of the character set that it was read with. Values of the record are never part of a repr."""

    __slots__ = ("codec", "delimiters", "header", "problems", "_by_name", "_segments")

    def __init__(self, segments: Sequence[Segment], delimiters: Delimiters, codec: str, problems: tuple[Problem, ...]) -> None:
        self._segments = list(segments)
        self.header = self._segments[0]
        self.delimiters = delimiters
        self.codec = codec
        self.problems = problems
        self._by_name: dict[str, list[Segment]] | None = None

    def segments(self, name: str | None = None) -> list[Segment]:
        """Those of a name, in order; all without one."""
        if name is None:
            return list(self._segments)
        if self._by_name is None:
            self._by_name = {}
            for segment in self._segments:
                self._by_name.setdefault(segment.name, []).append(segment)
        return list(self._by_name.get(name, ()))

    def segment(self, name: str) -> Segment | None:
        """The first of a name."""
        found = self.segments(name)
        return found[0] if found else None

    def get(self, place: str | Place) -> str | None:
        """The text at a place (first segment, first repetition, first component, first subcomponent unless named): None
        when nothing is said, DELETE for ``""``. Raises ValueError when ``place`` is not the name of a field."""
        at = _field_place(place)
        for segment in self._at(at):
            return segment.get(at.field or 0, at.component or 1, at.sub or 1, repetition=at.repetition or 1)
        return None

    def all(self, place: str | Place) -> list[str]:
        """Every text at a place, over all segments of the name and all repetitions unless one is named; nothing-said is
        left out, DELETE is not."""
        at = _field_place(place)
        texts = (repetition.get(at.component or 1, at.sub or 1) for repetition in self.repetitions(at))
        return [text for text in texts if text is not None]

    def repetitions(self, place: str | Place) -> list[Repetition]:
        """Every repetition of a field that says anything, over all segments of the name unless one is named."""
        at = _field_place(place)
        found = [repetition for segment in self._at(at) for repetition in segment.repetitions(at.field or 0)]
        return found if at.repetition is None else [one for one in found if (one.place.repetition or 1) == at.repetition]

    def part(self, segments: Sequence[Segment]) -> Message:
        """A message of the header and these segments alone (one PID/MRG group of an A40); places stay those of the whole."""
        return Message([self.header, *(one for one in segments if one.name != "MSH")], self.delimiters, self.codec, self.problems)

    def _at(self, place: Place) -> Iterator[Segment]:
        for segment in self.segments(place.segment):
            if place.occurrence is None or segment.occurrence == place.occurrence:
                yield segment

    @property
    def type(self) -> str:
        """MSH-9.1 (``ADT``)."""
        return self.header.get(9) or ""

    @property
    def event(self) -> str:
        """MSH-9.2 (``A03``): the trigger event. EVN-1 is deprecated and often wrong."""
        return self.header.get(9, 2) or ""

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return self.header.get(10) or ""

    @property
    def version(self) -> str:
        """MSH-12.1."""
        return self.header.get(12) or ""

    def __repr__(self) -> str:
        return f"<Message of {len(self._segments)} segments>"


def _field_place(place: str | Place) -> Place:
    at = Place.of(place) if isinstance(place, str) else place
    if at.field is None:
        raise ValueError(f"{at} names a segment, not a field")
    return at


def parse(raw: bytes, *, max_segments: int = MAX_SEGMENTS, max_bytes: int = MAX_BYTES) -> Message:
    """Read a message.

    Raises Malformed when it is not ER7 (empty, no MSH, a truncated MSH, delimiters that cannot work, several messages in one,
    NUL or other control bytes, bytes that the declared character set does not have) and TooLarge above ``max_segments``
    segments or ``max_bytes`` bytes. Each names the place."""
    if len(raw) > max_bytes:
        raise TooLarge(f"the message has {len(raw)} bytes", path="MSH", hint=f"at most {max_bytes} bytes a message")
    data, codec = _unframe(raw)
    usual = data.startswith(_USUAL_HEAD)
    delimiters = _USUAL if usual else _delimiters(data if codec == "utf_16" else data[:512], codec)
    notes: list[Problem] = []
    text, codec = _decode(data, codec, delimiters, notes)
    lines = _lines(text)
    if len(lines) > max_segments:
        raise TooLarge(
            f"the message has {len(lines)} lines", path=_line_place(lines, max_segments), hint=f"at most {max_segments} segments a message"
        )
    bad = _CONTROL.search(text)
    if bad is not None:
        raise _control(lines, bad[0])
    reader = _Reader(delimiters, codec)
    segments = _segments(lines, reader, notes)
    header = segments[0]
    if not header.field(9):
        raise Malformed(
            Problem(
                "the header ends before the message type", "MSH-9", "send MSH with at least MSH-9, MSH-10, MSH-11 and MSH-12", "required"
            )
        )
    return Message(segments, delimiters, codec, tuple(notes))


def header(raw: bytes) -> Message | None:
    """What can be known of a message that ``parse`` refused: its MSH alone, or None. Never raises; for answering."""
    try:
        data, codec = _unframe(raw[:65_536])
        delimiters = _delimiters(data, codec)
        first = _LINE_END.split(data.decode(codec or "iso8859_1", "replace"), 1)[0]
        line = _CONTROL.sub("", first)
        reader = _Reader(delimiters, "ascii")
        return Message([Segment("MSH", line, 1, 1, reader)], delimiters, "ascii", ())
    except (Malformed, UnicodeError):
        return None


def _unframe(raw: bytes) -> tuple[bytes, str | None]:
    """Without MLLP framing, byte order mark and blank lines around; and the codec that a byte order mark tells."""
    data = raw.lstrip(_BEFORE).rstrip(_BEHIND) if raw[:1] not in (b"\xff", b"\xfe") else raw
    if data[:3] == codecs.BOM_UTF8:
        return data[3:].lstrip(_BEFORE), "utf_8"
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data, "utf_16"
    return data, None


_USUAL = Delimiters("|", "^", "~", "\\", "&", "")
_USUAL_HEAD = b"MSH|^~\\&|"
"""How nearly every message begins: nothing is left to find out."""


def _delimiters(data: bytes, codec: str | None) -> Delimiters:
    try:
        start = data.decode("utf_16").lstrip(_BEFORE.decode()) if codec == "utf_16" else data.decode("iso8859_1")
    except UnicodeDecodeError:
        raise Malformed("the message is not the UTF-16 that its first bytes announce", path="MSH") from None
    if not start:
        raise Malformed("the message is empty", path="MSH", hint="send one HL7 v2 message")
    if start[:3] in ("FHS", "BHS"):
        raise Malformed("a batch is not taken", path=start[:3], hint="send one message at a time, beginning with MSH")
    if start[:3] != "MSH":
        raise Malformed("the message does not begin with MSH", path="MSH", hint="send HL7 v2 in ER7 (not XML, not JSON)")
    line = _LINE_END.split(start, 1)[0]
    if len(line) < 4:
        raise Malformed("the header ends before the field separator", path="MSH-1")
    field = line[3]
    encoding, *rest = line[4:].split(field, 1)
    if not rest:
        raise Malformed("the header ends within the encoding characters", path="MSH-2")
    if not encoding:
        raise Malformed("no encoding characters are declared", path="MSH-2", hint="usually ^~\\&")
    every = field + encoding
    if (
        len(encoding) > 5
        or len(set(every)) != len(every)
        or not every.isascii()
        or any(char.isalnum() or char in '" ' or not char.isprintable() for char in every)
    ):
        raise Malformed("the delimiters cannot be told apart from text or from each other", path="MSH-2", hint="usually ^~\\&")
    return Delimiters(field, *(encoding[at : at + 1] for at in range(5)))


def _decode(data: bytes, codec: str | None, delimiters: Delimiters, notes: list[Problem]) -> tuple[str, str]:
    if codec == "utf_16":
        return data.decode(codec).lstrip(_BEFORE.decode()).rstrip(_BEHIND.decode()), codec
    first = re.split(rb"[\r\n]", data, maxsplit=1)[0].decode("iso8859_1").split(delimiters.field)
    declared = first[17] if len(first) > 17 else ""
    if delimiters.repetition:
        declared = declared.split(delimiters.repetition, 1)[0]
    declared = _part(declared, delimiters.component, 1).strip()
    wanted = codec or (_CHARSETS.get(declared.upper()) if declared else None)
    if wanted is not None and wanted not in ("ascii", "utf_16"):
        try:
            return data.decode(wanted), wanted
        except UnicodeDecodeError as error:
            raise Malformed(
                Problem(
                    "the bytes are not of the character set that the message declares",
                    "MSH-18",
                    f"byte {error.start} does not fit; declare the set that is sent",
                    "structure",
                )
            ) from None
    try:
        text = data.decode("ascii")
        if declared and wanted is None:
            notes.append(_note("the declared character set is not known; every byte is ASCII", "MSH-18", "use a code of HL7 table 0211"))
        return text, "utf_8"
    except UnicodeDecodeError:
        pass
    try:
        text, codec = data.decode("utf_8"), "utf_8"
    except UnicodeDecodeError as error:
        if declared and wanted is None:
            raise Malformed(
                Problem(
                    "the declared character set is not known",
                    "MSH-18",
                    f"byte {error.start} is not UTF-8; use a code of HL7 table 0211",
                    "code-invalid",
                )
            ) from None
        text, codec = data.decode("iso8859_1"), "iso8859_1"
    if declared or codec != "utf_8":
        read_as = "UTF-8" if codec == "utf_8" else "ISO 8859-1"
        notes.append(
            _note(
                f"the message holds bytes beyond its declared character set; read as {read_as}",
                "MSH-18",
                "declare the character set in MSH-18",
            )
        )
    return text, codec


def _lines(text: str) -> list[str]:
    """Split at CR, LF and CRLF. Where the sender ends its segments with CR alone, an LF that no segment follows is a
    line break within a text."""
    if "\n" not in text:
        return text.split("\r")
    if "\r" not in text:
        return text.split("\n")
    end = text.find("\r")
    if text.startswith("\r\n", end) or text.find("\n") < end:
        return _LINE_END.split(text)
    lines: list[str] = []
    for line in text.replace("\r\n", "\r").split("\r"):
        pieces = line.split("\n")
        lines.append(pieces[0])
        for piece in pieces[1:]:
            if _SEGMENT.match(piece) and (len(piece) == 3 or piece[3] == text[3]):
                lines.append(piece)
            else:
                lines[-1] += "\n" + piece
    return lines


def _segments(lines: list[str], reader: _Reader, notes: list[Problem]) -> list[Segment]:
    separator = reader.delimiters.field
    counts: dict[str, int] = {}
    segments: list[Segment] = []
    junk = 0
    for number, line in enumerate(lines, 1):
        name = line[:3]
        if len(line) > 3 and line[3] != separator or _SEGMENT.fullmatch(name) is None:
            if not line or line.isspace():
                continue
            junk += 1
            if junk <= _MAX_NOTES:
                notes.append(
                    _note(
                        f"line {number} is not a segment and was left out",
                        f"{segments[-1].name}" if segments else "MSH",
                        "a segment begins with its three-letter name and the field separator",
                    )
                )
            continue
        occurrence = counts[name] = counts.get(name, 0) + 1
        if name == "MSH" and occurrence > 1:
            raise Malformed("a second message begins within the first", path="MSH[2]", hint="send one message at a time")
        segments.append(Segment(name, line, occurrence, len(segments) + 1, reader))
    return segments


def _note(what: str, path: str, hint: str) -> Problem:
    return Problem(what, path, hint, "structure", "warning")


def _line_place(lines: list[str], number: int) -> str:
    """The segment that stands at (or last before) a line, counted from 0."""
    for line in reversed(lines[: number + 1]):
        if _SEGMENT.match(line):
            name = line[:3]
            return f"{name}[{sum(1 for one in lines[: number + 1] if one[:3] == name)}]"
    return "MSH"


def _control(lines: list[str], char: str) -> Malformed:
    number = next(at for at, line in enumerate(lines) if char in line)
    return Malformed(
        f"line {number + 1} holds the control character 0x{ord(char):02X}",
        path=_line_place(lines, number),
        hint="send text; binary content belongs in Base64",
    )
