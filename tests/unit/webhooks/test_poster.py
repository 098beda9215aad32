from __future__ import annotations

import pytest
import requests
import responses

from fhircase.partners.egress import guarded_session
from fhircase.partners.poster import WebhookPoster
from fhircase.ports import PartnerDown
from tests.conftest import FrozenClock

URL = "https://rehab.example/hooks"


def poster() -> WebhookPoster:
    return WebhookPoster(requests.Session, FrozenClock())


@responses.activate
def test_the_body_is_posted_as_it_is_with_its_headers() -> None:
    responses.post(URL, status=204)
    reply = poster().post(URL, b'{"a":1.50}', {"webhook-id": "w1"})
    sent = responses.calls[0].request
    assert (reply.status, sent.body) == (204, b'{"a":1.50}')
    assert (sent.headers["webhook-id"], sent.headers["Content-Type"]) == ("w1", "application/json")


@responses.activate
def test_redirects_are_answered_and_not_followed() -> None:
    responses.post(URL, status=307, headers={"Location": "http://169.254.169.254/"})
    assert poster().post(URL, b"{}", {}).status == 307
    assert len(responses.calls) == 1


@responses.activate
@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120.0), ("Sun, 22 Nov 2026 05:25:38 GMT", 59.877), ("Sun, 22 Nov 2020 05:25:38 GMT", 0.0), ("soon", None), ("-1", None)],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str, seconds: float | None) -> None:
    responses.post(URL, status=429, headers={"Retry-After": header})
    assert poster().post(URL, b"{}", {}).retry_after == seconds


@responses.activate
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (requests.ConnectTimeout("secret detail"), "no answer within 15 seconds"),
        (requests.ReadTimeout("secret detail"), "no answer within 15 seconds"),
        (requests.ConnectionError("secret detail"), "no connection"),
        (requests.exceptions.SSLError("secret detail"), "TLS failed"),
        (requests.exceptions.InvalidURL("secret detail"), "the address cannot be used"),
    ],
)
def test_silence_is_told_in_our_own_words(fault: Exception, reason: str) -> None:
    responses.post(URL, body=fault)
    with pytest.raises(PartnerDown) as caught:
        poster().post(URL, b"{}", {})
    assert caught.value.reason == reason


def test_an_address_that_is_none_is_not_a_crash() -> None:
    with pytest.raises(PartnerDown):
        poster().post("https://", b"{}", {})


@responses.activate
def test_cookies_of_a_receiver_are_not_taken() -> None:
    responses.post(URL, status=200, headers={"Set-Cookie": "a=b"})
    one = poster()
    one.post(URL, b"{}", {})
    one.post(URL, b"{}", {})
    assert "Cookie" not in responses.calls[1].request.headers


def test_the_environments_proxies_are_not_used() -> None:
    assert poster()._session.trust_env is False


def test_the_guard_is_told_apart_from_the_network() -> None:
    guarded = WebhookPoster(guarded_session, FrozenClock())
    with pytest.raises(PartnerDown) as caught:
        guarded.post("http://127.0.0.1:1/", b"{}", {})
    assert caught.value.reason == "the address may not be reached"
    allowed = WebhookPoster(lambda: guarded_session(["127.0.0.0/8"]), FrozenClock())
    with pytest.raises(PartnerDown) as caught:
        allowed.post("http://127.0.0.1:1/", b"{}", {})
    assert caught.value.reason == "no connection"
