"""Bad input at every entry: a clear 4xx in the shape of its side of the house, never a 500, never half applied."""

from __future__ import annotations

import pytest

from tests.api.conftest import Api, Town, body

FHIR = "application/fhir+json"
DEEP = b"[" * 100_000
DEEP_OBJECT = b'{"a":' * 100_000

BODIES = {
    "nothing": b"",
    "blank": b"   ",
    "not json": b"{",
    "a word": b"nonsense",
    "deep list": DEEP,
    "deep object": DEEP_OBJECT,
    "closed deep list": b"[" * 5_000 + b"]" * 5_000,
    "not utf-8": b'{"resourceType":"Goal","id":"\xff\xfe"}',
    "utf-16": '{"resourceType":"Goal"}'.encode("utf-16"),
    "lone surrogate": b'{"resourceType":"Goal","description":{"text":"\\ud800"}}',
    "nul": b'{"resourceType":"Goal","description":{"text":"a\\u0000b"}}',
    "raw nul": b'{"resourceType":"Goal","description":{"text":"a\x00b"}}',
    "nul in a name": b'{"resourceType":"Goal","a\\u0000":1}',
    "5,000 digits": b'{"resourceType":"Goal","priority":' + b"9" * 5_000 + b"}",
    "5,000 decimals": b'{"resourceType":"Goal","priority":0.' + b"9" * 5_000 + b"}",
    "infinite": b'{"resourceType":"Goal","priority":1e999}',
    "nan": b'{"resourceType":"Goal","priority":NaN}',
    "twice": b'{"resourceType":"Goal","resourceType":"Patient"}',
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "a string": b'"Goal"',
    "no type": b"{}",
    "type is a number": b'{"resourceType":5}',
    "type is an object": b'{"resourceType":{}}',
    "unknown type": b'{"resourceType":"Colour"}',
    "other type": b'{"resourceType":"Device"}',
    "id is an object": b'{"resourceType":"Goal","id":{}}',
    "meta is a list": b'{"resourceType":"Goal","meta":[]}',
    "meta holds numbers": b'{"resourceType":"Goal","meta":{"security":7,"tag":[1],"profile":{}}}',
    "subject is a text": b'{"resourceType":"Goal","subject":"x"}',
    "subject is a list": b'{"resourceType":"Goal","subject":[[]],"identifier":"x"}',
    "reference is a number": b'{"resourceType":"Goal","lifecycleStatus":"active","description":{"text":"x"},"subject":{"reference":7}}',
    "identifier of numbers": b'{"resourceType":"Patient","identifier":[7,null,{"system":1,"value":[]}]}',
    "entry is a text": b'{"resourceType":"Bundle","type":"transaction","entry":"x"}',
    "entry of numbers": b'{"resourceType":"Bundle","type":"batch","entry":[1,null]}',
    "request is a text": b'{"resourceType":"Bundle","type":"batch","entry":[{"request":"x"}]}',
    "url is a number": b'{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"GET","url":7}}]}',
    "url elsewhere": b'{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"GET","url":"http://evil.example/Patient/1"}}]}',
    "xml": b"<Goal xmlns='http://hl7.org/fhir'/>",
}

ENTRIES = [
    ("POST", "/fhir", FHIR),
    ("POST", "/fhir/Goal", FHIR),
    ("POST", "/fhir/Patient", FHIR),
    ("PUT", "/fhir/Goal/mercy.1", FHIR),
    ("PUT", "/fhir/Goal?identifier=a|b", FHIR),
    ("PATCH", "/fhir/Patient/{anna}", "application/json-patch+json"),
    ("POST", "/fhir/Goal/$validate", FHIR),
    ("POST", "/partners", "application/json"),
    ("PATCH", "/partners/mercy", "application/json"),
    ("POST", "/keys", "application/json"),
]


def _clear(answer, path: str, name: str = "") -> None:
    assert 400 <= answer.status_code < 500, (name, answer.status_code, answer.get_data(as_text=True)[:300])
    told = body(answer)
    if path.startswith("/fhir"):
        assert told["resourceType"] == "OperationOutcome"
        assert all(issue["diagnostics"] for issue in told["issue"])
    else:
        assert answer.content_type == "application/problem+json"
        assert told["errors"] and set(told["errors"][0]) == {"path", "problem", "hint"}


@pytest.mark.parametrize(("method", "path", "kind"), ENTRIES, ids=[f"{m} {p}" for m, p, _ in ENTRIES])
def test_bad_bodies_are_refused_clearly_and_leave_nothing(town: Town, method: str, path: str, kind: str) -> None:
    caller = town.mercy if path.startswith("/fhir") else town.admin
    before = town.admin.get("/fhir/_history").get_data()
    for name, content in BODIES.items():
        if (path, name) in NO_CHANGE:
            continue
        answer = caller.open(method, path.format(anna=town.anna), content, Content_Type=kind)
        if "$validate" in path and answer.status_code == 200:
            assert any(i["severity"] == "error" for i in body(answer)["issue"]), name
        elif b'"batch-response"' in answer.get_data():  # each entry is answered by itself
            assert {e["response"]["status"][:1] for e in body(answer)["entry"]} == {"4"}, name
        else:
            _clear(answer, path, name)
    assert town.admin.get("/fhir/_history").get_data() == before


