"""The answers that other makers' messages get, each on a hub of its own, as a table.

python -m tests.stories.table"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from fhircase import storage
from fhircase.fhir import search
from fhircase.flows.take_in import take_in
from fhircase.mapping import Mappings
from fhircase.plans.change import Agent
from fhircase.plans.partner import HUB
from fhircase.ports import Viewer
from tests.conftest import ROOT, build_hub
from tests.stories.test_samples_taken_in import PARTNERS

FOLDERS = ("microsoft-fhir-converter/*.hl7", "gcp-data-harmonization/*.hl7", "davinci-alerts/*bundle*.json")
SHOWN = ("Patient", "Encounter", "EpisodeOfCare", "CarePlan", "Goal", "ServiceRequest", "Task", "Condition")


def main() -> int:
    data = Path(os.environ.get("FHIRCASE_SAMPLES") or ROOT.parent / "shared" / "data") / "samples"
    files = [
        file for pattern in FOLDERS for file in sorted(data.glob(pattern)) if file.is_file() and not file.name.endswith("-expected.json")
    ]
    if not files:
        sys.stderr.write("The sample data is not here: set FHIRCASE_SAMPLES to its folder.\n")
        return 1
    maps = Mappings.load()
    sys.stdout.write("| file | event | answer | sent again | Encounter | became | reviews |\n|---|---|---|---|---|---|---|\n")
    for file in files:
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write(row(file, f"sqlite:///{folder}/hub.db", maps))
    return 0


def row(file: Path, url: str, maps: Any) -> str:
    storage.migrate(url)
    store = storage.open(url)
    try:
        hub = build_hub(store, maps=maps)
        with store.write() as tx:
            for partner in PARTNERS:
                tx.partners.save(partner)
        kind: Any = "hl7v2" if file.suffix == ".hl7" else "message"
        taken = [take_in(hub, "ghh", kind, file.read_bytes(), "text/plain", agent=Agent("ghh")) for _ in range(2)]
        with store.read() as tx:
            viewer = Viewer(HUB, True, hub.now())
            held = {t: [s.body for s in tx.plans.search(viewer, search.parse(t, [("_count", "100")], strict=True)).matches] for t in SHOWN}
            reviews = Counter(r.review.kind for r in tx.reviews.list()[0])
        visits = ", ".join(f"{v['status']}{' (end)' if 'end' in v.get('period', {}) else ''}" for v in held["Encounter"]) or "none"
        became = ", ".join(f"{len(found)} {type_}" for type_, found in held.items() if found)
        asked = ", ".join(f"{number} {kind}" for kind, number in sorted(reviews.items())) or "none"
        again = "first answer" if taken[1].duplicate and taken[1].message.answer == taken[0].message.answer else "DIFFERS"
        first = taken[0].message
        return f"| {file.parent.name}/{file.name} | {first.event} | {first.code} | {again} | {visits} | {became} | {asked} |\n"
    finally:
        store.close()


if __name__ == "__main__":
    sys.exit(main())
