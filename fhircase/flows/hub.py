"""What a flow is handed: ports and compiled data, no globals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fhircase.ports import Clock, Gateways, Ids, Poster, Sealer, Store


@dataclass(frozen=True, slots=True)
class Policy:
    """Figures that change behaviour (all are settings). Times in the unit that the name says. ``coordinates`` False:
    a plain FHIR server, as the demo's partners are; no rule of the shared plan runs."""

    base_url: str = "http://127.0.0.1:8080"
    coordinates: bool = True
    handover_days: int = 30
    lease_ms: int = 60_000
    http_timeout_s: float = 20.0
    retry_first_ms: int = 1_000
    retry_max_ms: int = 300_000
    poll_overlap_s: int = 300
    jitter: float = 0.25
    body_bytes: int = 5_000_000
    bundle_bytes: int = 20_000_000
    bundle_entries: int = 2_000


def _uncounted(_what: str, _which: str, _outcome: str, _count: int) -> None:
    """Nobody counts."""


@dataclass(frozen=True, slots=True)
class Hub:
    """``maps`` is the compiled ``mappings/`` (fhircase.mapping.Mappings); ``random`` returns floats in [0, 1).
    ``tally`` counts what was done for the metrics: (intake | delivery | poll, of which kind or partner, outcome, how many)."""

    store: Store
    clock: Clock
    ids: Ids
    maps: Any
    gateways: Gateways
    poster: Poster
    sealer: Sealer
    random: Any
    policy: Policy = Policy()
    tally: Callable[[str, str, str, int], None] = _uncounted

    def now(self) -> int:
        """Epoch milliseconds."""
        return int(self.clock.now().timestamp() * 1000)
