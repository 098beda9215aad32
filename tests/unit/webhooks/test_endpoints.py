from __future__ import annotations

import base64
from typing import Any

import pytest

from fhircase.errors import Conflict, FhircaseError, Forbidden, Invalid, NotFound
from fhircase.flows import endpoints
from tests.unit.webhooks.support import NOW, endpoint, event, hub_with, principal, queue

URL = {"url": "https://rehab.example/hooks"}


def random_bytes(count: int) -> bytes:
    return bytes(range(count))


def test_a_new_endpoint_shows_its_secret_once_and_keeps_it_sealed() -> None:
    hub, tx, _ = hub_with()
    made, secret = endpoints.create(hub, principal(), URL, random_bytes)
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert tx.outbox.kept[made.id].secrets == ("sealed:" + secret,)
    assert (made.partner, made.thin, made.fifo, made.events, made.created) == ("rehab", True, True, (), NOW)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({}, "/url"),
        ({"url": "ftp://rehab.example/"}, "/url"),
        ({"url": "https://"}, "/url"),
        ({"url": "https://user:pw@rehab.example/"}, "/url"),
        ({"url": "https://rehab.example/#x"}, "/url"),
        ({"url": "https://rehab.example:99999/"}, "/url"),
        ({"url": "https://rehab.example/\n"}, "/url"),
        ({"url": 7}, "/url"),
        ({**URL, "thin": "no"}, "/thin"),
        ({**URL, "events": "goal.created"}, "/events"),
        ({**URL, "events": ["goal.changed"]}, "/events/0"),
        ({**URL, "clients": [1]}, "/clients"),
        ({**URL, "secret": "mine"}, "/secret"),
        ({"url": "http://rehab.example/", "thin": False}, "/url"),
    ],
)
def test_a_wrong_endpoint_is_refused_with_its_place(asked: dict[str, Any], path: str) -> None:
    hub, tx, _ = hub_with()
    with pytest.raises(Invalid) as caught:
        endpoints.create(hub, principal(), asked, random_bytes)
    assert [problem.path for problem in caught.value.problems] == [path]
    assert tx.outbox.kept == {}


def test_every_problem_is_told_at_once() -> None:
    hub, _, _ = hub_with()
    with pytest.raises(Invalid) as caught:
        endpoints.create(hub, principal(), {"thin": 1, "fifo": 0, "nonsense": 1}, random_bytes)
    assert {problem.path for problem in caught.value.problems} == {"/url", "/thin", "/fifo", "/nonsense"}


def test_full_bodies_may_go_over_plain_http_to_this_machine_only() -> None:
    hub, _, _ = hub_with()
    made, _ = endpoints.create(hub, principal(), {"url": "http://127.0.0.1:9000/", "thin": False}, random_bytes)
    assert not made.thin


def test_scopes_narrow_the_events_that_an_endpoint_gets() -> None:
    hub, _, _ = hub_with()
    made, _ = endpoints.create(hub, principal("rehab", "system/Goal.rs"), URL, random_bytes)
    assert "goal.created" in made.events
    assert "case.granted" in made.events
    assert not {"careplan.created", "case.opened", "resource.created"} & set(made.events)


def test_events_beyond_the_scopes_are_refused_by_the_scope_that_is_missing() -> None:
    hub, _, _ = hub_with()
    with pytest.raises(Forbidden) as caught:
        endpoints.create(hub, principal("rehab", "system/Goal.rs"), {**URL, "events": ["goal.*", "handover.*"]}, random_bytes)
    assert caught.value.problems[0].what == "scopes are missing: system/Task.r"


def test_a_partner_makes_endpoints_for_itself_alone_and_the_hub_for_any() -> None:
    hub, _, _ = hub_with()
    with pytest.raises(Forbidden):
        endpoints.create(hub, principal(), {**URL, "partner": "homecare"}, random_bytes)
    made, _ = endpoints.create(hub, principal("hub"), {**URL, "partner": "homecare"}, random_bytes)
    assert made.partner == "homecare"
    with pytest.raises(Invalid):
        endpoints.create(hub, principal("hub"), {**URL, "partner": "nobody"}, random_bytes)


