"""``/intake``: the ACK of every message, who may post and see it, and what is kept."""

from __future__ import annotations

import gzip
import socket
from dataclasses import replace
from typing import Any

import pytest

from fhircase.flows import take_in
from fhircase.hl7v2 import parse
from fhircase.mapping import Mappings
from fhircase.mllp import Decoder, Listener, Peer, Peers, frame
from fhircase.plans.change import Agent
from tests.api.conftest import Api, Town, body

ER7 = "application/hl7-v2"
REFUSED = b"MSH|^~\\&|ADT|MERCY|HUB|NET|20261120143005-0500||ADT^A99|M1|P|2.5.1\rPID|1||\xc3\x91\r"


def send(caller: Api, raw: bytes, media: str = ER7, path: str = "/intake/hl7v2", **headers: str) -> Any:
    return caller.post(path, raw, Content_Type=media, **headers)


def listed(caller: Api, query: str = "") -> list[dict[str, Any]]:
    answer = caller.get(f"/intake/messages{query}")
    assert answer.status_code == 200
    items: list[dict[str, Any]] = body(answer)["items"]
    return items


@pytest.mark.parametrize(
    "media", [ER7, "x-application/hl7-v2+er7", "text/plain", "application/octet-stream", "application/hl7-v2; charset=utf-8"]
)
def test_a_refusal_is_an_ack_in_the_media_type_of_the_message(town: Town, media: str) -> None:
    answer = send(town.mercy, REFUSED, media)
    assert answer.status_code == 400
    assert answer.mimetype == media.partition(";")[0]
    ack = parse(answer.data)
    assert (ack.get("MSA-1"), ack.get("MSA-2"), ack.get("ERR-3.1"), ack.get("ERR-2")) == ("AR", "M1", "201", "MSH")


def test_the_same_message_gets_the_same_answer_and_is_kept_once(town: Town) -> None:
    first, second = send(town.mercy, REFUSED), send(town.mercy, REFUSED)
    assert first.data == second.data
    assert first.headers["X-Message-Id"] == second.headers["X-Message-Id"]
    assert len(listed(town.mercy)) == 1


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"", "MSH"),
        (b"garbage", "MSH"),
        (b"\x00\x01\x02\x03", "MSH"),
        (b"MSH|", "MSH"),
        (b"MSH|^~\\&|ADT|MERCY", "MSH"),
        (REFUSED.replace(b"A99", b"A01") + b"OBX|\x00\r", "OBX"),
        (REFUSED.replace(b"A99", b"A01").replace(b"M1", b""), "MSH"),
        (REFUSED.replace(b"A99", b"A01") + b"OBX|1\r" * 2_500, "OBX"),
        (REFUSED.replace(b"2.5.1\r", b"2.5.1||||||UNICODE UTF-8\r").replace(b"\xc3\x91", b"\xd1"), "MSH"),
    ],
    ids=["empty", "garbage", "binary", "stump", "truncated", "nul", "no control id", "2500 segments", "wrong charset"],
)
def test_what_cannot_be_taken_is_answered_with_its_place_and_kept(town: Town, raw: bytes, place: str) -> None:
    answer = send(town.mercy, raw)
    assert answer.status_code == 400
    ack = parse(answer.data)
    assert (ack.get("MSA-1"), ack.get("ERR-2")) == ("AR", place)
    (kept,) = listed(town.mercy)
    assert (kept["state"], kept["code"], kept["size"]) == ("rejected", "AR", len(raw))
    assert kept["problems"][0]["problem"]
    assert town.mercy.get(f"/intake/messages/{kept['id']}/raw").data == raw


@pytest.mark.parametrize("media", ["application/json", "application/xml", "multipart/form-data", ""])
def test_other_media_types_are_refused_as_a_problem(town: Town, media: str) -> None:
    answer = send(town.mercy, REFUSED, media)
    assert answer.status_code == 415
    assert answer.mimetype == "application/problem+json"
    assert body(answer)["errors"][0]["path"] == "Content-Type"
    assert listed(town.mercy) == []


def test_an_encoded_body_is_refused(town: Town) -> None:
    assert send(town.mercy, gzip.compress(REFUSED), Content_Encoding="gzip").status_code == 415


def test_without_a_key_nothing_is_taken(town: Town) -> None:
    assert send(Api(town.app, ""), REFUSED).status_code == 401


