"""The JSON entry: strict, guarded, and faithful to how numbers were written."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhircase.errors import Malformed
from fhircase.fhir import jsontext


@pytest.mark.parametrize("token", ["72.50", "1e5", "1E5", "1.0", "-0", "-0.0", "0.10000000000000000000000001", "1e-7", "100"])
def test_a_number_goes_out_as_it_came_in(token: str) -> None:
    assert jsontext.dumps(jsontext.loads(f'{{"value":{token}}}')) == f'{{"value":{token}}}'


def test_a_decimal_is_compared_by_value_and_survives_copies() -> None:
    value = jsontext.loads("72.50")
    assert value == Decimal("72.5")
    assert str(copy.deepcopy(value)) == "72.50" and str(pickle.loads(pickle.dumps(value))) == "72.50"


def test_text_keeps_every_character() -> None:
    for text in ('"\u2028 é 😀 \\"q\\" \\\\ /"', '"\\u00e9"', '"\\ud83d\\ude00"'):
        assert jsontext.loads(jsontext.dumps(jsontext.loads(text))) == jsontext.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        "{'a':1}",
        "01",
        "+1",
        ".5",
        "1.",
        "NaN",
        "Infinity",
        "-Infinity",
        '"\t"',
        "nul",
        "[1] x",
        "[1 /*c*/]",
        '{"a":1,"a":2}',
        '{"x":{"a":1,"b":2,"a":1}}',
        '"\\ud800"',
        '"\\udc00x"',
        '{"\\ud800":1}',
        '"\\u0000"',
        '{"a\\u0000":1}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "[" * 65 + "]" * 65,
        "1" * 5_000,
        "1." + "0" * 5_000,
        "1e400",
        "1e99999999999999999999",
        "1e-99999999999999999999",
    ],
    ids=lambda text: text[:20],
)
def test_what_is_not_strict_json_is_malformed(text: str) -> None:
    with pytest.raises(Malformed) as refused:
        jsontext.loads(text)
    assert refused.value.status == 400 and refused.value.problems[0].what


@pytest.mark.parametrize("data", [b"\xff\xfe{}", b'{"a":"\xed\xa0\x80"}', b'"\xe9"', b"\x00"])
def test_bytes_that_are_not_utf8_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        jsontext.loads(data)


def test_a_byte_order_mark_is_not_an_error() -> None:
    assert jsontext.loads(b'\xef\xbb\xbf{"a":1}') == {"a": 1}


def test_sixty_four_levels_are_allowed() -> None:
    assert jsontext.loads("[" * 64 + "]" * 64)


def test_a_syntax_error_says_where() -> None:
    with pytest.raises(Malformed) as refused:
        jsontext.loads('{\n "a": }')
    assert refused.value.problems[0].path == "line 2 column 7"


def test_a_problem_shows_no_value_of_the_body() -> None:
    with pytest.raises(Malformed) as refused:
        jsontext.loads('{"name": "Mustermann" "x"}')
    assert "Mustermann" not in str(refused.value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.decimals(allow_nan=False, allow_infinity=False, places=4).map(lambda d: jsontext.Number(str(d)))
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(json_values)
def test_what_is_written_is_read_back_the_same(value: object) -> None:
    text = jsontext.dumps(value)
    assert jsontext.loads(text) == value and jsontext.dumps(jsontext.loads(text)) == text


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    try:
        jsontext.loads(data)
    except Malformed:
        pass
