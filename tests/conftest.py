"""What every test stands on: a frozen non-UTC zone, a clean environment, and factories for a hub on real parts.

Tests import the factories by fixture (``make_hub``) or by name (``from tests.conftest import FrozenClock``)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

# Half an hour off the hour and on daylight saving time: code that leans on the machine's zone shows itself.
os.environ["TZ"] = "Australia/Adelaide"
time.tzset()

KNOBS = {
    "FHIRCASE_SAMPLES": "the folder of real public samples",
    "FHIRCASE_SAMPLES_SHAPES": "distinct shapes of each mapping whose fields are changed in the real cases; all: every resource",
    "FHIRCASE_FUZZ": "examples of each fuzz test",
    "FHIRCASE_SIM_LAWS": "random documents of each mapping",
    "FHIRCASE_SIM_SEEDS": "seeds of the simulated network",
    "FHIRCASE_SIM_FIRST": "the first of them",
}
"""What tests themselves read of the environment. Every other FHIRCASE_ name is a setting of the hub, and must not leak into a test."""


def leaking() -> list[str]:
    return [name for name in os.environ if name.startswith("FHIRCASE_") and name not in KNOBS]


for _name in leaking():
    del os.environ[_name]

import hypothesis  # noqa: E402
import pytest  # noqa: E402

# The same examples in every run, so that a red run can be repeated; HYPOTHESIS_PROFILE=wide draws new ones.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("wide", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

ROOT = Path(__file__).resolve().parent.parent
START = datetime(2026, 11, 22, 5, 24, 38, 123000, tzinfo=UTC)
_MARKED_FOLDERS = {"live": "live", "bench": "bench", "kills": "long"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What lies in tests/live, tests/bench and tests/sim/kills is marked by its place."""
    for item in items:
        for part in item.path.relative_to(ROOT).parts:
            if part in _MARKED_FOLDERS:
                item.add_marker(_MARKED_FOLDERS[part])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Minutes by layer: what CI's ten minutes go to."""
    spent: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                parts = report.nodeid.partition("::")[0].split("/")
                layer = parts[1].removesuffix(".py") if len(parts) > 1 else parts[0]
                spent[layer] = spent.get(layer, 0.0) + report.duration
    if spent:
        terminalreporter.section("minutes by layer")
        for layer, seconds in sorted(spent.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{layer:24} {seconds / 60:6.2f}")


class FrozenClock:
    """A clock that moves only when told to."""

    def __init__(self, start: datetime = START) -> None:
        self.at = start

    def now(self) -> datetime:
        return self.at

    def tick(self, **delta: float) -> None:
        """``tick(seconds=5)``: keywords of timedelta."""
        self.at += timedelta(**delta)

    @property
    def ms(self) -> int:
        return int(self.at.timestamp() * 1000)


class SequentialIds:
    """``00000000-0000-4000-8000-000000000001`` and on: valid UUIDs that read well in a failing test."""

    def __init__(self) -> None:
        self.last = 0

    def new(self) -> str:
        self.last += 1
        return f"00000000-0000-4000-8000-{self.last:012d}"


class FixedRandom:
    """Always the same float: jitter in the middle."""

    def __init__(self, value: float = 0.5) -> None:
        self.value = value

    def __call__(self) -> float:
        return self.value

    def random(self) -> float:
        return self.value


class PlainSealer:
    """Seals by a prefix, so that a test sees whether a secret was sealed at all."""

    def seal(self, plain: str) -> str:
        return "sealed:" + plain

    def open(self, sealed: str) -> str:
        if not sealed.startswith("sealed:"):
            raise ValueError("was never sealed")
        return sealed.removeprefix("sealed:")


@dataclass
class FakePoster:
    """Takes webhooks. ``answers`` are used up one by one: a status, a Reply or an exception; then 204 for ever."""

    answers: list[Any] = field(default_factory=list)
    posted: list[tuple[str, bytes, Mapping[str, str]]] = field(default_factory=list)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Any:
        from fhircase.ports import Reply

        self.posted.append((url, body, dict(headers)))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return Reply(answer, None) if isinstance(answer, int) else answer


@dataclass
class FakeGateway:
    """One partner's server: a plain function answers. ``asked`` holds (method, path, body, headers, params)."""

    answer: Callable[..., Any]
    asked: list[tuple[str, str, Any, Mapping[str, str], Sequence[tuple[str, str]]]] = field(default_factory=list)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        params: Sequence[tuple[str, str]] = (),
    ) -> Any:
        self.asked.append((method, path, body, dict(headers or {}), tuple(params)))
        return self.answer(method, path, body=body, headers=headers or {}, params=params)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in leaking():
        monkeypatch.delenv(name)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def ids() -> SequentialIds:
    return SequentialIds()


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real public samples; tests that read it are skipped where it is absent."""
    folder = Path(os.environ.get("FHIRCASE_SAMPLES") or ROOT.parent / "shared" / "data")
    if not (folder / "INDEX.md").is_file():
        pytest.skip("the sample data is not here: set FHIRCASE_SAMPLES to its folder")
    return folder


def build_hub(
    store: Any, *, clock: Any = None, ids: Any = None, maps: Any = None, gateways: Any = None, poster: Any = None, policy: Any = None,
) -> Any:
    """A ``flows.hub.Hub`` on ``store`` with everything outside replaced: frozen clock, sequential ids, fakes."""
    from fhircase.flows.hub import Hub, Policy

    def no_gateway(partner: Any) -> Any:
        raise AssertionError(f"the test gave no gateway for {partner.name}")

    return Hub(
        store=store,
        clock=clock or FrozenClock(),
        ids=ids or SequentialIds(),
        maps=maps,
        gateways=gateways or no_gateway,
        poster=poster or FakePoster(),
        sealer=PlainSealer(),
        random=FixedRandom(),
        policy=policy or Policy(),
    )


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Any]:
    """A PostgreSQL of the tests' own (tests/postgres.py), made once; skips where PostgreSQL is not installed."""
    from tests import postgres

    try:
        cluster = postgres.Cluster()
    except postgres.Absent as absent:
        pytest.skip(str(absent))
    yield cluster
    cluster.remove()


@pytest.fixture
def postgres_url(postgres_cluster: Any) -> Iterator[str]:
    """A fresh, empty database of that server."""
    url = postgres_cluster.create()
    yield url
    postgres_cluster.drop(url)


@pytest.fixture
def make_hub(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``make_hub(**replacements)``: a Hub on a real, migrated SQLite store under ``tmp_path``, with the project's own
    mappings. ``url`` names another store; ``maps=None`` loads none."""
    from fhircase import storage

    opened: list[Any] = []

    def make(url: str | None = None, *, maps: Any = ..., **replacements: Any) -> Any:
        url = url or f"sqlite:///{tmp_path / f'hub{len(opened)}.db'}"
        storage.migrate(url)
        clock = replacements.setdefault("clock", FrozenClock())
        store = storage.open(url, clock=clock)
        opened.append(store)
        if maps is ...:
            from fhircase.mapping import Mappings

            maps = Mappings.load()
        return build_hub(store, maps=maps, **replacements)

    yield make
    for store in opened:
        close = getattr(store, "close", None)
        if close is not None:
            close()