def test_a_body_above_the_limit_is_refused_and_its_digest_and_head_are_kept(town: Town) -> None:
    raw = REFUSED + b"OBX|1|TX|" + b"x" * 6_000_000
    for _ in range(2):
        answer = send(town.mercy, raw)
        assert answer.status_code == 413
        assert answer.mimetype == "application/problem+json"
    (kept,) = listed(town.mercy)
    assert (kept["state"], kept["size"], len(kept["digest"])) == ("rejected", None, 64)
    assert body(answer)["errors"][0]["path"] == f"/intake/messages/{kept['id']}"
    assert town.mercy.get(f"/intake/messages/{kept['id']}/raw").status_code == 404
    assert town.manager.post(f"/intake/messages/{kept['id']}/replay", {}).status_code == 409


def test_twenty_megabytes_are_refused_alike(town: Town) -> None:
    assert send(town.mercy, REFUSED + b"x" * 25_000_000).status_code == 413
    assert len(listed(town.mercy)) == 1


# ------------------------------------------------------------------------------------------------ whose


def test_a_partner_posts_for_itself_alone(town: Town) -> None:
    assert send(town.mercy, REFUSED, path="/intake/hl7v2?partner=mercy").status_code == 400
    answer = send(town.mercy, REFUSED, path="/intake/hl7v2?partner=riverside")
    assert answer.status_code == 403
    assert answer.mimetype == "application/problem+json"


def test_an_administrator_names_the_sender(town: Town) -> None:
    assert send(town.admin, REFUSED, path="/intake/hl7v2?partner=riverside").status_code == 400
    assert [message["partner"] for message in listed(town.riverside)] == ["riverside"]
    for path in ("/intake/hl7v2", "/intake/hl7v2?partner=nobody"):
        answer = send(town.admin, REFUSED, path=path)
        assert answer.status_code == 422
        assert body(answer)["errors"][0]["path"] == "partner"


def test_an_administrator_need_not_name_a_sender_that_msh_3_and_4_name(town: Town) -> None:
    senders = [{"application": "ADT", "facility": "MERCY"}]
    assert town.admin.open("PATCH", "/partners/mercy", {"senders": senders}, Content_Type="application/merge-patch+json").status_code == 200
    assert send(town.admin, REFUSED).status_code == 400
    assert [message["partner"] for message in listed(town.mercy)] == ["mercy"]


def test_a_partner_sees_its_own_messages_and_the_hubs_people_all(town: Town) -> None:
    send(town.mercy, REFUSED)
    send(town.riverside, REFUSED)
    assert [message["partner"] for message in listed(town.mercy)] == ["mercy"]
    assert listed(town.mercy, "?partner=riverside") == []
    assert {message["partner"] for message in listed(town.manager)} == {"mercy", "riverside"}
    assert [message["partner"] for message in listed(town.manager, "?partner=riverside")] == ["riverside"]
    (theirs,) = listed(town.riverside)
    for path in (f"/intake/messages/{theirs['id']}", f"/intake/messages/{theirs['id']}/raw", "/intake/messages/none"):
        answer = town.mercy.get(path)
        assert answer.status_code == 404
    assert town.manager.get(f"/intake/messages/{theirs['id']}").status_code == 200


def test_the_bytes_need_a_scope_of_their_own(town: Town) -> None:
    send(town.mercy, REFUSED)
    (message,) = listed(town.mercy)
    reader = town.key("mercy", "system/Bundle.rs")
    assert reader.get(f"/intake/messages/{message['id']}").status_code == 200
    assert reader.get(f"/intake/messages/{message['id']}/raw").status_code == 403
    raw = town.key("mercy", "system/Bundle.r", "system/Binary.r").get(f"/intake/messages/{message['id']}/raw")
    assert (raw.status_code, raw.data, raw.mimetype) == (200, REFUSED, ER7)
    assert raw.headers["Cache-Control"] == "no-store"
    assert send(reader, REFUSED).status_code == 403
    assert town.key("mercy", "system/CarePlan.rs").get("/intake/messages").status_code == 403