NO_CHANGE = {("/fhir/Patient/{anna}", "a list"), ("/partners/mercy", "no type")}
"""Nothing to do, and that is done."""


@pytest.mark.parametrize(("method", "path", "kind"), ENTRIES[:5], ids=[f"{m} {p}" for m, p, _ in ENTRIES[:5]])
def test_lenient_keeps_what_is_a_resource_and_refuses_the_rest(town: Town, method: str, path: str, kind: str) -> None:
    for name, content in BODIES.items():
        answer = town.mercy.open(method, path, content, Content_Type=kind, Prefer="handling=lenient")
        if answer.status_code in (200, 201):
            assert body(answer)["resourceType"] in ("Bundle", "Goal", "Patient"), name
        else:
            _clear(answer, path, name)
    kept = body(town.admin.get("/fhir/Goal?_summary=count"))["total"] + body(town.admin.get("/fhir/Patient?_summary=count"))["total"] - 2
    held = [r for r in body(town.manager.get("/reviews?kind=invalid"))["items"] if r["subject"]]
    assert len(held) == kept


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/xml",
        "application/fhir+xml",
        "application/fhir+json; charset=latin-1",
        "application/fhir+json; fhirVersion=5.0",
        "x" * 300,
        "application/x-www-form-urlencoded",
    ],
)
@pytest.mark.parametrize("path", ["/fhir", "/fhir/Goal", "/fhir/Goal/$validate", "/partners", "/keys"])
def test_wrong_content_types_are_415(town: Town, path: str, kind: str) -> None:
    caller = town.mercy if path.startswith("/fhir") else town.admin
    if not path.startswith("/fhir") and kind.startswith("application/fhir+json"):
        return
    answer = caller.post(path, b"{}", Content_Type=kind)
    assert answer.status_code == 415
    _clear(answer, path)


QUERIES = [
    "_count=-1", "_count=x", "_count=99999999999999999999", "_lastUpdated=nonsense", "_lastUpdated=ge0000", "_lastUpdated=ge9999-12-31",
    "_lastUpdated=lt10000-01-01T00:00:00Z", "_sort=colour", "_include=x", "_include=Goal:colour", "_revinclude=:::",
    "_cursor=nonsense", "_cursor=%FF",
    "patient=%00", "patient=" + "x" * 5_000, "identifier=|", "identifier=%ED%A0%80", "identifier=a%00b|c", "target-date=ge",
    "target-date=2026-13-40",
    "lifecycle-status:colour=x", "patient:Colour=1", "_id=" + ",".join("x" * 3 for _ in range(500)), "a=1&" * 200, "_total=x",
    "_summary=x", "_elements=..",
    "patient.name=x", "_has:Goal:patient:x=1", "_filter=x", "_at=x",
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=[q[:40] for q in QUERIES])
def test_bad_queries_never_break_the_hub(town: Town, query: str) -> None:
    for path in (
        "/fhir/Goal",
        "/fhir/_history",
        "/fhir/Patient/_history",
        f"/fhir/Patient/{town.anna}/_history",
        f"/fhir/Patient/{town.anna}/$everything",
    ):
        answer = town.mercy.get(f"{path}?{query}")
        assert answer.status_code in (200, 400, 404, 422), (path, answer.get_data(as_text=True)[:300])
        if answer.status_code != 200:
            _clear(answer, path)


PATHS = [
    ("GET", "/fhir/Colour"), ("GET", "/fhir/Colour/1"), ("GET", "/fhir/goal"), ("GET", "/fhir/Goal/none"),
    ("GET", "/fhir/Goal/" + "x" * 65),
    ("GET", "/fhir/Goal/a%00b"), ("GET", "/fhir/Goal/a%2Fb"), ("GET", "/fhir/Goal/%FF"), ("GET", "/fhir/Goal/none/_history"),
    ("GET", "/fhir/Goal/none/_history/1"), ("GET", "/fhir/Patient/x/_history/0"), ("GET", "/fhir/Patient/x/_history/99999999999999999999"),
    ("GET", "/fhir/Goal/$colour"), ("POST", "/fhir/$colour"), ("GET", "/fhir/Goal/1/2/3/4"), ("GET", "/fhir//Goal"), ("GET", "/colour"),
    ("GET", "/"),
    ("GET", "/partners/none"), ("GET", "/reviews/none"), ("DELETE", "/keys/none"), ("GET", "/fhir/Patient/none/$everything"),
    ("GET", "/fhir/Patient/x/Colour"), ("POST", "/reviews/none/settle"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), PATHS, ids=[f"{m} {p[:40]}" for m, p in PATHS])