def test_foreign_and_absent_endpoints_are_answered_alike_by_every_function() -> None:
    hub, tx, _ = hub_with()
    queue(tx, event(1), to=endpoint(partner="homecare"))
    rehab = principal()
    for id in ("e1", "nothing"):
        for ask in (
            lambda id: endpoints.find(hub, rehab, id),
            lambda id: endpoints.change(hub, rehab, id, {"thin": True}),
            lambda id: endpoints.rotate(hub, rehab, id, random_bytes),
            lambda id: endpoints.remove(hub, rehab, id),
            lambda id: endpoints.enable(hub, rehab, id),
            lambda id: endpoints.disable(hub, rehab, id),
            lambda id: endpoints.test(hub, rehab, id),
            lambda id: endpoints.deliveries(hub, rehab, id),
            lambda id: endpoints.resend(hub, rehab, id, delivery=1),
        ):
            with pytest.raises(NotFound) as caught:
                ask(id)
            assert caught.value.problems[0].what == "no such endpoint"
    assert endpoints.all_of(hub, rehab) == []
    assert [e.id for e in endpoints.all_of(hub, principal("hub"))] == ["e1"]


def test_rotating_keeps_the_older_secret_for_a_day_and_a_leaked_one_not_at_all() -> None:
    hub, tx, _ = hub_with()
    made, first = endpoints.create(hub, principal(), URL, random_bytes)
    rotated, second = endpoints.rotate(hub, principal(), made.id, lambda n: b"x" * n)
    assert tx.outbox.kept[made.id].secrets == ("sealed:" + second, "sealed:" + first)
    assert rotated.old_until == NOW + 86_400_000
    leaked, third = endpoints.rotate(hub, principal(), made.id, lambda n: b"y" * n, keep_ms=0)
    assert leaked.secrets == ("sealed:" + third,)
    assert leaked.old_until is None


def test_changing_keeps_what_is_left_out() -> None:
    hub, tx, _ = hub_with()
    made, _ = endpoints.create(hub, principal(), {**URL, "events": ["goal.*"], "clients": ["Patient/c1"]}, random_bytes)
    changed = endpoints.change(hub, principal(), made.id, {"fifo": False})
    assert (changed.fifo, changed.events, changed.clients, changed.url) == (False, made.events, ("c1",), made.url)
    with pytest.raises(Invalid):
        endpoints.change(hub, principal(), made.id, {"partner": "homecare"})


def test_a_test_event_goes_to_its_endpoint_alone() -> None:
    hub, tx, _ = hub_with()
    queue(tx, to=endpoint())
    told = endpoints.test(hub, principal(), "e1")
    assert tx.outbox.emitted == [(told, "e1")]
    assert (told.type, tx.outbox.woken) == ("endpoint.test", 1)


def test_a_disabled_endpoint_is_tested_and_resent_to_only_after_enabling() -> None:
    hub, tx, _ = hub_with()
    queue(tx, event(1), to=endpoint(disabled="the endpoint answered 410 Gone"))
    for ask in (lambda: endpoints.test(hub, principal(), "e1"), lambda: endpoints.resend(hub, principal(), "e1", delivery=1)):
        with pytest.raises(Conflict):
            ask()
    tx.outbox._set(1, state="dead")
    enabled, again = endpoints.enable(hub, principal(), "e1", since=0)
    assert (enabled.disabled, again, tx.outbox.states()) == (None, 1, ["ready"])


def test_the_log_hides_from_its_owner_what_was_dropped_and_blanks_what_it_may_no_longer_see() -> None:
    hub, tx, _ = hub_with()
    queue(tx, event(1))
    queue(tx, event(2), event(3), event(4), visible=False)
    tx.outbox._set(2, state="delivered")
    tx.outbox._set(3, state="dropped")
    shown, _ = endpoints.deliveries(hub, principal(), "e1")
    assert [(item.delivery.id, item.data is None) for item in shown] == [(1, False), (2, True)]
    everything, _ = endpoints.deliveries(hub, principal("hub"), "e1")
    assert [item.delivery.id for item in everything] == [1, 2, 3, 4]


def test_polled_events_are_those_that_an_endpoint_would_get() -> None:
    hub, tx, _ = hub_with()
    queue(tx, event(1))
    queue(tx, event(2), visible=False)
    assert [found.id for found in endpoints.happened(hub, principal())[0]] == ["w1"]
    assert [found.id for found in endpoints.happened(hub, principal("rehab", "system/Task.rs"))[0]] == []
    assert [found.id for found in endpoints.happened(hub, principal("hub"))[0]] == ["w1", "w2"]


@pytest.mark.parametrize("asked", [{}, {"delivery": 1, "since": 0}])
def test_resending_asks_for_one_or_for_a_range(asked: dict[str, int]) -> None:
    hub, tx, _ = hub_with()
    queue(tx, event(1))
    with pytest.raises(FhircaseError):
        endpoints.resend(hub, principal(), "e1", **asked)
