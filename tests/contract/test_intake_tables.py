"""Messages that arrived, and what they told of visits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fhircase.errors import Conflict, Malformed
from fhircase.ports import Message, VisitEvent
from tests.contract.making import T


def message(id: str, **given: Any) -> Message:
    values: dict[str, Any] = {
        "partner": "mercy",
        "kind": "hl7v2",
        "key": f"key-{id}",
        "digest": "d",
        "received": T,
        "raw": b"MSH|\xff\x00\r",
        "head": b"MSH|",
        "content_type": "x-application/hl7-v2+er7",
        "control_id": f"c-{id}",
        "event": "A03",
        "state": "applied",
        "code": "AA",
        "answer": b"MSA|AA\r",
    }
    return Message(id=id, **{**values, **given})


def test_a_message_comes_back_byte_for_byte(store: Any) -> None:
    sent = message("m", became=("Patient/p", "Encounter/e"), problems=({"what": "odd", "path": "PV1-36.1"},), client="p", replays=2)
    with store.write() as tx:
        tx.inbox.add(sent)
    with store.read() as tx:
        assert tx.inbox.get("m") == sent
        assert tx.inbox.get("absent") is None
        assert tx.inbox.find("mercy", "key-m") == sent
        assert tx.inbox.find("rehab", "key-m") is None


def test_a_message_too_large_to_keep_has_its_head(store: Any) -> None:
    with store.write() as tx:
        tx.inbox.add(message("m", raw=None, head=b"MSH|^~\\&"))
    with store.read() as tx:
        assert (tx.inbox.get("m").raw, tx.inbox.get("m").head) == (None, b"MSH|^~\\&")


def test_rubbish_in_a_header_is_kept_where_it_can_be_looked_at(sql_store: Any) -> None:
    with sql_store.write() as tx:
        tx.inbox.add(message("m", control_id="a\x00b\ud800", key="k\x00", event="\udfff", problems=({"what": "a\x00\ud800"},)))
    with sql_store.read() as tx:
        kept = tx.inbox.find("mercy", "k\x00")
        assert kept.id == "m"
        assert kept.control_id.startswith("a\ufffdb")
        assert tx.inbox.list(control_id="a\x00b\ud800")[0] == [kept]


def test_an_update_replaces_by_id(store: Any) -> None:
    with store.write() as tx:
        tx.inbox.add(message("m"))
    with store.write() as tx:
        tx.inbox.update(replace(message("m"), state="replayed", code="AA", became=("Goal/g",), replays=1))
    with store.read() as tx:
        assert (tx.inbox.get("m").state, tx.inbox.get("m").replays, tx.inbox.get("m").became) == ("replayed", 1, ("Goal/g",))


def test_a_message_is_added_once_and_only_known_ones_change(sql_store: Any) -> None:
    with sql_store.write() as tx:
        tx.inbox.add(message("m"))
    with pytest.raises(Conflict), sql_store.write() as tx:
        tx.inbox.add(message("m"))
    with pytest.raises(LookupError), sql_store.write() as tx:
        tx.inbox.update(message("absent"))


def test_the_first_with_a_key_is_found(store: Any) -> None:
    with store.write() as tx:
        tx.inbox.add(message("a", key="k", received=T))
        tx.inbox.add(message("b", key="k", received=T + 1, digest="other"))
    with store.read() as tx:
        assert tx.inbox.find("mercy", "k").id == "a"


def test_the_list_is_newest_first_filtered_and_paged(sql_store: Any) -> None:
    with sql_store.write() as tx:
        for n in range(7):
            tx.inbox.add(
                message(
                    f"m{n}", partner="mercy" if n % 2 else "rehab", received=T + n, state="applied" if n < 5 else "kept", client=f"p{n % 3}"
                )
            )

    def ids(**filters: Any) -> list[str]:
        with sql_store.read() as tx:
            return [m.id for m in tx.inbox.list(**filters)[0]]

    assert ids() == ["m6", "m5", "m4", "m3", "m2", "m1", "m0"]
    assert ids(partner="mercy") == ["m5", "m3", "m1"]
    assert ids(state="kept") == ["m6", "m5"]
    assert ids(client="p0", partner="rehab") == ["m6", "m0"]
    assert ids(control_id="c-m3") == ["m3"]
    assert ids(since=T + 2, until=T + 4) == ["m3", "m2"]
    with sql_store.read() as tx:
        first, cursor = tx.inbox.list(partner="rehab", count=3)
        second, end = tx.inbox.list(partner="rehab", count=3, cursor=cursor)
        assert [m.id for m in (*first, *second)] == ["m6", "m4", "m2", "m0"]
        assert end is None
        with pytest.raises(Malformed):
            tx.inbox.list(partner="mercy", cursor=cursor)
        with pytest.raises(Malformed):
            tx.inbox.list(partner="rehab", cursor="AAAA")


def test_the_events_of_a_visit_keep_their_order_of_arrival(store: Any) -> None:
    with store.write() as tx:
        tx.inbox.add_event(VisitEvent("v", "m1", "A03", T + 9, 0, {"end": "2026-11-22T10:00:00.50Z"}))
        tx.inbox.add_event(VisitEvent("w", "m2", "A01", T, 0, {}))
        tx.inbox.add_event(VisitEvent("v", "m3", "A01", T, 0, {"start": "2026"}))
    with store.read() as tx:
        events = tx.inbox.events("v")
        assert [(e.message, e.event, e.at, e.facts) for e in events] == [
            ("m1", "A03", T + 9, {"end": "2026-11-22T10:00:00.50Z"}),
            ("m3", "A01", T, {"start": "2026"}),
        ]
        assert events[0].order < events[1].order
        assert list(tx.inbox.events("absent")) == []
