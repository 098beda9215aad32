"""The documentation says what the code does: generated parts are fresh, links lead somewhere, and the quickstart runs."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT
from tests.live.servers import free_port

PAGES = ("README.md", "fhircase/README.md", "mappings/README.md", "fixtures/README.md", "CHANGELOG.md")


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fhircase_docs", ROOT / ".ci/docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_say_what_the_code_does() -> None:
    assert generator().stale(write=False) == [], "run: python3 .ci/do python .ci/docs.py"


def test_a_stale_part_would_be_noticed() -> None:
    docs = generator()
    page = "<!-- generated: errors -->\n| 418 | Teapot |\n<!-- end -->\n"
    made = docs.rendered(page)
    assert made != page
    assert "| 404 | `NotFound` | `not-found` |" in made
    assert docs.rendered(made) == made


def test_every_generated_part_stands_on_some_page() -> None:
    docs = generator()
    text = "".join((ROOT / page).read_text() for page in docs.PAGES if (ROOT / page).exists())
    wanted = set(docs.PARTS) if (ROOT / "mappings/README.md").exists() else set(docs.PARTS) - {"mappings"}
    assert {found["name"] for found in docs.PART.finditer(text)} == wanted


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_project_lead_somewhere(page: str) -> None:
    path = ROOT / page
    if not path.exists():
        pytest.skip(f"there is no {page}")
    broken = [
        target
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
        if not target.startswith(("http://", "https://", "mailto:")) and not (path.parent / target).exists()
    ]
    assert broken == []


def test_every_public_route_error_and_setting_is_explained() -> None:
    docs = generator()
    for part in ("settings", "commands", "routes"):
        empty = [line for line in docs.PARTS[part]() if line.rstrip().endswith("|  |")]
        assert empty == [], f"{part}: a docstring or a help text is missing"


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def examples() -> list[str]:
    return re.findall(r"<!-- runs in tests/test_docs.py -->\n```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.timeout(120)
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: apt install curl")
def test_the_quickstart_does_what_it_says(tmp_path: Path) -> None:
    port = free_port()
    script = "set -euo pipefail\ntrap 'kill -KILL $(jobs -p) 2>/dev/null || true' EXIT\n" + "\necho; echo ----\n".join(examples())
    script = script.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("@fixtures/", f"@{ROOT}/fixtures/")
    script = script.replace("curl -fsS", "curl -sS --fail-with-body").replace("fhircase serve &", "fhircase serve & serve=$!")
    script += '\nkill -TERM $serve\nwait $serve\necho "serve exited $?"\n'
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "FHIRCASE_BIND": f"127.0.0.1:{port}",
        "PYTHONWARNINGS": "",
    }
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=100)
    finally:
        # The group outlives its shell when an example fails.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said[-4000:]
    assert "MSA|AA|QS0001" in said
    assert '"resourceType":"CarePlan"' in said
    assert '"secret":"whsec_' in said
    assert '"type":"case.opened"' in said
    assert "serve exited 0" in said
