"""Settings: every mistake names its setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from fhircase import settings
from fhircase.settings import SettingError


def test_defaults_stand_on_loopback_with_one_process() -> None:
    made = settings.load({})
    assert (made.loopback, made.url, made.web_processes) == (True, "http://127.0.0.1:8080", 1)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('bind = "127.0.0.1:9000"\nweb_threads = 3\ncoordinates = false\n')
    made = settings.load({"FHIRCASE_CONFIG": str(file), "FHIRCASE_WEB_THREADS": "5"})
    assert (made.port, made.web_threads, made.coordinates) == (9000, 5, False)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"FHIRCASE_BIND": "nowhere"}, "FHIRCASE_BIND"),
        ({"FHIRCASE_WEB_THREADS": "many"}, "FHIRCASE_WEB_THREADS"),
        ({"FHIRCASE_WEB_THREADS": "0"}, "FHIRCASE_WEB_THREADS"),
        ({"FHIRCASE_LOG_LEVEL": "loud"}, "FHIRCASE_LOG_LEVEL"),
        ({"FHIRCASE_COORDINATES": "maybe"}, "FHIRCASE_COORDINATES"),
        ({"FHIRCASE_HTTP_TIMEOUT_S": "40"}, "FHIRCASE_HTTP_TIMEOUT_S"),
        ({"FHIRCASE_HTTP_TIMEOUT_S": "nan"}, "FHIRCASE_HTTP_TIMEOUT_S"),
        ({"FHIRCASE_BASE_URL": "hub.example"}, "FHIRCASE_BASE_URL"),
        ({"FHIRCASE_CONFIG": "/none/there"}, "FHIRCASE_CONFIG"),
        ({"FHIRCASE_SECRET_KEY": "x" * 40, "FHIRCASE_SECRET_KEY_FILE": "y"}, "FHIRCASE_SECRET_KEY"),
    ],
)
def test_a_mistake_names_its_setting(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingError) as caught:
        settings.load(given)
    assert any(problem.startswith(named) for problem in caught.value.problems)


def test_an_unknown_name_in_the_file_is_told_with_a_guess(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('base_ur = "http://x"\n')
    with pytest.raises(SettingError, match="did you mean base_url"):
        settings.load({"FHIRCASE_CONFIG": str(file)})


def test_the_table_documents_every_setting() -> None:
    rows = settings.table()
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.name.startswith("FHIRCASE_") and row.help.endswith(".") for row in rows)
