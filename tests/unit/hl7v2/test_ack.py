"""The acknowledgement (DECISIONS 18), judged by an independent parser where that is possible."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from fhircase.errors import Problem
from fhircase.hl7v2 import ack, header, parse, wants_answer

NOW = datetime(2026, 11, 22, 16, 54, 38, tzinfo=timezone(timedelta(hours=10, minutes=30)))
RAW = b"MSH|^~\\&|ADT^1.2^ISO|MERCY|HUB|NET|20261120143005-0500||ADT^A03^ADT_A03|MSG\\T\\42|P^T|2.5.1||||||8859/1\rPID|1||N\xfa\xf1ez\r"


def lines(answer: bytes, codec: str = "latin-1") -> list[str]:
    text = answer.decode(codec)
    assert text.endswith("\r") and "\n" not in text
    return text[:-1].split("\r")


def test_a_committed_message_is_accepted_with_sender_and_receiver_swapped() -> None:
    got = lines(ack(parse(RAW), "AA", control_id="A1", now=NOW))
    assert got == [
        "MSH|^~\\&|HUB|NET|ADT^1.2^ISO|MERCY|20261122165438+1030||ACK^A03^ACK|A1|P^T|2.5.1||||||8859/1",
        "MSA|AA|MSG\\T\\42",
    ]


def test_an_acceptance_carries_no_errors() -> None:
    assert len(lines(ack(parse(RAW), "AA", [Problem("odd", "PID-3", severity="warning")], control_id="A1", now=NOW))) == 2


def test_an_error_names_place_code_severity_and_what_to_do() -> None:
    wrong = Problem("the trigger event is not taken", "MSH-9.2", "send A01 & others", "not-supported")
    got = lines(ack(parse(RAW), "AR", [wrong], control_id="A1", now=NOW))
    assert got[1] == "MSA|AR|MSG\\T\\42"
    assert got[2] == "ERR||MSH^1^9^1^2|201^Unsupported event code^HL70357|E|||send A01 \\T\\ others|the trigger event is not taken"


@pytest.mark.parametrize(
    ("path", "code", "condition"),
    [
        ("PID", "structure", "100"),
        ("MSH-10", "required", "101"),
        ("PID-7", "value", "102"),
        ("PV1-36", "code-invalid", "103"),
        ("MSH-3", "forbidden", "103"),
        ("MSH-9.1", "not-supported", "200"),
        ("MSH-9.2", "not-supported", "201"),
        ("MSH-11", "not-supported", "202"),
        ("MSH-12", "not-supported", "203"),
        ("PID-3", "not-found", "204"),
        ("MSH-10", "duplicate", "205"),
        ("", "exception", "207"),
    ],
)
def test_problems_have_a_code_of_table_0357(path: str, code: str, condition: str) -> None:
    got = lines(ack(parse(RAW), "AE", [Problem("x", path, code=code)], control_id="A1", now=NOW))
    assert got[2].split("|")[3].startswith(condition + "^")


def test_before_version_2_5_the_old_form_stands_beside_the_new() -> None:
    got = lines(ack(parse(RAW.replace(b"2.5.1", b"2.3")), "AE", [Problem("x", "DG1[2]-3.1", code="value")], control_id="A1", now=NOW))
    assert got[2].split("|")[1:3] == ["DG1^2^3^102&Data type error&HL70357", "DG1^2^3^1^1"]


def test_the_answer_speaks_with_the_senders_delimiters() -> None:
    sent = parse(b"MSH#*!@$#A#B#C#D#2026##ADT*A01#1#P#2.5\r")
    got = lines(ack(sent, "AE", [Problem("a#b", "PID-3.1", code="value")], control_id="A1", now=NOW))
    assert got[0].startswith("MSH#*!@$#C#D#A#B#")
    assert got[2] == "ERR##PID*1*3*1*1#102*Data type error*HL70357#E####a@F@b"
    assert parse(ack(sent, "AA", control_id="A1", now=NOW)).get("MSA-2") == "1"


def test_without_a_readable_header_there_is_still_an_answer() -> None:
    assert header(b"nonsense") is None
    got = lines(ack(None, "AR", [Problem("no MSH", "MSH", code="structure")], control_id="A1", now=datetime(2026, 1, 1, tzinfo=UTC)))
    assert got[0] == "MSH|^~\\&|||||20260101000000+0000||ACK|A1|P|2.5.1"
    assert got[1] == "MSA|AR|"
    assert got[2].startswith("ERR||MSH^1|100^")


def test_a_header_that_ends_early_is_answered_as_far_as_it_goes() -> None:
    got = lines(ack(header(b"MSH|^~\\&|ADT|MERCY"), "AR", control_id="A1", now=NOW))
    assert got[0].split("|")[4:6] == ["ADT", "MERCY"]


def test_a_place_that_is_no_hl7_place_stands_in_the_words() -> None:
    got = lines(ack(parse(RAW), "AE", [Problem("unknown", "Encounter.class")], control_id="A1", now=NOW))
    assert got[2].split("|")[2] == "" and got[2].endswith("Encounter.class: unknown")


def test_line_breaks_in_words_cannot_make_segments() -> None:
    got = lines(ack(parse(RAW), "AE", [Problem("a\rMSA|AA|1", "PID-3")], control_id="A1", now=NOW))
    assert [line[:3] for line in got] == ["MSH", "MSA", "ERR"]


def test_at_most_fifty_errors_are_told() -> None:
    assert len(lines(ack(parse(RAW), "AE", [Problem("x", "PID-3")] * 80, control_id="A1", now=NOW))) == 52


@pytest.mark.parametrize(
    ("accept", "application", "code", "wanted"),
    [
        ("", "", "AA", True),
        ("NE", "NE", "AA", False),
        ("NE", "NE", "AR", False),
        ("", "NE", "AA", False),
        ("AL", "NE", "AA", True),
        ("", "AL", "AA", True),
        ("AL", "", "AA", True),
        ("", "ER", "AA", False),
        ("", "ER", "AE", True),
        ("", "SU", "AE", False),
        ("NE", "AL", "AA", True),
    ],
)
def test_whether_an_answer_is_wanted_stands_in_the_header(accept: str, application: str, code: str, wanted: bool) -> None:
    sent = parse(f"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5|||{accept}|{application}\r".encode())
    assert wants_answer(sent, code) is wanted  # type: ignore[arg-type]


def test_what_cannot_be_read_is_always_answered() -> None:
    assert wants_answer(None, "AR") is True
