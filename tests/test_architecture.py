"""The house stands as ``fhircase/README.md`` says: who imports whom, and what every file of a kind must have.

Each rule is tried on a planted breach too, so that a rule that stopped looking does not stay green."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "fhircase"
XML = {"xml.etree", "xml.dom", "xml.sax", "xml.parsers", "lxml"}
JSON = {"json", "simplejson", "orjson", "ujson", "msgspec"}


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def importers(modules: set[str], allowed: set[str], files: list[Path] | None = None) -> list[str]:
    found = []
    for path in files or sources():
        if place(path) in allowed:
            continue
        for name, line in imported(ast.parse(path.read_text("utf-8"))):
            if any(name == module or name.startswith(module + ".") for module in modules):
                found.append(f"{place(path)}:{line} imports {name}")
    return found


# ------------------------------------------------------------------------------------------ imports point down


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        [program, "--config", folder / "pyproject.toml", "--no-cache"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_imports_point_down_and_the_core_touches_nothing_outside() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


BREACHES = {
    "httpx in mapping": ("fhircase/mapping/planted.py", "import requests\n"),
    "web into storage": ("fhircase/web/planted.py", "import fhircase.storage\n"),
    "plans into mapping": ("fhircase/plans/planted.py", "import fhircase.mapping\n"),
    "a flow names a partner's gateway": ("fhircase/flows/planted.py", "import fhircase.partners\n"),
    "case into sync": ("fhircase/case/planted.py", "import fhircase.sync\n"),
    "a drawer called utils": ("fhircase/utils.py", "X = 1\n"),
    "the machine's clock in the core": ("fhircase/sync/planted.py", "import time\n"),
    "randomness in a flow": ("fhircase/flows/planted.py", "import random\n"),
    "settings read in web": ("fhircase/web/planted.py", "import fhircase.settings\n"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_planted_breach_of_the_import_law_is_caught(breach: str, tmp_path: Path) -> None:
    path, text = BREACHES[breach]
    ignore = shutil.ignore_patterns("__pycache__", "definitions", "*.json")
    shutil.copytree(PACKAGE, tmp_path / "fhircase", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / path).write_text(text)
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert Path(path).stem in result.stdout


# ------------------------------------------------------------------------------------------ one entry each


OWN_JSON = (
    "fhircase/fhir/definitions/",
    "fhircase/hl7v2/names.py",
    "fhircase/mapping/codes.py",
    "fhircase/mapping/definitions.py",
    "fhircase/storage/",
    "fhircase/__main__.py",
)
"""What reads JSON that the project itself wrote: tables, code files, columns, sealed cursors, what the command prints."""


def test_a_strangers_json_is_parsed_by_jsontext_alone() -> None:
    outside = [line for line in importers(JSON, {"fhircase/fhir/jsontext.py"}) if not line.startswith(OWN_JSON)]
    assert outside == []
    careless = [
        f"{place(path)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and (node.attr == "get_json" or ast.unparse(node) == "request.json")
    ]
    assert careless == []


def test_xml_is_parsed_in_one_place_and_else_only_through_defusedxml() -> None:
    # xhtml judges narratives: an expat without entities of its own (tests/unit/fhir) that keeps nothing.
    assert importers(XML, {"fhircase/fhir/xhtml.py"}) == []
    users = {line.partition(":")[0] for line in importers({"defusedxml"}, set())}
    assert len(users) <= 1, f"one XML entry point: {users}"


def test_nothing_is_pickled_and_nothing_evaluated() -> None:
    assert importers({"pickle", "marshal", "shelve", "dill"}, set()) == []
    calls = [
        f"{place(path)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec")
    ]
    assert calls == []


def test_requests_are_made_by_partners_and_the_demo_alone() -> None:
    clients = {"requests", "urllib.request", "http.client", "httpx", "aiohttp"}
    elsewhere = [line for line in importers(clients, set()) if not line.startswith(("fhircase/partners/", "fhircase/demo/"))]
    assert elsewhere == []


@pytest.mark.parametrize(
    ("line", "modules"), [("import json", JSON), ("from xml.etree import ElementTree", XML), ("import lxml.etree", XML)]
)
def test_a_planted_second_parser_is_caught(line: str, modules: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(line)
    monkeypatch.setattr("tests.test_architecture.place", str)
    assert importers(modules, set(), [planted])


# ------------------------------------------------------------------------------------------ what a kind of file must have


OPEN_ROUTES = {
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/.well-known/smart-configuration",
    "/.well-known/jwks.json",
    "/fhir/metadata",
}
"""What answers without a key: it shows nothing of any client or partner."""


def test_every_route_but_the_open_ones_refuses_a_caller_without_a_key() -> None:
    from fhircase.web.app import Services, create_app
    from tests.conftest import build_hub

    app = create_app(build_hub(store=None), Services(random_bytes=bytes))
    client = app.test_client()
    answered = []
    for rule in app.url_map.iter_rules():
        if rule.rule in OPEN_ROUTES:
            continue
        path = re.sub(r"<[^>]*>", "x", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            status = client.open(path, method=method).status_code
            if status != 401:
                answered.append(f"{method} {rule.rule}: {status}")
    assert answered == []


def test_every_web_module_with_a_blueprint_is_served() -> None:
    from flask import Blueprint

    import fhircase.web
    from fhircase.web.app import BLUEPRINTS

    having = {
        module.name
        for module in pkgutil.iter_modules(fhircase.web.__path__)
        if any(isinstance(v, Blueprint) for v in vars(importlib.import_module(f"fhircase.web.{module.name}")).values())
    }
    assert having == set(BLUEPRINTS)


def test_every_error_knows_its_status_its_issue_code_and_its_title() -> None:
    from fhircase import errors

    issue_types = set(
        """invalid structure required value invariant security login unknown expired forbidden suppressed processing not-supported duplicate
        multiple-matches not-found deleted too-long code-invalid extension too-costly business-rule conflict transient lock-error no-store
        exception timeout incomplete throttled informational""".split()
    )
    tree = [errors.FhircaseError]
    for error in tree:
        tree += error.__subclasses__()
    for error in tree:
        assert 400 <= error.status < 600, error
        assert error.code in issue_types, error
        assert error.title and error.title[0].isupper(), error
    drawn = errors.__doc__ or ""
    outside = [error.__name__ for error in tree if error.__module__ == "fhircase.errors" and error.__name__ not in drawn]
    assert outside == [], "draw them into the tree atop errors.py"


def test_no_text_of_an_exception_reaches_a_caller() -> None:
    """``str(error)`` of anything caught in web/ would be one; errors of our tree carry Problems."""
    found = []
    for path in sources():
        if not place(path).startswith("fhircase/web/"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ExceptHandler) or not node.name:
                continue
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("str", "repr"):
                    if any(isinstance(arg, ast.Name) and arg.id == node.name for arg in call.args):
                        found.append(f"{place(path)}:{call.lineno}")
                if isinstance(call, ast.FormattedValue) and isinstance(call.value, ast.Name) and call.value.id == node.name:
                    found.append(f"{place(path)}:{call.lineno}")
    assert found == []


def test_every_log_line_is_a_row_of_the_one_enum() -> None:
    from fhircase.telemetry import Log

    codes = [entry.code for entry in Log]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"FHC\d{3}", code) for code in codes)
    elsewhere = [line for line in importers({"logging", "structlog"}, {"fhircase/telemetry.py"}) if "/migrations/" not in line]
    assert elsewhere == []
    for path in sources():
        tree = ast.parse(path.read_text("utf-8"))
        by_name = any(name == "fhircase.telemetry.tell" for name, _ in imported(tree))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = ast.unparse(node.func)
            if called == "telemetry.tell" or (called == "tell" and by_name):
                first = node.args[0]
                assert not isinstance(first, ast.Constant), f"{place(path)}:{node.lineno}"
                assert not isinstance(first, ast.Attribute) or first.attr in Log.__members__, f"{place(path)}:{node.lineno}"


def test_nothing_happens_at_import() -> None:
    """A module may define and compile; opening files, sockets and threads waits for the composition root."""
    noisy = {"open", "connect", "create_engine", "Thread", "getenv", "urlopen", "Session", "read_text", "read_bytes"}
    found = []
    for path in sources():
        if "/migrations/" in place(path) or path.name == "__main__.py":
            continue
        for statement in ast.parse(path.read_text("utf-8")).body:
            if isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef, ast.If)):
                continue
            for node in ast.walk(statement):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in noisy:
                    found.append(f"{place(path)}:{node.lineno}")
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        place(path)
        for path in sources()
        if path.name != "__init__.py" and "/versions/" not in place(path) and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_every_dataclass_of_the_core_is_frozen() -> None:
    found = []
    for path in sources():
        if not place(path).startswith(tuple(f"fhircase/{part}/" for part in ("plans", "intake", "sync", "access", "case", "hl7v2"))):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                # A private one may gather while it reads; what is handed on is a value.
                written = [ast.unparse(decorator) for decorator in node.decorator_list if not node.name.startswith("_")]
                if any("dataclass" in text and "frozen=True" not in text for text in written):
                    found.append(f"{place(path)}:{node.lineno} {node.name}")
    assert found == []


def test_every_module_imports_by_itself() -> None:
    import fhircase

    for module in pkgutil.walk_packages(fhircase.__path__, "fhircase."):
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            assert inspect.ismodule(importlib.import_module(module.name))
