"""The parser: what real senders do wrong is read, what cannot be read is refused with its place (MAPPING §2)."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhircase.errors import FhircaseError, Malformed, TooLarge
from fhircase.hl7v2 import DELETE, header, parse

HEAD = "MSH|^~\\&|ADT|MERCY|HUB|NET|20261120143005-0500||ADT^A03^ADT_A03|MSG42|P|2.5.1"
PID = "PID|1||MRN1^^^MERCY^MR~4444^^^USSSA^SS||DOE^JANE^Q"


def message(*segments: str, end: str = "\r", head: str = HEAD) -> bytes:
    return end.join((head, *segments, "")).encode()


def value(text: str) -> str | None:
    return parse(message(f"PID|1||{text}")).get("PID-3")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_segments_may_end_with_cr_lf_or_crlf(end: str) -> None:
    read = parse(message("EVN|A03", PID, end=end))
    assert [segment.name for segment in read.segments()] == ["MSH", "EVN", "PID"]
    assert read.get("PID-5.1") == "DOE"
    assert read.problems == ()


def test_a_line_feed_within_a_text_of_a_cr_message_is_a_line_break() -> None:
    read = parse(b"%s\rNTE|1||first\nsecond line\rPID|1||7\r" % HEAD.encode())
    assert read.get("NTE-3") == "first\nsecond line"
    assert read.get("PID-3") == "7"


def test_a_segment_behind_a_lone_line_feed_of_a_cr_message_is_still_a_segment() -> None:
    assert parse(b"%s\rEVN|A03\nPID|1||7\r" % HEAD.encode()).get("PID-3") == "7"


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0b" + message(PID) + b"\x1c\r",
        b"\xef\xbb\xbf" + message(PID),
        b"\x0b\xef\xbb\xbf" + message(PID) + b"\x1c\r\n",
        b"\r\n\r\n" + message(PID),
        message(PID) + b"\r\r\n",
        message(PID).decode().encode("utf-16"),
    ],
    ids=["framed", "bom", "framed bom", "blank lines before", "blank lines behind", "utf-16 with bom"],
)
def test_framing_byte_order_mark_and_blank_lines_are_taken_off(raw: bytes) -> None:
    read = parse(raw)
    assert read.control_id == "MSG42"
    assert read.get("PID-3") == "MRN1"
    assert len(read.segments()) == 2


def test_any_declared_delimiters_are_used() -> None:
    read = parse(b"MSH#*!@$#A#B#C#D#2026##ADT*A01#1#P#2.3\rPID#1##7***MERCY$1.2$ISO*MR!8##O@S@B^C|D~E\r")
    assert (read.type, read.event) == ("ADT", "A01")
    assert read.get("PID-3.4.2") == "1.2"
    assert read.all("PID-3") == ["7", "8"]
    assert read.get("PID-5") == "O*B^C|D~E"


def test_fewer_encoding_characters_switch_off_what_they_do_not_declare() -> None:
    read = parse(b"MSH|^~|A|B|C|D|2026||ADT^A01|1|P|2.1\rPID|1||7&8\\F\\\r")
    assert read.get("PID-3") == "7&8\\F\\"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("O\\T\\B", "O&B"),
        ("a\\F\\b\\S\\c\\R\\d\\E\\e", "a|b^c~d\\e"),
        ("\\X41\\\\X4a4B\\", "AJK"),
        ("\\XC3B1\\", "ñ"),
        ("one\\.br\\two", "one\ntwo"),
        ("a\\Tb", "a\\Tb"),
        ("a\\Q\\b", "a\\Q\\b"),
        ("\\H\\F\\N\\", "\\H\\F\\N\\"),
        ("C:\\TEMP\\x", "C:\\TEMP\\x"),
        ("\\X4\\", "\\X4\\"),
        ("\\X00\\", "\\X00\\"),
        ("\\XFF\\", "\\XFF\\"),
        ("end\\", "end\\"),
        ("\\.sp2\\x", "\\.sp2\\x"),
    ],
)
def test_escapes_become_text_and_what_is_unknown_or_unclosed_stays(written: str, meant: str) -> None:
    assert value(written) == meant


def test_an_escaped_delimiter_splits_nothing() -> None:
    read = parse(message("PID|1||a\\S\\b^c\\T\\d&e"))
    assert read.get("PID-3") == "a^b"
    assert read.get("PID-3.2") == "c&d"
    assert read.get("PID-3.2.2") == "e"


def test_two_quotes_mean_delete_and_differ_from_nothing() -> None:
    read = parse(message('PID|1||""|""^x||^""^z'))
    assert read.get("PID-3") is DELETE
    assert read.get("PID-3.4") is DELETE
    assert read.get("PID-4") is DELETE
    assert read.get("PID-4.2") == "x"
    assert read.get("PID-6.2") is DELETE
    assert read.get("PID-6") is None
    assert read.get("PID-5") is None
    assert not DELETE and isinstance(DELETE, str)
    assert repr(DELETE) == "DELETE"


def test_a_quoted_text_is_no_delete() -> None:
    assert value('"home"') == '"home"'


def test_short_segments_have_nothing_further_on() -> None:
    read = parse(message("PID", "PV1|1"))
    assert read.get("PID-3.1") is None
    assert read.get("PV1-45") is None
    assert read.get("ZZZ-1") is None
    assert read.repetitions("PID-3") == []


def test_z_segments_are_read_like_any_other() -> None:
    assert parse(message("ZCM|1|KIM^LEE")).get("ZCM-2.2") == "LEE"


def test_junk_lines_are_noted_and_not_fatal() -> None:
    read = parse(message("EVN|A03", "4|x", "pid|1||7", "PIDX|1", PID))
    assert [segment.name for segment in read.segments()] == ["MSH", "EVN", "PID"]
    assert [(problem.path, problem.severity) for problem in read.problems] == [("EVN", "warning")] * 3
    assert "line 3" in read.problems[0].what


def test_repetitions_know_their_places() -> None:
    read = parse(message(PID, "DG1|1||A", "DG1|2||B~C^x"))
    assert [str(number.place) for number in read.repetitions("PID-3")] == ["PID-3", "PID-3[2]"]
    assert [number.get(5) for number in read.repetitions("PID-3")] == ["MR", "SS"]
    assert [str(one.place) for one in read.repetitions("DG1-3")] == ["DG1-3", "DG1[2]-3", "DG1[2]-3[2]"]
    assert read.get("DG1[2]-3[2].2") == "x"
    assert read.all("DG1-3") == ["A", "B", "C"]
    assert read.all("DG1[2]-3") == ["B", "C"]


def test_empty_repetitions_keep_the_numbers_of_the_others() -> None:
    numbers = parse(message("PID|1||~B")).repetitions("PID-3")
    assert [(number.get(), str(number.place)) for number in numbers] == [("B", "PID-3[2]")]
    assert parse(message("PID|1||~B")).get("PID-3") is None


def test_the_header_counts_its_separator_as_its_first_field() -> None:
    read = parse(message())
    assert read.get("MSH-1") == "|"
    assert read.get("MSH-2") == "^~\\&"
    assert (read.get("MSH-3"), read.get("MSH-4"), read.get("MSH-10"), read.version) == ("ADT", "MERCY", "MSG42", "2.5.1")


def test_a_part_keeps_the_places_of_the_whole() -> None:
    whole = parse(message("PID|1||A", "MRG|B", "PID|2||C", "MRG|D"))
    second = whole.part([whole.segments("PID")[1], whole.segments("MRG")[1]])
    assert second.get("PID-3") == "C"
    assert str(second.repetitions("MRG-1")[0].place) == "MRG[2]-1"
    assert second.control_id == "MSG42"


# ------------------------------------------------------------------------------------------------ character sets


def charset(name: str, text: bytes) -> bytes:
    return HEAD.encode() + b"||||||" + name.encode() + b"\rPID|1||" + text + b"\r"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("8859/1", "Núñez".encode("latin-1")),
        ("8859/15", "€uro".encode("iso8859-15")),
        ("UNICODE UTF-8", "Núñez 東".encode()),
        ("UNICODE", "Núñez".encode()),
        ("UTF-8", "Núñez".encode()),
        ("", "Núñez".encode()),
        ("GB 18030-2000", "東京".encode("gb18030")),
        ("8859/1~UNICODE UTF-8", "Núñez".encode("latin-1")),
        ("ISO IR87", "東京".encode("iso2022_jp")),
    ],
)
def test_the_declared_character_set_is_used(name: str, text: bytes) -> None:
    read = parse(charset(name, text))
    assert read.problems == ()
    got = read.get("PID-3")
    assert got is not None and got.encode(read.codec) == text


def test_without_a_declaration_bytes_that_are_not_utf8_are_latin1_with_a_note() -> None:
    read = parse(charset("", "Núñez".encode("latin-1")))
    assert read.get("PID-3") == "Núñez"
    assert [problem.path for problem in read.problems] == ["MSH-18"]


def test_ascii_with_bytes_beyond_it_is_read_with_a_note() -> None:
    read = parse(charset("ASCII", "Núñez".encode()))
    assert read.get("PID-3") == "Núñez"
    assert [problem.path for problem in read.problems] == ["MSH-18"]


def test_an_unknown_character_set_is_a_note_while_every_byte_is_ascii() -> None:
    read = parse(charset("KLINGON", b"plain"))
    assert read.get("PID-3") == "plain"
    assert [problem.path for problem in read.problems] == ["MSH-18"]


@pytest.mark.parametrize(("name", "text"), [("UNICODE UTF-8", b"N\xfa\xf1ez"), ("KLINGON", b"N\xfa"), ("GB 18030-2000", b"\xff\xff")])
def test_bytes_that_are_not_of_the_declared_set_are_refused_not_guessed(name: str, text: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        parse(charset(name, text))
    assert refused.value.problems[0].path == "MSH-18"
    assert "byte" in refused.value.problems[0].hint


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"", "MSH"),
        (b"\x0b\x1c\r", "MSH"),
        (b"hello", "MSH"),
        (b'{"resourceType": "Bundle"}', "MSH"),
        (b"MSH", "MSH-1"),
        (b"MSH|", "MSH-2"),
        (b"MSH|^~\\&", "MSH-2"),
        (b"MSH||A", "MSH-2"),
        (b"MSH|^^\\&|A", "MSH-2"),
        (b"MSH|^~\\&#!|A", "MSH-2"),
        (b"MSHAB|A|B", "MSH-2"),
        (b"MSH|^~\\&|ADT|MERCY", "MSH-9"),
        (b"FHS|^~\\&|A\rBHS|^~\\&|A\r", "FHS"),
        (message(PID) + message(PID), "MSH[2]"),
        (message("PID|1||a\x00b"), "PID[1]"),
        (message("EVN|A03", "PID|1", "DG1|1", "DG1|2||\x01\x02"), "DG1[2]"),
        (b"\xff\xfeM", "MSH"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(raw: bytes, place: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse(raw)
    assert refused.value.problems[0].path == place


def test_too_many_segments_are_refused_where_they_begin_to_be_too_many() -> None:
    raw = message(*("OBX|1" for _ in range(2_500)))
    with pytest.raises(TooLarge) as refused:
        parse(raw)
    assert refused.value.problems[0].path == "OBX[2000]"
    assert len(parse(raw, max_segments=3_000).segments()) == 2_501


def test_a_message_above_the_byte_limit_is_refused_unread() -> None:
    with pytest.raises(TooLarge):
        parse(message(PID), max_bytes=20)


def test_half_a_million_segments_are_refused_quickly() -> None:
    with pytest.raises(TooLarge):
        parse(b"MSH|^~\\&|A\r" + b"X\r" * 500_000)


def test_of_a_refused_message_the_header_is_still_known() -> None:
    read = header(message("PID|1||a\x00b"))
    assert read is not None and read.control_id == "MSG42"
    short = header(b"MSH|^~\\&|ADT|MERCY")
    assert short is not None and short.get("MSH-4") == "MERCY"
    assert header(b"hello") is None


def test_values_of_the_record_do_not_stand_in_a_repr() -> None:
    read = parse(message(PID))
    assert "JANE" not in repr(read) + repr(read.segments()) + repr(read.repetitions("PID-5"))


# ------------------------------------------------------------------------------------------------ whatever comes

_ALPHABET = '|^~\\&MSHPIDXTEFR."\r\n\x0b\x1c\x00 09az' + "é"


@settings(max_examples=400, deadline=None)
@given(
    st.binary(max_size=200)
    | st.text(_ALPHABET, max_size=120).map(str.encode)
    | st.text(max_size=60).map(lambda text: message("PID|" + text))
)
def test_no_bytes_raise_anything_outside_the_tree(raw: bytes) -> None:
    header(raw)
    try:
        read = parse(raw)
    except FhircaseError as error:
        assert error.problems and error.problems[0].path
        return
    for segment in read.segments():
        for number in range(len(segment) + 2):
            for repetition in segment.repetitions(number):
                for component in (1, 2, 9):
                    got = repetition.get(component, 2)
                    assert got is None or isinstance(got, str)
                    repetition.subs(component)
                assert isinstance(repetition.text, str)


@settings(max_examples=200, deadline=None)
@given(st.text(string.printable.replace("\x0b", "").replace("\x0c", "") + "ñ東", min_size=1, max_size=40))
def test_what_is_written_is_read_back(text: str) -> None:
    written = parse(message()).delimiters.write(text)
    read = parse(message(f"PID|1||x^{written}"))
    expected = DELETE if text == '""' else text
    assert read.get("PID-3.2") == expected
