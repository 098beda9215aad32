"""For whom a read is done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Viewer:
    """``everything``: an administrator or the hub's own people; else ``partner``'s grants decide, in the query
    (DECISIONS 2–5). ``at`` is the moment that grants are judged at, in epoch milliseconds."""

    partner: str
    everything: bool
    at: int
