"""Posts webhooks: one short request, no redirects, nothing read of the answer but its status and Retry-After."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy

import requests

from fhircase.partners.egress import EgressRefused
from fhircase.ports import Clock, PartnerDown, Reply

TIMEOUT_S = 15.0
"""Standard Webhooks recommends 15 to 30 seconds; it must stay below half of the lane's lease."""

SHORT = 4_096
USER_AGENT = "fhircase-webhooks"


class WebhookPoster:
    """``session`` makes a session whose adapters hold the egress guard: they dial only addresses that were checked, and
    raise a requests exception for others. It is shared by all lanes and keeps connections open; it takes no cookies."""

    def __init__(self, session: Callable[[], requests.Session], clock: Clock, timeout: float = TIMEOUT_S) -> None:
        self._session = session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._clock = clock
        self._timeout = timeout

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """One POST. Raises PartnerDown when there is no answer; every status is a Reply, redirects too."""
        try:
            request = requests.Request(
                "POST", url, data=body, headers={"Content-Type": "application/json", "User-Agent": USER_AGENT, **headers}
            ).prepare()
            with self._session.send(request, timeout=self._timeout, allow_redirects=False, stream=True) as answer:
                # One look at a short body, so that the connection can be used again; a receiver must not make us hold,
                # or wait for, what it likes to send.
                length = answer.headers.get("Content-Length", "")
                if length.isdigit() and int(length) <= SHORT:
                    answer.raw.read1(SHORT)
                return Reply(
                    status=answer.status_code,
                    resource=None,
                    retry_after=self._retry_after(answer.headers.get("Retry-After")),
                    date=answer.headers.get("Date"),
                )
        except requests.Timeout:
            raise PartnerDown(f"no answer within {self._timeout:g} seconds") from None
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
            raise PartnerDown("the address cannot be used") from None
        except requests.exceptions.SSLError:
            raise PartnerDown("TLS failed") from None
        except requests.RequestException as error:
            raise PartnerDown("the address may not be reached" if _refused(error) else "no connection") from None

    def _retry_after(self, value: str | None) -> float | None:
        """Seconds, from a number or an HTTP date (RFC 9110 §10.2.3); None when it says nothing usable."""
        if value is None:
            return None
        if value.strip().isdigit():
            return float(value.strip()[:9])
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        if at.tzinfo is None:
            return None
        return max((at - self._clock.now()).total_seconds(), 0.0)


def _refused(error: BaseException | None) -> bool:
    """Whether the guard, not the network, stood in the way: it lies under what urllib3 and requests wrapped around it."""
    for _ in range(6):
        if error is None or isinstance(error, EgressRefused):
            return error is not None
        inner = error.args[0] if error.args else None
        error = error.__cause__ or getattr(inner, "reason", None) or (inner if isinstance(inner, BaseException) else None)
    return False
