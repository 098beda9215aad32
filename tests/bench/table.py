"""What was measured: a row for each rate, its bare baseline, and the floor below which the bench fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """``rate`` and ``baseline`` in 1/s. ``floor`` is what it must reach: of the ratio, or of the rate (``absolute``)."""

    what: str
    store: str
    rate: float
    baseline: float
    ratio: float
    floor: float | None = None
    absolute: bool = False

    @property
    def reached(self) -> bool:
        return self.floor is None or (self.rate if self.absolute else self.ratio) >= self.floor

    @property
    def kept(self) -> bool:
        """Whether the bench may pass: a missed floor fails it, unless ``BENCH_FLOORS=tell`` asks for the table alone, as on a
        machine that others use at the same time."""
        return self.reached or os.environ.get("BENCH_FLOORS") == "tell"

    def cells(self) -> Sequence[str]:
        floor = "" if self.floor is None else f"{self.floor:.0f}/s" if self.absolute else f"{self.floor:.0%}"
        floor += "" if self.reached else " MISSED"
        return (self.what, self.store, _number(self.rate), _number(self.baseline), f"{self.ratio:.0%}", floor)


ROWS: list[Row] = []


def compare(
    what: str, store: str, hub: Callable[[], float], bare: Callable[[], float], *, rounds: int = 5, floor: float | None = None
) -> Row:
    """Measure both in turn, ``rounds`` times, so that what else the machine does falls on both."""
    pairs = []
    for _ in range(rounds):
        base = bare()
        pairs.append((hub(), base))
    return of_pairs(what, store, pairs, floor=floor)


def of_pairs(
    what: str, store: str, pairs: Sequence[tuple[float, float]], *, floor: float | None = None, absolute: bool = False
) -> Row:
    """From (rate, baseline) of each round: medians of rates and of the rounds' ratios."""
    rate, baseline, ratio = median(r for r, _ in pairs), median(b for _, b in pairs), median(r / b for r, b in pairs)
    return add(Row(what, store, rate, baseline, ratio, floor, absolute))


def add(row: Row) -> Row:
    ROWS.append(row)
    print(f"\n{' | '.join(row.cells())}")
    return row


def markdown() -> str:
    head = ("what", "store", "rate/s", "baseline/s", "ratio", "floor")
    lines = [head, ("---", "---", "---:", "---:", "---:", "---:"), *(row.cells() for row in ROWS)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