def test_only_the_hubs_people_replay(town: Town) -> None:
    send(town.mercy, REFUSED)
    (message,) = listed(town.mercy)
    assert town.mercy.post(f"/intake/messages/{message['id']}/replay", {}).status_code == 403
    again = town.manager.post(f"/intake/messages/{message['id']}/replay", {})
    assert again.status_code == 200
    assert (body(again)["replays"], body(again)["code"]) == (1, "AR")
    assert body(again)["answer"] == message["answer"]
    assert town.manager.post("/intake/messages/none/replay", {}).status_code == 404


# ------------------------------------------------------------------------------------------------ the list


def test_the_list_is_filtered_and_paged(town: Town) -> None:
    for number in range(3):
        send(town.mercy, REFUSED.replace(b"M1", b"M%d" % number))
        town.clock.tick(seconds=60)
    assert [message["control_id"] for message in listed(town.mercy)] == ["M2", "M1", "M0"]
    assert [message["control_id"] for message in listed(town.mercy, "?control_id=M1")] == ["M1"]
    assert listed(town.mercy, "?state=applied") == []
    assert len(listed(town.mercy, "?state=rejected")) == 3
    assert [message["control_id"] for message in listed(town.mercy, "?until=2026-11-22T05:24:59Z")] == ["M0"]
    assert [message["control_id"] for message in listed(town.mercy, "?since=2026-11-22T05:26:00Z")] == ["M2"]
    assert listed(town.mercy, "?client=Patient/none") == []
    first = body(town.mercy.get("/intake/messages?count=2"))
    rest = body(town.mercy.get(f"/intake/messages?count=2&next={first['next']}"))
    assert [message["control_id"] for message in first["items"] + rest["items"]] == ["M2", "M1", "M0"]
    assert rest["next"] is None


@pytest.mark.parametrize("query", ["state=open", "count=many", "since=yesterday", "until=2026-13-01"])
def test_filters_that_mean_nothing_are_refused_with_their_name(town: Town, query: str) -> None:
    answer = town.mercy.get(f"/intake/messages?{query}")
    assert answer.status_code == 400
    assert body(answer)["errors"][0]["path"] == query.partition("=")[0]


def test_reading_a_message_is_audited(town: Town) -> None:
    send(town.mercy, REFUSED)
    (message,) = listed(town.mercy)
    town.mercy.get(f"/intake/messages/{message['id']}/raw")
    town.services.audit.flush(town.hub.store)
    with town.hub.store.read() as tx:
        entries, _ = tx.audit.list(partner="mercy")
    assert "message-raw" in [entry.interaction for _, entry in entries]


# ------------------------------------------------------------------------------------------------ $process-message


def test_a_fhir_message_that_is_refused_is_answered_with_an_outcome_and_kept(town: Town) -> None:
    pdr = {
        "resourceType": "Bundle",
        "id": "b-9",
        "type": "message",
        "entry": [{"resource": {"resourceType": "MessageHeader", "eventUri": "urn:x"}}],
    }
    answer = town.mercy.post("/fhir/$process-message", pdr, Content_Type="application/fhir+json")
    assert answer.status_code == 400
    assert answer.mimetype == "application/fhir+json"
    outcome = body(answer)
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["code"] == "not-supported"
    assert outcome["issue"][0]["expression"] == ["Bundle.entry[0].resource.event.ofType(uri)"]
    (kept,) = listed(town.mercy)
    assert (kept["kind"], kept["control_id"], kept["state"]) == ("message", "b-9", "rejected")


@pytest.mark.parametrize(
    "raw", [b"{", b"[" * 100_000, b'{"a": 1, "a": 2}', b'{"x": "\\ud800"}', b'{"x": "\\u0000"}', b"9" * 5_000, b"\xff"]
)
def test_a_body_that_is_not_json_is_refused_and_kept(town: Town, raw: bytes) -> None:
    answer = town.mercy.post("/fhir/$process-message", raw, Content_Type="application/fhir+json")
    assert answer.status_code == 400
    assert body(answer)["resourceType"] == "OperationOutcome"
    assert len(listed(town.mercy)) == 1


def test_a_fhir_message_in_another_media_type_is_refused(town: Town) -> None:
    answer = town.mercy.post("/fhir/$process-message", b"<Bundle/>", Content_Type="application/fhir+xml")
    assert answer.status_code == 415
    assert body(answer)["resourceType"] == "OperationOutcome"


# ------------------------------------------------------------------------------------------------ what is applied