def test_unknown_places_are_404(town: Town, method: str, path: str) -> None:
    answer = town.admin.open(method, path, {"a": 1} if method == "POST" else None)
    assert answer.status_code == 404
    _clear(answer, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/fhir/Goal/_search"),
        ("DELETE", "/fhir/_history"),
        ("POST", "/fhir/Goal/x"),
        ("DELETE", "/fhir"),
        ("PUT", "/healthz"),
        ("POST", "/audit"),
    ],
)
def test_unknown_methods_are_405_with_allow(town: Town, method: str, path: str) -> None:
    answer = town.admin.open(method, path)
    assert answer.status_code == 405
    assert answer.headers["Allow"]
    if path != "/healthz":
        _clear(answer, path)


def test_xml_is_refused_clearly(town: Town) -> None:
    for ask in (
        {"Accept": "application/fhir+xml"},
        {"Accept": "application/fhir+json;q=0"},
        {"Accept": "application/fhir+json; fhirVersion=5.0"},
    ):
        answer = town.mercy.get(f"/fhir/Patient/{town.anna}", **ask)
        assert answer.status_code == 406
        _clear(answer, "/fhir")
    assert town.mercy.get(f"/fhir/Patient/{town.anna}?_format=xml").status_code == 406
    for taken in ("application/json", "*/*", "application/fhir+json; fhirVersion=4.0", "text/html, */*;q=0.1"):
        assert town.mercy.get(f"/fhir/Patient/{town.anna}", Accept=taken).status_code == 200
    assert town.mercy.get(f"/fhir/Patient/{town.anna}?_format=json", Accept="text/html").status_code == 200


@pytest.mark.parametrize("path", ["/fhir", "/fhir/Goal", "/fhir/Bundle", "/partners"])
def test_bodies_above_the_limit_are_413(town: Town, path: str) -> None:
    kind = FHIR if path.startswith("/fhir") else "application/json"
    answer = town.admin.post(path, b'{"resourceType":"' + b" " * 20_000_001 + b'"}', Content_Type=kind)
    assert answer.status_code == 413
    _clear(answer, path)
    if path in ("/fhir/Goal", "/partners"):
        assert town.admin.post(path, b'{"resourceType":"' + b" " * 5_000_001 + b'"}', Content_Type=kind).status_code == 413


def test_too_many_entries_are_413(town: Town) -> None:
    entry = {"request": {"method": "GET", "url": "Goal/x"}}
    answer = town.mercy.post("/fhir", {"resourceType": "Bundle", "type": "batch", "entry": [entry] * 2_001})
    assert answer.status_code == 413


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", "Bearer ", "Bearer wrong", "Bearer \x7f", "bearer fck_x"])
def test_without_a_good_key_it_is_401_everywhere(town: Town, header: str) -> None:
    nobody = Api(town.app, "")
    for method, path in (
        ("GET", "/fhir/Patient"),
        ("POST", "/fhir"),
        ("GET", "/partners"),
        ("GET", "/colour"),
        ("GET", "/fhir/colour/x/y/z"),
    ):
        answer = nobody.open(method, path, **({"Authorization": header} if header else {}))
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        _clear(answer, path)


def test_a_defect_of_ours_tells_nothing(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Aarden was here")

    monkeypatch.setattr("fhircase.flows.interact.read", broken)
    answer = town.mercy.get(f"/fhir/Patient/{town.anna}")
    assert answer.status_code == 500
    assert b"Aarden" not in answer.get_data()
    assert body(answer)["resourceType"] == "OperationOutcome"


MANY = b"{" + b",".join(b'"k%d":1' % number for number in range(50_000)) + b"}"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/partners"), ("PATCH", "/partners/mercy"), ("POST", "/keys"), ("POST", "/webhooks/endpoints"), ("POST", "/fhir/Goal")],
)
def test_of_very_many_mistakes_only_some_are_told(town: Town, method: str, path: str) -> None:
    answer = town.admin.open(method, path, MANY, Content_Type=FHIR if path.startswith("/fhir") else "application/json")
    _clear(answer, path)
    if not path.startswith("/fhir"):
        assert len(body(answer)["errors"]) <= 205


def test_a_body_that_breaks_off_is_the_senders_fault(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn finds bad chunks only while the body is read."""
    from gunicorn.http.errors import InvalidChunkSize

    def broken(*_: object, **__: object) -> None:
        raise InvalidChunkSize(b"Aarden")

    monkeypatch.setattr("fhircase.fhir.jsontext.loads", broken)
    for path in ("/fhir/Goal", "/partners"):
        answer = town.admin.post(path, b"{}", Content_Type=FHIR if path == "/fhir/Goal" else "application/json")
        assert answer.status_code == 400
        _clear(answer, path)
        assert b"Aarden" not in answer.get_data()


def test_every_message_is_counted_by_its_answer(town: Town) -> None:
    counted: list[tuple[str, str, str, int]] = []
    object.__setattr__(town.hub, "tally", lambda *what: counted.append(what))
    town.mercy.post("/intake/hl7v2", b"nonsense", Content_Type="application/hl7-v2")
    assert counted == [("intake", "hl7v2", "AR", 1)]
