"""The command ``fhircase``."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import click

from fhircase import __version__, telemetry
from fhircase import settings as settings_
from fhircase.errors import FhircaseError, NotFound
from fhircase.fhir import jsontext
from fhircase.settings import SettingError, Settings
from fhircase.telemetry import Log

P = ParamSpec("P")
R = TypeVar("R")


def _say(words: str) -> None:
    click.echo(words)


def _json(value: Any) -> None:
    _say(jsontext.dumps(value))


def _telling(command: Callable[P, R]) -> Callable[P, R]:
    """Errors of the tree and of settings as words on stderr and exit code 2; never a traceback for what a user can mend."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except SettingError as error:
            for words in error.problems:
                click.echo(words, err=True)
        except FhircaseError as error:
            for problem in error.problems:
                click.echo(": ".join(part for part in (problem.path, problem.what, problem.hint) if part), err=True)
            if not error.problems:
                click.echo(error.title, err=True)
        sys.exit(2)

    return run


def _settings(**over: Any) -> Settings:
    found = settings_.load(os.environ)
    if found.mappings and not Path(found.mappings).is_dir():
        raise SettingError([f"FHIRCASE_MAPPINGS: there is no folder {found.mappings}"])
    return replace(found, **{name: value for name, value in over.items() if value is not None})


def _hub() -> Any:
    """A hub on the migrated store, for a command that ends."""
    from fhircase import storage, wiring
    from fhircase.flows import enrol

    found = _settings()
    storage.migrate(found.database_url)
    hub = wiring.build_hub(found)
    enrol.ensure_hub(hub)
    return hub


def _agent() -> Any:
    from fhircase.plans.change import Agent
    from fhircase.plans.partner import HUB

    return Agent(HUB, None, admin=True)


def _settings_help() -> str:
    return "\b\nSettings (environment, or a TOML file named by FHIRCASE_CONFIG):\n" + "\n".join(
        f"  {row.name:<24} {row.help}" + (f" [{row.default}]" if row.default else "") for row in settings_.table()
    )


@click.group(epilog=_settings_help(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 140})
@click.version_option(__version__)
def main() -> None:
    """One shared care plan per client, in step between hospital, rehab and home care."""


# ------------------------------------------------------------------------------------------------ running


@main.command()
@click.option("--bind", help="Address and port, instead of FHIRCASE_BIND.")
@_telling
def serve(bind: str | None) -> None:
    """Run everything: web, lanes, collection and, when FHIRCASE_MLLP_BIND is set, MLLP. SIGTERM drains and exits 0."""
    from fhircase import wiring

    found = _settings(bind=bind)
    telemetry.configure(found.log_level)
    first = wiring.prepare(found)
    telemetry.tell(Log.SERVE_STORE, store=found.database_url.partition(":")[0])
    if first is not None:
        _say(f"Administrator's key, shown this once: {first}")
    _say(f"Serving {found.url} (FHIR at {found.url}/fhir)")
    sys.stdout.flush()
    wiring.serve(found)


@main.command()
@_telling
def work() -> None:
    """Run lanes and collection alone, beside ``serve`` on PostgreSQL; as many as wanted."""
    _until_stopped(lanes=True, mllp=False)


@main.command()
@_telling
def mllp() -> None:
    """Run the MLLP listener alone."""
    if not _settings().mllp_bind:
        raise SettingError(["FHIRCASE_MLLP_BIND: say where to listen, such as 127.0.0.1:2575"])
    _until_stopped(lanes=False, mllp=True)


def _until_stopped(*, lanes: bool, mllp: bool) -> None:
    from fhircase import storage, wiring

    found = _settings()
    telemetry.configure(found.log_level)
    storage.migrate(found.database_url)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda _number, _frame: stop.set())
    house = wiring.House(found, lanes=lanes, mllp=mllp)
    house.start()
    telemetry.tell(Log.SERVE_START, kind="mllp" if mllp else "work")
    while not stop.wait(1.0):
        pass
    telemetry.tell(Log.SERVE_STOP)
    house.stop()


