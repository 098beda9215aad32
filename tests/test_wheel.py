"""The wheel is whole: mappings, definitions and migrations travel in it, and it runs where no checkout is."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return next(folder.glob("fhircase-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Python with the wheel and what it depends on, and a folder to be in."""
    home = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
    command = [home / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", wheel]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    yield home


def run(home: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": f"{home}/venv/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", **environment}
    return subprocess.run([f"{home}/venv/bin/{command[0]}", *command[1:]], cwd=home, env=clean, capture_output=True, text=True, timeout=300)


def test_every_data_file_of_the_checkout_is_in_the_wheel(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(["git", "ls-files", "fhircase", "mappings"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = listed.stdout.split()
    expected = {name if name.startswith("fhircase/") else "fhircase/_" + name for name in tracked if not name.endswith(".gitkeep")}
    assert expected - held == set()


def test_no_test_or_cache_is_in_the_wheel(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    odd = [name for name in held if not name.startswith(("fhircase/", "fhircase-")) or "__pycache__" in name]
    assert odd == []


def test_mappings_are_found_outside_the_checkout(installed: Path) -> None:
    result = run(installed, "python", "-c", "from fhircase.mapping import Mappings; Mappings.load().mapping('goal'); print('ok')")
    assert result.stdout == "ok\n", result.stderr


def test_the_store_migrates_outside_the_checkout(installed: Path) -> None:
    url = f"sqlite:///{installed}/hub.db"
    result = run(installed, "fhircase", "migrate", FHIRCASE_DATABASE_URL=url)
    assert result.returncode == 0, result.stderr
    assert (installed / "hub.db").exists()


def test_the_demo_runs_outside_the_checkout(installed: Path) -> None:
    result = run(installed, "fhircase", "demo")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
