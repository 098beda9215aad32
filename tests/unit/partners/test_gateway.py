"""The gateway and its egress guard: nothing here opens a socket."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest
import requests
import responses

from fhircase.partners.egress import EgressRefused, GuardedAdapter, allowed, dial, literal_networks, networks_of
from fhircase.partners.gateway import HttpGateway, origin
from fhircase.ports import PartnerDown

BASE = "https://rehab.example/fhir"


def gateway(**how: Any) -> HttpGateway:
    return HttpGateway(BASE, GuardedAdapter(), timeout=5, **how)


@responses.activate
def test_a_resource_goes_out_and_comes_back_token_by_token() -> None:
    responses.post(
        f"{BASE}/Observation",
        body='{"resourceType":"Observation","id":"1","valueDecimal":72.50}',
        status=201,
        headers={"ETag": 'W/"1"', "Location": f"{BASE}/Observation/1/_history/1"},
        content_type="application/fhir+json",
    )
    from fhircase.fhir.jsontext import Number

    reply = gateway().request(
        "POST", "Observation", body={"resourceType": "Observation", "valueDecimal": Number("72.50")}, headers={"X-Request-Id": "c"}
    )
    asked = responses.calls[0].request
    assert asked.body == b'{"resourceType":"Observation","valueDecimal":72.50}'
    assert asked.headers["X-Request-Id"] == "c" and asked.headers["Content-Type"] == "application/fhir+json"
    assert (reply.status, reply.etag, reply.location) == (201, 'W/"1"', f"{BASE}/Observation/1/_history/1")
    assert reply.resource is not None and str(reply.resource["valueDecimal"]) == "72.50"


@responses.activate
def test_parameters_are_encoded() -> None:
    responses.get(f"{BASE}/Goal", json={"resourceType": "Bundle"})
    gateway().request("GET", "Goal", params=(("_lastUpdated", "ge2026-01-01T00:00:00+00:00"), ("patient", "Patient/1")))
    assert "%2B00%3A00" in str(responses.calls[0].request.url)


class Token:
    def __init__(self, *values: str) -> None:
        self.values = list(values)

    def value(self) -> str:
        return self.values[0]

    def renew(self) -> bool:
        return bool(len(self.values) > 1 and self.values.pop(0))


@responses.activate
def test_a_link_to_another_origin_gets_no_request_and_no_credential() -> None:
    for link in (
        "https://evil.example/fhir?page=2",
        "http://rehab.example/fhir?page=2",
        "https://rehab.example:8443/fhir",
        "https://rehab.example@evil.example/",
    ):
        with pytest.raises(PartnerDown, match="another origin"):
            gateway(authorization=Token("secret")).request("GET", link)
    assert len(responses.calls) == 0


@responses.activate
def test_a_next_link_of_the_same_origin_is_followed_as_it_is() -> None:
    responses.get(f"{BASE}", json={"resourceType": "Bundle"})
    reply = gateway().request("GET", f"{BASE}?_getpages=a%2Fb&_getpagesoffset=1")
    assert reply.status == 200 and str(responses.calls[0].request.url).endswith("?_getpages=a%2Fb&_getpagesoffset=1")


@responses.activate
def test_redirects_are_answers_and_not_followed() -> None:
    responses.get(f"{BASE}/Goal/1", status=302, headers={"Location": "https://evil.example/"})
    assert gateway().request("GET", "Goal/1").status == 302 and len(responses.calls) == 1


@responses.activate
def test_a_401_is_tried_once_more_with_a_renewed_credential() -> None:
    responses.get(f"{BASE}/Goal/1", status=401)
    responses.get(f"{BASE}/Goal/1", json={"resourceType": "Goal", "id": "1"})
    assert gateway(authorization=Token("Bearer old", "Bearer new")).request("GET", "Goal/1").status == 200
    assert [call.request.headers["Authorization"] for call in responses.calls] == ["Bearer old", "Bearer new"]


@responses.activate
@pytest.mark.parametrize("body", ["<html>", "{", '{"a":1}', "[1]", '{"resourceType":"Goal","id":"1","id":"2"}', "[" * 100_000])
def test_an_answer_that_is_no_resource_is_an_answer_without_one(body: str) -> None:
    responses.get(f"{BASE}/Goal/1", body=body, content_type="application/fhir+json")
    assert gateway().request("GET", "Goal/1").resource is None


@responses.activate
def test_an_answer_that_is_too_large_is_no_answer() -> None:
    responses.get(f"{BASE}/Goal", body='{"resourceType":"Bundle","x":"' + "a" * 5_000 + '"}')
    with pytest.raises(PartnerDown, match="too large"):
        gateway(limit=1_000).request("GET", "Goal")


@responses.activate
@pytest.mark.parametrize("error", [requests.ConnectionError("x"), requests.Timeout("x"), requests.exceptions.SSLError("x")])
def test_no_answer_is_told_in_our_own_words(error: Exception) -> None:
    responses.put(f"{BASE}/Goal/1", body=error)
    with pytest.raises(PartnerDown) as down:
        gateway().request("PUT", "Goal/1", body={"resourceType": "Goal"})
    assert down.value.reason in ("no connection", "no answer in time", "TLS failed") and len(responses.calls) == 1


@responses.activate
def test_retry_after_is_read_as_seconds_or_as_a_date_by_the_servers_clock() -> None:
    responses.get(f"{BASE}/Goal", status=429, headers={"Retry-After": "7"})
    responses.get(
        f"{BASE}/Goal", status=503, headers={"Retry-After": "Sun, 22 Nov 2026 06:01:00 GMT", "Date": "Sun, 22 Nov 2026 06:00:00 GMT"}
    )
    assert [gateway().request("GET", "Goal").retry_after for _ in range(2)] == [7.0, 60.0]


def test_origins_are_compared_whole() -> None:
    assert origin("https://A.example/fhir") == origin("https://a.example:443/") != origin("https://a.example.evil.example/")


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "::ffff:127.0.0.1",
        "fe80::1",
        "fc00::1",
        "2002:7f00:1::",
        "224.0.0.1",
        "64:ff9b:1::1",
        "64:ff9b::7f00:1",
    ],
)
def test_private_addresses_are_not_reached(text: str) -> None:
    assert not allowed(ip_address(text), ())


def test_a_listed_network_and_the_public_internet_are_reached() -> None:
    assert allowed(ip_address("93.184.216.34"), ()) and allowed(ip_address("10.1.2.3"), networks_of(["10.1.0.0/16"]))
    assert not allowed(ip_address("10.2.2.3"), networks_of(["10.1.0.0/16"]))


def test_only_an_address_written_out_is_its_own_permission() -> None:
    assert literal_networks("http://127.0.0.1:8080/fhir") and not literal_networks("http://rehab.example/fhir")


def test_one_private_answer_among_public_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in ("93.184.216.34", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: found)
    with pytest.raises(EgressRefused):
        dial("rebinding.example", 443, (), 1.0, None, None)
