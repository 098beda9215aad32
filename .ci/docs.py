"""Write the generated parts of the documentation, or with --check tell which are stale.

    python .ci/docs.py [--check]

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->`` in one of PAGES; NAME is a function below."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "fhircase/README.md", "mappings/README.md")
PART = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings() -> Iterator[str]:
    from fhircase.settings import table

    rows = ((f"`{row.name}`", f"`{row.default}`" if row.default else "none", row.help) for row in table())
    yield from _table(("Setting", "Default", "What it does"), rows)


def commands() -> Iterator[str]:
    import click

    from fhircase.__main__ import main

    def walk(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
        if isinstance(command, click.Group):
            for below in sorted(command.commands):
                yield from walk(command.commands[below], f"{name} {below}")
        else:
            arguments = "".join(f" {p.make_metavar(click.Context(command))}" for p in command.params if isinstance(p, click.Argument))
            yield f"`{name}{arguments}`", (command.help or "").strip().splitlines()[0]

    yield from _table(("Command", "What it does"), walk(main, "fhircase"))


def routes() -> Iterator[str]:
    from fhircase.flows.hub import Hub, Policy
    from fhircase.web.app import Services, create_app

    nothing: object = None
    hub = Hub(nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, Policy())  # type: ignore[arg-type]
    app = create_app(hub, Services(random_bytes=bytes))
    rows = []
    for rule in app.url_map.iter_rules():
        methods = " ".join(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}))
        says = (app.view_functions[rule.endpoint].__doc__ or "").strip().partition("\n")[0]
        path = re.sub(r"<(?:[^:>]*:)?([^>]*)>", r"{\1}", rule.rule)
        rows.append((f"`{methods} {path}`", says, rule.rule))
    yield from _table(("Route", "What it does"), (row[:2] for row in sorted(rows, key=lambda row: (row[2], row[0]))))


def errors() -> Iterator[str]:
    from fhircase import errors as tree

    found: list[type[tree.FhircaseError]] = [tree.FhircaseError]
    for error in found:
        found += [e for e in error.__subclasses__() if e.__module__ == "fhircase.errors"]
    leaves = [e for e in found if not e.__subclasses__() or e.__name__ == "FhircaseError"]
    rows = sorted((e.status, e.__name__, e.code, e.title) for e in leaves)
    yield from _table(("Status", "Error", "Issue code", "Title"), ((str(s), f"`{n}`", f"`{c}`", t) for s, n, c, t in rows))


def events() -> Iterator[str]:
    from fhircase.plans.events import EVENT_TYPES, NAMED_TYPES

    grouped = {type_.lower() for type_ in NAMED_TYPES} - {"goal"}
    yield "Each type of resource has `created`, `updated` and `deleted`, as `goal` shows; other groups are: " + ", ".join(
        f"`{name}`" for name in sorted(grouped)
    ) + "."
    yield ""
    rows = ((f"`{t.name}`", t.says, t.audience) for t in EVENT_TYPES.values() if t.name.partition(".")[0] not in grouped)
    yield from _table(("Event", "What happened", "Told to"), rows)


def logs() -> Iterator[str]:
    from fhircase.telemetry import Log

    yield from _table(("Code", "Level", "Words"), ((f"`{entry.code}`", entry.level, entry.words) for entry in Log))


def mappings() -> Iterator[str]:
    from fhircase import mapping

    maps = mapping.Mappings.load()
    for name in sorted(maps.names()):
        yield f"**{name}**"
        yield ""
        yield "```text"
        yield from (line.rstrip() for line in mapping.show(name))
        yield "```"
        yield ""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    columns = list(head)
    yield "| " + " | ".join(columns) + " |"
    yield "|" + " --- |" * len(columns)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


PARTS = {part.__name__: part for part in (settings, commands, routes, errors, events, logs, mappings)}


def rendered(text: str) -> str:
    """``text`` with every generated part as it should be. Raises KeyError for a part that nobody writes."""

    def fill(found: re.Match[str]) -> str:
        lines = "\n".join(PARTS[found["name"]]()).rstrip("\n")
        return f"{found[1]}{lines}\n{found[3]}"

    return PART.sub(fill, text)


def stale(*, write: bool) -> list[str]:
    """The pages whose generated parts differ from the code; mended when ``write``."""
    found = []
    for name in PAGES:
        page = ROOT / name
        if not page.exists():
            continue
        text = page.read_text("utf-8")
        made = rendered(text)
        if made != text:
            found.append(name)
            if write:
                page.write_text(made, "utf-8")
    return found


def main(arguments: list[str]) -> int:
    sys.path.insert(0, str(ROOT))
    check = "--check" in arguments
    found = stale(write=not check)
    for name in found:
        print(f"{name}: {'stale; run python3 .ci/do python .ci/docs.py' if check else 'written'}")
    if not found:
        print("the documentation says what the code does")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
