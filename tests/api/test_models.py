"""Models and kinds of a deployment's own (``mappings/models.json``) show in its cases."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhircase.flows import enrol
from fhircase.flows.hub import Hub
from fhircase.mapping import Mappings
from fhircase.web.app import Services, create_app
from tests.api.conftest import Api, Town, body
from tests.conftest import ROOT

DIFFERING = {
    "kinds": {"legal": {"domains": ["utilities"]}}, "every": {"domains": ["legal"]}, "usual": {"strengths_first": True, "contact_days": 5},
}  # fmt: skip


@pytest.mark.parametrize("differing", [None, DIFFERING], ids=["our own", "differing"])
def test_what_a_case_asks_for_and_its_order_follow_the_tables_in_force(
    make_hub: Callable[..., Hub], clock: Any, tmp_path: Path, differing: Any
) -> None:
    folder = tmp_path / "mappings"
    shutil.copytree(ROOT / "mappings", folder)
    if differing is not None:
        (folder / "models.json").write_text(json.dumps(differing), encoding="utf-8")
    hub = make_hub(clock=clock, maps=Mappings.load(folder))
    app = create_app(hub, Services(random_bytes=lambda count: b"r" * count, key_cache_s=0.0))
    enrol.ensure_hub(hub)
    nobody = Api(app, "")
    manager = Town(app, hub, app.extensions["fhircase.services"], clock, {}, nobody, nobody, nobody, nobody).key("hub", user="Kim Lee")
    case = body(manager.post("/cases", {"client": {"names": [{"family": "Ames"}]}, "kind": "legal"}))
    asked = {point["about"] for point in case["attention"] if point["rule"] == "domain-unassessed"}
    lists = [name for name, value in case.items() if isinstance(value, list)]
    if differing is None:
        assert "domain:social" in asked and "domain:utilities" not in asked
        assert lists.index("goals") < lists.index("strengths") and lists.index("services") < lists.index("appointments")
    else:
        assert asked == {"domain:legal", "domain:utilities"}
        assert lists.index("strengths") < lists.index("goals") and lists.index("appointments") < lists.index("services")
