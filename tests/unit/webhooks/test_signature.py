"""The signature against the specification's two reference libraries, which judge as a receiver would.
Their ``verify`` raises when it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks

from fhircase.access import signature

BODY = '{"type":"goal.updated","data":{"name":"Zoë"}}'.encode()
ORACLES = [
    pytest.param(svix.webhooks.Webhook, svix.webhooks.WebhookVerificationError, id="svix"),
    pytest.param(standardwebhooks.Webhook, standardwebhooks.WebhookVerificationError, id="standardwebhooks"),
]


def present() -> int:
    """The oracles read the machine's clock, so the attempt is dated by it too."""
    return int(datetime.now(UTC).timestamp() * 1000)


def secret(byte: int = 7) -> str:
    return signature.make(lambda n: bytes([byte]) * n)


@pytest.mark.parametrize(("oracle", "refusal"), ORACLES)
def test_a_receiver_verifies_what_we_sign(oracle: Any, refusal: Any) -> None:
    headers = signature.headers([secret()], "w1", present(), BODY)
    oracle(secret()).verify(BODY.decode(), headers)


@pytest.mark.parametrize(("oracle", "refusal"), ORACLES)
@pytest.mark.parametrize("part", ["body", "webhook-id", "webhook-timestamp"])
def test_a_receiver_refuses_what_was_tampered_with(oracle: Any, refusal: Any, part: str) -> None:
    at = present()
    headers = signature.headers([secret()], "w1", at, BODY)
    body = BODY.replace(b"goal.updated", b"goal.deleted") if part == "body" else BODY
    if part == "webhook-id":
        headers["webhook-id"] = "w2"
    if part == "webhook-timestamp":
        headers["webhook-timestamp"] = str(at // 1000 + 1)
    with pytest.raises(refusal):
        oracle(secret()).verify(body.decode(), headers)


@pytest.mark.parametrize(("oracle", "refusal"), ORACLES)
@pytest.mark.parametrize("age", [timedelta(minutes=-6), timedelta(minutes=6)])
def test_a_receiver_refuses_an_old_or_future_attempt(oracle: Any, refusal: Any, age: timedelta) -> None:
    headers = signature.headers([secret()], "w1", present() + int(age.total_seconds() * 1000), BODY)
    with pytest.raises(refusal):
        oracle(secret()).verify(BODY.decode(), headers)


@pytest.mark.parametrize(("oracle", "refusal"), ORACLES)
def test_while_rotating_both_secrets_verify_and_a_third_does_not(oracle: Any, refusal: Any) -> None:
    headers = signature.headers([secret(1), secret(2)], "w1", present(), BODY)
    oracle(secret(1)).verify(BODY.decode(), headers)
    oracle(secret(2)).verify(BODY.decode(), headers)
    with pytest.raises(refusal):
        oracle(secret(3)).verify(BODY.decode(), headers)


def test_the_specifications_own_example_is_reproduced() -> None:
    headers = signature.headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330_000, b'{"test": 2432232314}'
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_carries_the_prefix_and_32_random_bytes() -> None:
    asked: list[int] = []

    def random_bytes(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    assert signature.make(random_bytes).startswith("whsec_AAECAwQF")
    assert asked == [32]
