"""When to try again (RELIABILITY §1, rules 2 and 3). Pure: the jitter is an argument. The webhook table is
``flows.notify``'s."""

from __future__ import annotations

RETRYABLE = frozenset({401, 408, 421, 425, 429})
"""Client-error statuses that say "not now" and nothing about the content."""


def pause(fails: int, *, first_ms: int, max_ms: int, spread: float, jitter: float, retry_after: float | None = None) -> int:
    """Milliseconds until a lane is due again after its ``fails``-th failure in a row (0 for the first).

    Doubles from ``first_ms`` to ``max_ms`` and stays there for ever, so that a recovery is seen within ``max_ms``; spread by
    ±``spread`` with ``jitter`` in [0, 1). ``retry_after`` (seconds, from the partner) is honoured when it is longer, but
    never beyond ``max_ms``: a partner cannot put us off for a day."""
    doubled = first_ms << min(max(fails, 0), 32)
    waited = min(doubled, max_ms) * (1 - spread + 2 * spread * jitter)
    asked = 0.0 if retry_after is None or retry_after != retry_after else max(retry_after, 0.0) * 1000
    return int(max(waited, min(asked, max_ms)))


def verdict(status: int) -> str:
    """What a write's status means: ``done``, ``later`` (the lane pauses), ``gone`` (404, 410) or ``refused`` (the content or
    the right to send it: the mark is parked). 409 and 412 are the Dialect's to read before this is asked."""
    if 200 <= status < 300:
        return "done"
    if status in (404, 410):
        return "gone"
    if status in RETRYABLE or status < 200 or 300 <= status < 400 or status >= 500 and status != 501:
        return "later"
    return "refused"
