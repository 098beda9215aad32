"""Discharges a second: ER7 in by HTTP, committed and queued, its ACK out; against the same rows without a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from fhircase.demo.servers import Api
from tests.bench import table, town
from tests.bench.load import TOKEN, Load, rate

FLOOR = 0.30
SECONDS = 2.0


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_discharges_committed_and_queued(kind: str, tmp_path: Path, request: Any) -> None:
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("hub", "bare")]
    if kind == "postgresql":
        cluster = request.getfixturevalue("postgres_cluster")
        urls = [cluster.create(), cluster.create()]
    with town.hub(tmp_path / "hub", urls[0]) as hub:
        headers = {"Authorization": f"Bearer {town.key(hub, 'mercy')}", "Content-Type": "application/hl7-v2"}

        def push(number: str) -> bytes:
            answer = requests.post(f"{hub.url}/intake/hl7v2", town.discharge(number), headers=headers, timeout=20)
            return answer.content

        for n in range(20):
            assert b"MSA|AA|" in push(f"{n:012d}")
        before = town.Snapshot(urls[0])
        assert b"MSA|AA|" in push(TOKEN)
        made = town.template(before, town.Snapshot(urls[0]))
        rows = {name: len(held) for name, _, _, held in made.tables}
        print(f"\none discharge: {sum(rows.values())} rows, {rows}")
        assert rows["resource"] >= 8 and rows["message"] == 1 and rows["mark"] >= 8, "a case with its plan opens and is queued"
        file = town.keep(made, tmp_path / "rows")
        load = Load(["/intake/hl7v2"], headers, town.discharge(TOKEN))
        with town.bare("discharges", town.empty(urls[1]), file) as bare:
            row = table.compare(
                "discharges", kind, lambda: rate(hub.url, load, SECONDS, tmp_path), lambda: rate(bare, load, SECONDS, tmp_path), floor=FLOOR
            )
        api = Api(hub.url, town.ADMIN)
        assert not api.get("/intake/messages?state=kept&count=1")["items"]
        assert len(api.get("/intake/messages?state=applied&count=200")["items"]) == 200
    assert row.kept, row
