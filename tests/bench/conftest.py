"""One table of all that was measured, at the end of the run."""

from __future__ import annotations

from typing import Any

from tests.bench import load, table


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if table.ROWS:
        terminalreporter.section(f"bench (load by {load.client()}, {load.CONNECTIONS} connections)")
        terminalreporter.write_line(table.markdown())
