"""The search grammar, and that what is searched for is compared with what is indexed."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhircase.errors import Invalid
from fhircase.fhir import index, jsontext, search, searchparams, times
from fhircase.fhir.query import OPEN_HIGH, OPEN_LOW, Include, IndexValue, Query

BASE = "http://hub.example/fhir"


def parse(type_: str, query: str, *, strict: bool = True) -> Query:
    return search.parse(type_, parse_qsl(query, keep_blank_values=True), strict=strict, base_url=BASE)


def problems(type_: str, query: str, *, strict: bool = True) -> list[str]:
    with pytest.raises(Invalid) as refused:
        parse(type_, query, strict=strict)
    assert refused.value.status == 400
    return [p.path for p in refused.value.problems]


def values(type_: str, query: str) -> list[tuple[str, IndexValue]]:
    (test,) = parse(type_, query).tests
    return list(test.values)


# ------------------------------------------------------------------------------------------------ parameters


def test_the_poll_of_a_partner_is_understood_whole() -> None:
    query = parse(
        "CarePlan",
        "patient=Patient/p&_lastUpdated=ge2026-11-22T05:24:38.123Z&_include=CarePlan:goal&_include=CarePlan:care-team:CareTeam"
        "&_revinclude=Provenance:target&_sort=-_lastUpdated,date&_count=20&_total=accurate&_format=json&_pretty=true",
    )
    assert [(t.param, t.values[0][1].system, t.values[0][1].code) for t in query.tests] == [("patient", "Patient", "p")]
    assert query.updated == (("ge", *times.bounds("2026-11-22T05:24:38.123Z")),)
    assert query.includes == (
        Include("CarePlan", "goal"),
        Include("CarePlan", "care-team", "CareTeam"),
        Include("Provenance", "target", reverse=True),
    )
    assert query.sort == (("_lastUpdated", True), ("date", False)) and query.count == 20 and query.total


@pytest.mark.parametrize("written", ["p", "Patient/p", f"{BASE}/Patient/p", "Patient/p/_history/3"])
def test_a_patient_may_be_written_in_every_way(written: str) -> None:
    assert values("Goal", f"patient={written}") == [("", IndexValue("patient", "reference", "Patient", "p"))]


def test_a_reference_of_several_types_may_leave_the_type_out() -> None:
    assert values("CarePlan", "subject=p") == [("", IndexValue("subject", "reference", "", "p"))]
    assert values("CarePlan", "subject:Patient=p") == [("", IndexValue("subject", "reference", "Patient", "p"))]
    assert values("CarePlan", "subject=http://other/fhir/Patient/p") == [
        ("", IndexValue("subject", "reference", "Patient", "http://other/fhir/Patient/p"))
    ]
    assert values("CarePlan", "subject=urn:uuid:1") == [("", IndexValue("subject", "reference", "", "urn:uuid:1"))]


def test_a_reference_may_be_searched_by_identifier() -> None:
    assert values("CarePlan", "subject:identifier=http://s|1") == [("both", IndexValue("subject", "reference", text="http://s|1"))]
    assert values("CarePlan", "subject:identifier=1") == [("code", IndexValue("subject", "reference", text="|1"))]
    assert values("CarePlan", "subject:identifier=http://s|") == [("system", IndexValue("subject", "reference", text="http://s|"))]


def test_the_four_ways_of_a_token() -> None:
    assert values("Goal", "category=a,http://s|b,|c,http://s|") == [
        ("code", IndexValue("category", "token", code="a")),
        ("both", IndexValue("category", "token", "http://s", "b")),
        ("both", IndexValue("category", "token", "", "c")),
        ("system", IndexValue("category", "token", "http://s")),
    ]


def test_escaped_separators_belong_to_the_value() -> None:
    assert values("Patient", r"name:exact=a\,b\\c") == [("", IndexValue("name", "string", code=r"a,b\c", text=r"a,b\c"))]
    assert values("Goal", r"category=http://s|x\|y") == [("both", IndexValue("category", "token", "http://s", "x|y"))]


@pytest.mark.parametrize(
    ("query", "modifier"), [("status:not=active", "not"), ("identifier:missing=true", "missing"), ("category:text=Care", "text")]
)
def test_modifiers_are_kept(query: str, modifier: str) -> None:
    assert parse("CarePlan", query).tests[0].modifier == modifier


def test_strings_are_folded_alike_on_both_sides() -> None:
    (found,) = [v for v in index.extract({"resourceType": "Patient", "name": [{"family": "Müller-Ångström  X"}]}) if v.param == "family"]
    assert values("Patient", "family=MULLER-angstrom x")[0][1].text == found.text
    assert values("Patient", "family:exact=Müller-Ångström  X")[0][1].code == found.code


@pytest.mark.parametrize("prefix", ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"])
def test_every_prefix_of_a_date_is_known(prefix: str) -> None:
    assert parse("Goal", f"start-date={prefix}2026").tests[0].values[0][0] == prefix
    assert parse("Goal", f"_lastUpdated={prefix}2026").updated[0][0] == prefix


def test_a_plus_sign_that_became_a_space_is_repaired() -> None:
    assert parse("Goal", "_lastUpdated=gt2026-11-22T05:24:38+10:30").updated == (("gt", *times.bounds("2026-11-22T05:24:38+10:30")),)
    assert values("Goal", "start-date=2026-11-22T05:24+10:30")[0][1].low == times.bounds("2026-11-22T05:24+10:30")[0]


def test_about_a_date_reaches_a_day_to_either_side_at_least() -> None:
    ((how, value),) = values("Goal", "start-date=ap2026-01-10")
    assert (how, value.low, value.high) == ("ap", times.ms_of("2026-01-09"), times.ms_of("2026-01-12"))


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("100", 99_500_000, 100_500_000),
        ("100.00", 99_995_000, 100_005_000),
        ("1e2", 50_000_000, 150_000_000),
        ("-5.4", -5_450_000, -5_350_000),
    ],
)
def test_a_number_means_what_its_digits_say(text: str, low: int, high: int) -> None:
    ((how, value),) = values("Observation", f"value-quantity={text}|http://u|mg")
    assert (how, value.low, value.high, value.system, value.code) == ("eq", low, high, "http://u", "mg")


def test_a_bound_is_the_number_itself() -> None:
    ((how, value),) = values("Observation", "value-quantity=ge5.4||mg")
    assert (how, value.low, value.high, value.code, value.text) == ("ge", 5_400_000, 5_400_000, "mg", "mg")


def test_ids_narrow_and_none_may_be_left() -> None:
    assert parse("Goal", "_id=a,b,a").ids == ("a", "b")
    assert parse("Goal", "_id=a,b&_id=b,c").ids == ("b",)
    assert parse("Goal", "_id=a&_id=b").ids == ("",), "nothing matches; this is not the same as no _id at all"
    assert parse("Goal", "status=x", strict=False).ids == ()


def test_counts_are_capped_and_none_means_the_total_alone() -> None:
    assert parse("Goal", "_count=100000").count == 200
    assert parse("Goal", "").count == 50
    query = parse("Goal", "_count=0&_totalMethod=count")
    assert query.total and query.summary == "count" and query.count == 0
    assert parse("Goal", "_summary=count").total


def test_elements_name_what_a_type_has() -> None:
    assert parse("Goal", "_elements=Goal.subject,start").elements == ("subject", "start")
    assert problems("Goal", "_elements=status") == ["_elements"]


def test_tags_profiles_labels_and_sources_are_searched() -> None:
    kinds = {t.param: t.kind for t in parse("Goal", "_tag=a&_profile=http://p&_security=http://s|R&_source=http://x").tests}
    assert kinds == {"_tag": "token", "_profile": "uri", "_security": "token", "_source": "uri"}


def test_parameters_of_implementation_guides_are_known() -> None:
    assert parse("Task", "_include=Task:output&_include=Task:focus").includes == (Include("Task", "output"), Include("Task", "focus"))
    assert parse("ServiceRequest", "_include=ServiceRequest:supporting-info").includes


# ------------------------------------------------------------------------------------------------ refusals


def test_unknown_parameters_are_all_told_when_strict_and_named_when_lenient() -> None:
    assert problems("Goal", "foo=1&bar=2&patient=p") == ["foo", "bar"]
    query = parse("Goal", "foo=1&bar:x=2&patient=p&_include=Goal:foo&_sort=foo", strict=False)
    assert query.ignored == ("foo", "bar:x", "_include=Goal:foo", "_sort=foo") and [t.param for t in query.tests] == ["patient"]
    assert ("foo", "1") not in query.used and ("patient", "p") in query.used


def test_a_near_miss_is_hinted_at() -> None:
    with pytest.raises(Invalid) as refused:
        parse("Goal", "lifecycleStatus=active")
    assert "lifecycle-status" in refused.value.problems[0].hint


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "query",
    [
        "patient=",
        "patient=%20",
        "category=a,,b",
        "subject.name=x",
        "_has:Observation:patient:code=1",
        "lifecycle-status:foo=x",
        "subject:Device=x",
        "subject:Foo=x",
        "subject:Patient=Group/x",
        "subject=Foo/x",
        "subject=a/b/c",
        "category=a|b|c",
        "category=|",
        "identifier:missing=maybe",
        "start-date=soon",
        "start-date=0000",
        "start-date=2026-02-30",
        "start-date=eq",
        "_lastUpdated=x",
        "_lastUpdated=2026,2027",
        "_lastUpdated:missing=true",
        "_id:not=a",
        "_count=-1",
        "_count=x",
        "_count=1.5",
        "_count=%D9%A1",
        "_total=all",
        "_summary=x",
        "_include=x",
        "_include=Foo:x",
        "_include:foo=Goal:subject",
        "_revinclude=*",
        "patient=a%00b",
        "description:text=%00",
    ],
)
def test_what_would_widen_or_cannot_be_read_is_always_refused(query: str, strict: bool) -> None:
    assert len(problems("Goal", query, strict=strict)) == 1


@pytest.mark.parametrize("number", ["x", "", "1e999", "99999999999999999", "0x1", "1_000", "NaN", "1" * 100, "1e-9999"])
def test_a_number_that_does_not_fit_is_refused(number: str) -> None:
    assert problems("Observation", f"value-quantity={number}|http://u|mg") == ["value-quantity"]


def test_the_last_day_and_the_first_stay_within_64_bits() -> None:
    for text in ("9999-12-31", "ap9999", "0001", "ap0001"):
        for _, value in values("Goal", f"start-date={text}"):
            assert -(2**63) < value.low < value.high < 2**63


def test_too_much_at_once_is_refused() -> None:
    problems("Goal", "&".join(f"patient={i}" for i in range(300)))
    problems("Goal", "_id=" + ",".join(str(i) for i in range(2_000)))


def test_an_unknown_type_is_refused() -> None:
    problems("Gaol", "patient=1")
    problems("", "patient=1")


def test_no_problem_shows_the_value() -> None:
    with pytest.raises(Invalid) as refused:
        parse("Patient", "birthdate=Mustermann&name:foo=Mustermann&x=Mustermann")
    assert "Mustermann" not in str([(p.what, p.hint, p.path) for p in refused.value.problems])


names = st.sampled_from(
    [
        "patient",
        "subject:Patient",
        "_id",
        "_lastUpdated",
        "category",
        "start-date",
        "_sort",
        "_include",
        "_count",
        "_elements",
        "identifier:missing",
    ]
)


@settings(deadline=None)
@given(st.lists(st.tuples(names | st.text(max_size=8), st.text(max_size=20)), max_size=5), st.booleans())
def test_any_query_is_parsed_or_refused(pairs: list[tuple[str, str]], strict: bool) -> None:
    try:
        assert isinstance(search.parse("Goal", pairs, strict=strict), Query)
    except Invalid as refused:
        assert refused.problems


# ------------------------------------------------------------------------------------------------ the index


def extract(text: str, **more: Any) -> dict[str, list[IndexValue]]:
    made: dict[str, list[IndexValue]] = {}
    for value in index.extract(jsontext.loads(text), **more):
        made.setdefault(value.param, []).append(value)
    return made


def test_a_care_plan_is_found_by_all_that_it_says() -> None:
    found = extract(
        """{"resourceType":"CarePlan","id":"c","meta":{"tag":[{"system":"http://t","code":"x"}],"profile":["http://p|1.0"],"source":"http://s"},
        "identifier":[{"system":"http://i","value":"1"}],"status":"active","intent":"plan","subject":{"reference":"Patient/p"},
        "category":[{"coding":[{"system":"http://snomed.info/sct","code":"734163000","display":"Care Plan"}],"text":"Plan  of CARE"}],
        "period":{"start":"2026-01-02"},"goal":[{"reference":"Goal/g"},{"reference":"#in"}],
        "activity":[{"reference":{"reference":"http://hub.example/fhir/ServiceRequest/s"}},{"detail":{"scheduledPeriod":{"start":"2026"},"performer":[{"reference":"Practitioner/d"}]}}]}""",
        base_url=BASE,
    )
    assert found["status"] == [IndexValue("status", "token", "http://hl7.org/fhir/request-status", "active")]
    assert found["category"] == [
        IndexValue("category", "token", "http://snomed.info/sct", "734163000", "care plan"),
        IndexValue("category", "token", text="plan of care"),
    ]
    assert found["patient"] == [IndexValue("patient", "reference", "Patient", "p")] and found["subject"][0].code == "p"
    assert found["date"] == [IndexValue("date", "date", low=times.ms_of("2026-01-02"), high=OPEN_HIGH)]
    assert [v.code for v in found["goal"]] == ["g"]
    assert found["activity-reference"] == [IndexValue("activity-reference", "reference", "ServiceRequest", "s")]
    assert found["performer"][0].code == "d"
    assert (
        {v.code for v in found["_profile"]} == {"http://p|1.0", "http://p"}
        and found["_tag"][0].code == "x"
        and found["_source"][0].code == "http://s"
    )
    assert "_id" not in found and "_lastUpdated" not in found


def test_patient_is_indexed_only_for_patients() -> None:
    assert "patient" not in extract('{"resourceType":"Goal","subject":{"reference":"Group/g"}}')
    assert extract('{"resourceType":"Goal","subject":{"reference":"urn:uuid:1"}}')["patient"][0].code == "urn:uuid:1"
    assert extract('{"resourceType":"Goal","subject":{"identifier":{"system":"http://m","value":"7"}}}')["patient"][0].text == "http://m|7"


def test_a_phone_is_told_from_a_mail_address() -> None:
    found = extract('{"resourceType":"Patient","telecom":[{"system":"phone","value":"1"},{"system":"email","value":"a@b"}]}')
    assert [v.code for v in found["phone"]] == ["1"] and [v.code for v in found["email"]] == ["a@b"] and len(found["telecom"]) == 2


@pytest.mark.parametrize(
    ("member", "code"),
    [("", "false"), (',"deceasedBoolean":false', "false"), (',"deceasedBoolean":true', "true"), (',"deceasedDateTime":"2026"', "true")],
)
def test_everybody_is_deceased_or_not(member: str, code: str) -> None:
    assert [v.code for v in extract(f'{{"resourceType":"Patient"{member}}}')["deceased"]] == [code]


def test_quantities_are_scaled_and_what_does_not_fit_is_left_out() -> None:
    found = extract(
        '{"resourceType":"Observation","valueQuantity":{"value":72.50,"unit":"KG","system":"http://unitsofmeasure.org","code":"kg"}}'
    )
    assert found["value-quantity"] == [
        IndexValue("value-quantity", "quantity", "http://unitsofmeasure.org", "kg", "kg", 72_500_000, 72_500_000)
    ]
    for number in ("1e300", "99999999999999999", "1e-400"):
        low = [v.low for v in extract(f'{{"resourceType":"Observation","valueQuantity":{{"value":{number}}}}}').get("value-quantity", [])]
        assert low in ([], [0])


def test_a_lenient_resource_is_indexed_as_far_as_it_can_be_read() -> None:
    found = extract(
        '{"resourceType":"Goal","startDate":"soon","subject":"x","lifecycleStatus":5,"category":[null,{"coding":"x","text":"T"}],"identifier":{"value":"1"}}'
    )
    assert list(found) == ["category", "identifier"]
    assert index.extract({"resourceType": "Gaol", "x": 1}) == [] and index.extract({}) == []


def test_an_open_start_is_before_everything() -> None:
    assert extract('{"resourceType":"CarePlan","period":{"end":"2026"}}')["date"][0].low == OPEN_LOW


def test_long_values_fit_an_index_row_and_stay_apart() -> None:
    one, other = "http://x/" + "a" * 5_000, "http://x/" + "a" * 4_999 + "b"
    codes = [
        v.code
        for v in index.extract({"resourceType": "Goal", "identifier": [{"value": one}, {"value": other}, {"value": "é" * 700}]})
        if v.param == "identifier"
    ]
    assert len(set(codes)) == 3 and all(len(code.encode()) <= 600 for code in codes)
    assert values("Goal", f"identifier={one}")[0][1].code == codes[0]


def test_every_parameter_of_every_type_compiles() -> None:
    from fhircase.fhir import definitions

    for type_ in definitions.resource_types():
        assert searchparams.parameters(type_)["_id"].kind == "token"
        index.extract({"resourceType": type_})