@main.command()
@_telling
def migrate() -> None:
    """Bring the store to the tables of this version."""
    from fhircase import storage

    storage.migrate(_settings().database_url)
    _say("The store is migrated.")


@main.command()
@_telling
def check() -> None:
    """Check settings, mappings, store and partners' records; exit code 1 when something needs a hand."""
    from fhircase import mapping, storage, wiring

    found = _settings()
    wrong = [f"mappings: {line}" for line in _wrong(mapping.check(Path(found.mappings) if found.mappings else None))]
    wiring.secrets_of(found)
    store = storage.open(found.database_url)
    try:
        if not store.ready():
            wrong.append("store: not migrated; run fhircase migrate")
        else:
            with store.read() as tx:
                wrong += [
                    f"partner {partner.name}: no time zone; times without offset are kept to the day" for partner in tx.partners.all()
                    if partner.senders and not partner.zone
                ]  # fmt: skip
                if tx.audit.verify() is not None:
                    wrong.append("audit: the hash chain is broken; see GET /audit/verify")
    finally:
        store.close()
    for line in wrong:
        _say(line)
    if wrong:
        sys.exit(1)
    _say("All well.")


# ------------------------------------------------------------------------------------------------ keys


@main.group()
def keys() -> None:
    """API keys of partners and people."""


