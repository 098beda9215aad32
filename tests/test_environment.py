"""What the environment may say to the tests: their own knobs reach them, settings of the hub do not."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from fhircase import settings
from tests.conftest import KNOBS, ROOT

READ = re.compile(r"""environ(?:\.get\(|\[)["'](FHIRCASE_\w+)["']""")


def run(code: str, **environment: str) -> str:
    """What a fresh Python prints that imports tests.conftest first, as pytest does."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FHIRCASE_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import os, tests.conftest\n{code}"],
        cwd=ROOT, env={**plain, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_every_knob_that_a_test_reads_is_named_and_every_one_named_is_read() -> None:
    texts = [file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py") if file.name != "test_environment.py"]
    assert {name for text in texts for name in READ.findall(text)} == set(KNOBS)


def test_no_knob_has_the_name_of_a_setting() -> None:
    assert not set(KNOBS) & {row.name for row in settings.table()}


def test_every_knob_reaches_the_tests_and_no_setting_does() -> None:
    given = {**dict.fromkeys(KNOBS, "7"), "FHIRCASE_BIND": "127.0.0.1:1", "FHIRCASE_FUZZY": "7"}
    said = run("print(*sorted(name for name in os.environ if name.startswith('FHIRCASE_')))", **given)
    assert said.split() == sorted(KNOBS)


def test_the_fuzz_tests_try_as_many_examples_as_they_are_told() -> None:
    assert run("from tests.api import test_fuzz; print(test_fuzz.EXAMPLES)", FHIRCASE_FUZZ="7") == "7"
