"""The starters themselves: each server comes up, keeps what it is given, and goes away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from tests.live import servers

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("name", ["sekmet", "medplum", "hapi"])
def test_a_server_keeps_a_patient(name: str, request: pytest.FixtureRequest) -> None:
    server: servers.Server = request.getfixturevalue(name)
    patient: dict[str, Any] = {"resourceType": "Patient", "identifier": [{"system": "urn:test", "value": "1"}], "name": [{"family": "Doe"}]}
    headers = {"Content-Type": "application/fhir+json"}
    made = requests.post(f"{server.base_url}/Patient", json=patient, headers=headers, timeout=60)
    assert made.status_code == 201
    read = requests.get(f"{server.base_url}/Patient/{made.json()['id']}", timeout=60)
    assert read.json()["name"] == patient["name"]


def test_sekmet_goes_on_with_its_data_after_a_kill(tmp_path: Path) -> None:
    try:
        first = servers.start_sekmet(tmp_path)
    except servers.Unavailable as missing:
        pytest.skip(str(missing))
    made = requests.post(f"{first.base_url}/Patient", json={"resourceType": "Patient", "active": True}, timeout=10)
    first.kill()
    again = servers.start_sekmet(tmp_path)
    assert requests.get(f"{again.base_url}/Patient/{made.json()['id']}", timeout=10).status_code == 200
    again.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(again.base_url, timeout=1)