@keys.command("add")
@click.argument("name")
@click.option("--partner", default="hub", show_default=True, help="Whose key; one not enrolled yet gets a bare record.")
@click.option("--scope", "scopes", multiple=True, help="Such as system/*.rs; may be given several times.")
@click.option("--user", help="A person of the hub.")
@click.option("--admin", is_flag=True, help="An administrator's key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_telling
def keys_add(name: str, partner: str, scopes: tuple[str, ...], user: str | None, admin: bool, as_json: bool) -> None:
    """Make a key and print it this once."""
    from fhircase.flows import enrol
    from fhircase.web.admin import shown_key

    hub = _hub()
    if partner != "hub":
        with hub.store.read() as tx:
            known = tx.partners.get(partner) is not None
        if not known:
            record, _ = enrol.read_partner({"name": partner})
            enrol.partner(hub, _agent(), record, new=True)
            click.echo(f"The partner {partner} was not enrolled; it has a bare record now (fhircase partner show {partner}).", err=True)
    split = tuple(part for scope in scopes for part in scope.split())
    made, text = enrol.key(hub, os.urandom, name=name, partner=partner, scopes=split, user=user, admin=admin)
    hub.store.close()
    if as_json:
        _json({**shown_key(made), "key": text})
    else:
        _say(text)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_telling
def keys_list(as_json: bool) -> None:
    """List keys, never their text."""
    from fhircase.web.admin import shown_key

    hub = _hub()
    with hub.store.read() as tx:
        held = [shown_key(key) for key in tx.keys.list()]
    hub.store.close()
    if as_json:
        _json({"items": held})
        return
    for key in held:
        state = f"revoked {key['revoked']}" if key["revoked"] else "administrator" if key["admin"] else " ".join(key["scopes"])
        _say(f"{key['id']}  {key['partner']:<16} {key['name']:<24} {state}")


@keys.command("revoke")
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_telling
def keys_revoke(id: str, as_json: bool) -> None:
    """Revoke a key by its id; it stops within seconds."""
    hub = _hub()
    with hub.store.write() as tx:
        if all(key.id != id for key in tx.keys.list()):
            raise NotFound("no such key", hint="see: fhircase keys list")
        tx.keys.revoke(id, hub.now())
    hub.store.close()
    if as_json:
        _json({"id": id, "revoked": True})
    else:
        _say("Revoked.")


# ------------------------------------------------------------------------------------------------ partners


@main.group()
def partner() -> None:
    """Organisations that exchange with the hub."""


@partner.command("add")
@click.argument("name")
@click.option("--title", help="Its name for people.")
@click.option("--role", type=click.Choice(["hospital", "rehab", "home-care", "snf", "other"]), help="What it is.")
@click.option("--base-url", help="The base of its FHIR server.")
@click.option("--fhir-version", type=click.Choice(["R4", "R5"]), help="What its server speaks.")
@click.option("--token", help="The bearer token that its server asks for; better: --token-file.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False), help="A file that holds it.")
@click.option("--zone", help="Its IANA time zone.")
@click.option("--opens-case", type=click.Choice(["discharge", "admission", "roster", "never"]), help="When its ADT opens a case.")
@click.option("--sender", "senders", multiple=True, help="APPLICATION^FACILITY (MSH-3, MSH-4) that it may use.")
@click.option("--authority", "authorities", multiple=True, help="AUTHORITY=identifier system.")
@click.option("--identifier", "identifiers", multiple=True, help="SYSTEM|VALUE by which others name it.")
@click.option("--processing-id", "processing_ids", multiple=True, help="Accepted MSH-11 values.")
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False), help="A JSON record, as POST /partners takes it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_telling
def partner_add(name: str, file: str | None, as_json: bool, token: str | None, token_file: str | None, **given: Any) -> None:
    """Enrol a partner."""
    from fhircase.flows import enrol

    document: dict[str, Any] = jsontext.loads(Path(file).read_bytes()) if file else {}
    document["name"] = name
    shapes = {"senders": ("^", ("application", "facility")), "identifiers": ("|", ("system", "value"))}
    for member, value in given.items():
        if value is None or value == ():
            continue
        if member in shapes:
            mark, parts = shapes[member]
            value = [dict(zip(parts, (one.partition(mark)[0], one.partition(mark)[2]), strict=True)) for one in value]
        elif member == "authorities":
            value = dict(one.split("=", 1) if "=" in one else (one, "") for one in value)
        elif isinstance(value, tuple):
            value = list(value)
        document[member] = value
    if token_file:
        token = Path(token_file).read_text("utf-8").strip()
    if token:
        document["auth"] = {"kind": "bearer", "token": token}
    record, secret = enrol.read_partner(document)
    hub = _hub()
    made = enrol.partner(hub, _agent(), record, secret=secret, new=True)
    hub.store.close()
    if as_json:
        _json(enrol.shown(made))
    else:
        _say(f"{made.name} is enrolled.")


@partner.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_telling
def partner_list(as_json: bool) -> None:
    """List partners."""
    from fhircase.flows import enrol

    hub = _hub()
    with hub.store.read() as tx:
        held = list(tx.partners.all())
    hub.store.close()
    if as_json:
        _json({"items": [enrol.shown(one) for one in held]})
        return
    for one in held:
        _say(f"{one.name:<16} {one.role:<10} {one.base_url or '-':<40} {'paused' if one.paused else ''}".rstrip())


@partner.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on one line.")
@_telling
def partner_show(name: str, as_json: bool) -> None:
    """Show one partner's record."""
    import json

    from fhircase.flows import enrol

    hub = _hub()
    told = enrol.shown(enrol.find(hub, name))
    hub.store.close()
    if as_json:
        _json(told)
    else:
        _say(json.dumps(told, indent=2, ensure_ascii=False, default=str))


@partner.command("probe")
@click.argument("name")
@_telling
def partner_probe(name: str) -> None:
    """Find out what a partner's server can do."""
    _operate(name, "probe")


@partner.command("sync")
@click.argument("name")
@_telling
def partner_sync(name: str) -> None:
    """Poll and push at once."""
    _operate(name, "sync")


@main.command("sync")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@_telling
def sync(name: str, dry_run: bool) -> None:
    """Bring one partner up to date at once."""
    _operate(name, "dry_run" if dry_run else "sync")


def _operate(name: str, what: str) -> None:
    from fhircase import wiring
    from fhircase.flows import enrol

    hub = _hub()
    told = getattr(wiring.PartnerOperations(hub, lanes=True), what)(enrol.find(hub, name))
    hub.store.close()
    _json(dict(told))


# ------------------------------------------------------------------------------------------------ messages and mappings


@main.command()
@click.argument("messages", nargs=-1, required=True)
@_telling
def replay(messages: tuple[str, ...]) -> None:
    """Apply kept messages again, by id, after a mapping or a setting was mended."""
    from fhircase.flows import take_in

    hub = _hub()
    for id in messages:
        taken = take_in.replay(hub, id, _agent())
        _json({"id": id, "state": taken.message.state, "code": taken.message.code, "became": list(taken.message.became)})
    hub.store.close()


@main.group("map")
def map_() -> None:
    """The mappings between FHIR, HL7 v2 and the case."""


@map_.command("check")
@_telling
def map_check() -> None:
    """Every mistake, with file, line and column."""
    from fhircase import mapping

    found = _settings()
    lines = mapping.check(Path(found.mappings) if found.mappings else None)
    for line in lines:
        _say(line)
    if _wrong(lines):
        sys.exit(1)


def _wrong(lines: Sequence[str]) -> list[str]:
    """What mapping.check tells of mistakes: its last line is the count, good examples begin with ok."""
    return [line for line in lines[:-1] if not line.startswith("ok")]


@map_.command("show")
@click.argument("name")
@click.option("--site", help="With this partner's overrides.")
@click.option("--release", type=click.Choice(["R4", "R5"]), default="R4", show_default=True, help="FHIR release of the paths.")
@_telling
def map_show(name: str, site: str | None, release: Literal["R4", "R5"]) -> None:
    """Each line of a mapping as it is understood."""
    from fhircase import mapping

    found = _settings().mappings
    try:
        lines = mapping.show(name, site, Path(found) if found else None, release)
    except KeyError:
        raise NotFound(f"no mapping is called {name}", hint="see: fhircase map check") from None
    except ValueError as error:
        raise NotFound(str(error)) from None
    for line in lines:
        _say(line)


@map_.command("try")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--release", type=click.Choice(["R4", "R5"]), default="R4", show_default=True, help="FHIR release of the resource.")
@_telling
def map_try(name: str, file: Path, release: Literal["R4", "R5"]) -> None:
    """What a resource, case document or message becomes, and what comes back."""
    from fhircase import mapping

    found = _settings().mappings
    try:
        lines = mapping.try_(name, file, Path(found) if found else None, release)
    except KeyError:
        raise NotFound(f"no mapping is called {name}", hint="see: fhircase map check") from None
    except ValueError as error:
        raise NotFound(str(error)) from None
    for line in lines:
        _say(line)


@main.group("v2")
def v2() -> None:
    """HL7 v2 messages."""


@v2.command("show")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_telling
def v2_show(file: Path) -> None:
    """A message place by place, with the number and name of each."""
    from fhircase import hl7v2
    from fhircase.hl7v2 import names

    message = hl7v2.parse(file.read_bytes())
    _say(f"{message.type}^{message.event}  version {message.version}  control id {message.control_id}  read as {message.codec}")
    for place, text in names.filled(message):
        _say(f"{place!s:<16} {names.name(place):<48} {text}")
    for problem in message.problems:
        _say(f"{problem.severity}: {problem.path}: {problem.what}")


@main.command()
@click.option("--partner", "partners", multiple=True, metavar="NAME=URL", help="A foreign FHIR server in a partner's place.")
@click.option("--keep", is_flag=True, help="Leave everything running to play with.")
@click.option("--home", type=click.Path(file_okay=False), help="A folder for the stores and logs.")
@_telling
def demo(partners: tuple[str, ...], keep: bool, home: str | None) -> None:
    """The story of one client, from hospital to rehab to home, on four servers of this machine."""
    from fhircase import demo as play

    foreign = dict(one.split("=", 1) for one in partners if "=" in one)
    if len(foreign) != len(partners):
        raise click.UsageError("--partner is NAME=URL, each name once")
    sys.exit(play.run(foreign=foreign, keep=keep, home=home))


if __name__ == "__main__":
    main()
