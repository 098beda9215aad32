"""HL7's own validation engine, offline, in one process for all documents (tests/live/partners/hapi, Validate.java)."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.live import servers


class Finding(NamedTuple):
    severity: str
    path: str
    what: str


def validate(documents: Mapping[str, str], folder: Path, *, packages: Sequence[Path] = ()) -> dict[str, list[Finding]]:
    """What the engine finds wrong (errors only) with each document, by name; written to ``folder`` meanwhile. One start of Java.
    Raises ``servers.Unavailable`` where Java or Maven is missing, RuntimeError when it does not answer for every document."""
    home = servers.hapi_home()
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for at, (name, text) in enumerate(documents.items()):
        file = folder / f"{at}.json"
        file.write_text(text, encoding="utf-8")
        files[str(file)] = name
    command = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx2g", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8"]
    command += ["-cp", f"{home / 'classes'}:{home / 'lib'}/*", "partner.Validate"]
    for package in packages:
        command += ["-p", str(package)]
    asked = "".join(f"{file}\n" for file in files)
    with open(folder / "engine.log", "wb") as log:
        answer = subprocess.run([*command, "-"], input=asked.encode(), stdout=subprocess.PIPE, stderr=log, timeout=600, check=False)
    found: dict[str, list[Finding]] = {name: [] for name in documents}
    lines = answer.stdout.decode(errors="replace").split("\n")
    for line in lines:
        parts = line.split("\t")
        if parts[0] in files and len(parts) == 4 and parts[1] in ("ERROR", "FATAL"):
            found[files[parts[0]]].append(Finding(parts[1], parts[2], parts[3]))
    # Each document's answer ends with an empty line.
    if lines.count("") < len(files):
        raise RuntimeError(f"the engine ended early ({answer.returncode}):\n{(folder / 'engine.log').read_text(errors='replace')[-2000:]}")
    return found