@pytest.fixture(scope="module")
def maps() -> Mappings:
    return Mappings.load()


@pytest.fixture
def applying(town: Town, maps: Mappings) -> Town:
    """The town with the project's own mappings."""
    hub = replace(town.hub, maps=maps)
    town.app.extensions["fhircase"] = town.hub = hub
    return town


def adt(event: str, control: str, tail: str = "") -> bytes:
    lines = (
        f"MSH|^~\\&|ADT|MERCY|HUB|NET|20261120143005-0500||ADT^{event}|{control}|P|2.5.1{tail}",
        "EVN||20261120143000-0500||||20261120142500-0500",
        "PID|1||MRN1^^^MERCY^MR||DOE^JANE||19560304|F",
        "PV1|1|I|4E^401^B||||||||||||||||V1^^^MERCY^VN|||||||||||||||||62",
    )
    return "\r".join((*lines, "")).encode()


def test_a_discharge_is_accepted_and_listed_with_what_it_became(applying: Town) -> None:
    answer = send(applying.mercy, adt("A03", "M9"))
    assert answer.status_code == 200
    assert (parse(answer.data).get("MSA-1"), parse(answer.data).get("MSA-2")) == ("AA", "M9")
    (message,) = listed(applying.mercy, "?control_id=M9")
    kinds = {reference.partition("/")[0] for reference in message["became"]}
    assert {"Patient", "Encounter", "EpisodeOfCare", "CarePlan", "Task"} <= kinds
    assert (message["event"], message["code"]) == ("A03", "AA")
    assert listed(applying.mercy, f"?client=Patient/{message['client']}") == [message]
    for reference in message["became"]:
        assert applying.manager.get(f"/fhir/{reference}").status_code == 200
    assert [one["id"] for one in listed(applying.riverside)] == []


def test_the_same_discharge_again_changes_nothing(applying: Town) -> None:
    first = send(applying.mercy, adt("A03", "M9"))
    (before,) = listed(applying.mercy)
    versions = {one: body(applying.manager.get(f"/fhir/{one}"))["meta"]["versionId"] for one in before["became"]}
    assert send(applying.mercy, adt("A03", "M9")).data == first.data
    assert listed(applying.mercy) == [before]
    assert {one: body(applying.manager.get(f"/fhir/{one}"))["meta"]["versionId"] for one in before["became"]} == versions


def test_the_same_key_with_another_body_is_an_error_and_kept(applying: Town) -> None:
    assert send(applying.mercy, adt("A03", "M9")).status_code == 200
    answer = send(applying.mercy, adt("A03", "M9").replace(b"JANE", b"JOAN"))
    assert answer.status_code == 422
    ack = parse(answer.data)
    assert (ack.get("MSA-1"), ack.get("ERR-3.1")) == ("AE", "205")
    assert sorted(message["state"] for message in listed(applying.mercy))[-1] in ("kept", "review")
    assert [message["code"] for message in listed(applying.mercy, "?state=kept")] == ["AE"]


def test_over_http_there_is_an_ack_also_for_a_sender_that_wants_none(applying: Town) -> None:
    answer = send(applying.mercy, adt("A01", "M1", "|||NE|NE"))
    assert (answer.status_code, parse(answer.data).get("MSA-1")) == (200, "AA")


def test_a_message_on_a_socket_is_committed_before_it_is_answered(applying: Town) -> None:
    def handler(raw: bytes, peer: Peer) -> bytes:
        taken = take_in.take_in(applying.hub, peer.partner, "hl7v2", raw, ER7, agent=Agent(peer.partner))
        return taken.message.answer

    listener = Listener(("127.0.0.1", 0), handler, peers=Peers(default="mercy"))
    listener.start()
    try:
        with socket.create_connection(listener.address, timeout=10.0) as sender:
            sender.sendall(frame(adt("A01", "M1")) + frame(adt("A99", "M2")))
            decoder, answers = Decoder(100_000), []
            while len(answers) < 2:
                answers += decoder.feed(sender.recv(65_536))
                assert len(listed(applying.mercy)) >= len(answers)
    finally:
        assert listener.stop(10.0)
    assert [parse(answer).get("MSA-1") for answer in answers] == ["AA", "AR"]
    assert [message["control_id"] for message in listed(applying.mercy)] == ["M2", "M1"]
