"""The same requests at the same pace for hub and baseline: by wrk where it is installed, else by processes of Python clients.

``wrk`` leaves the machine to the servers; the Python clients take about as much of it as a bare server does, so ratios
measured with them are flattered. The table names the client."""

from __future__ import annotations

import http.client
import itertools
import json
import multiprocessing
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TOKEN = "909090909090"
"""In a path or body: replaced by a number of twelve digits that no other request of the run carries."""

CONNECTIONS = 8
_runs = itertools.count(1)

_LUA = """
local function read(name) local f = assert(io.open(name, "rb")); local t = f:read("*a"); f:close(); return t end
local paths = {{}}
for line in read("{paths}"):gmatch("[^\\n]+") do paths[#paths + 1] = line end
local body = read("{body}")
local n, run = 0, {run}
local headers = {{ {headers} }}
request = function()
  n = n + 1
  local path = paths[n % #paths + 1]
  if body == "" then return wrk.format("GET", path, headers) end
  local made = body:gsub("{token}", string.format("%04d%08d", run, n))
  return wrk.format("POST", path, headers, made)
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """GETs of ``paths`` in turn, or POSTs of ``body`` when it is not empty."""

    paths: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def client() -> str:
    return "wrk" if shutil.which("wrk") else "python"


def rate(base: str, load: Load, seconds: float, home: Path) -> float:
    """Answers a second over keep-alive connections. Raises AssertionError when one was not 2xx or a connection broke."""
    return _by_wrk(base, load, seconds, home) if client() == "wrk" else _by_python(base, load, seconds)


def _by_wrk(base: str, load: Load, seconds: float, home: Path) -> float:
    paths, body, script = home / "paths.txt", home / "body.bin", home / "load.lua"
    paths.write_text("\n".join(load.paths) + "\n")
    body.write_bytes(load.body)
    headers = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in load.headers.items())
    script.write_text(_LUA.format(paths=paths, body=body, run=next(_runs), headers=headers, token=TOKEN))
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--timeout", "20s", "-s", str(script), base]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found, said
    return float(found[1])


def _by_python(base: str, load: Load, seconds: float) -> float:
    run, processes = next(_runs), 2
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        asked = [(base, load, seconds, run * processes + n) for n in range(processes)]
        return sum(pool.starmap(_ask, asked))


def _ask(base: str, load: Load, seconds: float, run: int) -> float:
    host = base.removeprefix("http://").rstrip("/")
    numbers = itertools.count(1)
    done: list[int] = []
    wrong: list[int] = []
    until = time.monotonic() + seconds

    def work() -> None:
        connection = http.client.HTTPConnection(host, timeout=20)
        answered = 0
        while time.monotonic() < until:
            n = next(numbers)
            path = load.paths[n % len(load.paths)]
            body = load.body.replace(TOKEN.encode(), b"%04d%08d" % (run, n)) or None
            connection.request("POST" if body else "GET", path, body, dict(load.headers))
            answer = connection.getresponse()
            answer.read()
            if answer.status >= 300:
                wrong.append(answer.status)
                return
            answered += 1
        done.append(answered)

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS // 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    return sum(done) / seconds
