"""``fhircase demo``: the whole main job on one machine, in one command."""

from __future__ import annotations

import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fhircase.demo.processes import DidNotStart, Server, free_port
from fhircase.demo.receiver import Receiver
from fhircase.demo.servers import Api, Unexpected
from fhircase.demo.story import AUTHORITIES, HOMEWARD, MERCY, RIVERSIDE, ROLES, SENDERS, TITLES, Cast, NotEqual, Story
from fhircase.fhir import jsontext

DESTINATIONS = {MERCY: "MERCY", RIVERSIDE: "RIVERSIDE", HOMEWARD: "HOMEWARD"}
QUICK = {"FHIRCASE_LEASE_MS": "4000", "FHIRCASE_HTTP_TIMEOUT_S": "1.9", "FHIRCASE_RETRY_MAX_MS": "2000"}
"""So that nobody waits a minute for the lanes of a killed hub."""

FACILITIES = "urn:fhircase:facility"
"""Identifier system of the names that PV1-37 uses for a partner."""


def run(*, foreign: Mapping[str, str] | None = None, keep: bool = False, home: str | None = None, patience: float = 20.0) -> int:
    """Play the story; ``foreign`` puts other makers' FHIR servers (name → base url) in partners' places, ``keep`` leaves
    everything running until Ctrl-C. Returns the exit code: 0 only if all servers ended equal."""
    foreign = dict(foreign or {})
    unknown = foreign.keys() - TITLES.keys()
    if unknown:
        _say(f"no such partner in the story: {', '.join(sorted(unknown))}; it has {', '.join(TITLES)}")
        return 2
    folder = Path(home or tempfile.mkdtemp(prefix="fhircase-demo-"))
    started = time.monotonic()
    hub, partners = cast_servers(folder, foreign)
    receiver = Receiver()
    code = 1
    try:
        _say(f"Starting the hub and {len(partners)} partner FHIR servers, each with a store of its own, in {folder}")
        for server in (*partners.values(), hub):
            server.start()
        story = Story(cast(hub, partners, foreign, receiver, patience))
        case = story.run()
        _say(f"\nAll equal, in {time.monotonic() - started:.0f} s.\n")
        _say("Look at it:" if keep else "Look at it (fhircase demo --keep leaves everything running):")
        for words in links(hub, partners, foreign, case, story.patient):
            _say(words)
        code = 0
        if keep:
            _say("\nEverything stays up until Ctrl-C.")
            signal.pause()
    except KeyboardInterrupt:
        pass
    except (Unexpected, NotEqual, DidNotStart) as error:
        _say(f"\nThe story stopped: {error}\nLogs: {folder}/*/log.jsonl")
    finally:
        for server in (hub, *partners.values()):
            server.stop()
        receiver.stop()
        if code == 0 and home is None:
            shutil.rmtree(folder, ignore_errors=True)
    return code


def cast_servers(
    folder: Path, foreign: Mapping[str, str], *, settings: Mapping[str, str] | None = None
) -> tuple[Server, dict[str, Server]]:
    """The hub and our own stand-ins for the partners that are not foreign; not started yet."""
    mllp = str(free_port())
    hub_settings = {
        "FHIRCASE_MLLP_BIND": f"127.0.0.1:{mllp}",
        "FHIRCASE_MLLP_PARTNER": MERCY,
        "FHIRCASE_EGRESS_ALLOW": "127.0.0.0/8",
        **QUICK,
        **(settings or {}),
    }
    hub = Server("hub", folder / "hub", secrets.token_urlsafe(24), settings=hub_settings)
    plain = {"FHIRCASE_COORDINATES": "false"}
    return hub, {name: Server(name, folder / name, secrets.token_urlsafe(24), settings=plain) for name in TITLES if name not in foreign}


def cast(hub: Server, partners: Mapping[str, Server], foreign: Mapping[str, str], receiver: Receiver, patience: float) -> Cast:
    """Register partners, keys and the webhook endpoint at the hub, as an administrator would."""
    admin = Api(hub.url, hub.key)
    servers: dict[str, Api] = {}
    own: dict[str, Api] = {}
    for name, title in TITLES.items():
        base = foreign.get(name) or partners[name].fhir
        token = partners[name].key if name in partners else None
        servers[name] = Api(base, token)
        record = {
            "name": name, "title": title, "role": ROLES[name], "base_url": base, "poll_seconds": 0.5, "zone": "America/New_York",
            "auth": {"kind": "bearer", "token": token} if token else {"kind": "none"},
            "senders": [[SENDERS[name].application, SENDERS[name].facility]] if name in SENDERS else [],
            "authorities": AUTHORITIES,
            "identifiers": [[FACILITIES, DESTINATIONS[name]]],
            "networks": ["127.0.0.0/8"],
        }  # fmt: skip
        admin.call("POST", "/partners", record)
        made = jsontext.loads(admin.call("POST", "/keys", {"name": f"{name} demo", "partner": name, "scopes": ["system/*.cruds"]}).content)
        own[name] = Api(hub.url, made["key"])
    made = jsontext.loads(
        admin.call("POST", "/keys", {"name": "case manager", "partner": "hub", "user": "Kim Lee", "scopes": ["system/*.cruds"]}).content
    )
    manager = Api(hub.url, made["key"])
    receiver.secret = jsontext.loads(
        admin.call("POST", "/webhooks/endpoints", {"url": receiver.url, "events": [], "thin": True, "fifo": True}).content
    )["secret"]

    def crash() -> None:
        hub.kill()
        hub.start()

    return Cast(
        hub=admin, manager=manager, own=own, servers=servers, mllp_port=int(str(hub.settings["FHIRCASE_MLLP_BIND"]).rsplit(":", 1)[1]),
        receiver=receiver, now=datetime.now(UTC).replace(microsecond=0), say=_say,  # noqa: TID251 (the story plays today)
        stop={name: server.kill for name, server in partners.items()}, start={name: server.start for name, server in partners.items()},
        crash=crash, patience=patience,
    )  # fmt: skip


def links(hub: Server, partners: Mapping[str, Server], foreign: Mapping[str, str], case: str, patient: str) -> Sequence[str]:
    """Where to look; while they run (``--keep``)."""
    lines = [f"  curl -H 'Authorization: Bearer {hub.key}' {hub.url}/cases/{case}"]
    lines.append(f"  curl -H 'Authorization: Bearer {hub.key}' '{hub.url}/fhir/CarePlan?patient={patient}&_include=CarePlan:goal'")
    lines.append(f"  curl -H 'Authorization: Bearer {hub.key}' {hub.url}/intake/messages")
    for name in TITLES:
        server = partners.get(name)
        if server is not None:
            lines.append(f"  curl -H 'Authorization: Bearer {server.key}' {server.fhir}/CarePlan")
        else:
            lines.append(f"  curl {foreign[name]}/CarePlan")
    return lines


def _say(words: str) -> None:
    print(words, flush=True)
    sys.stdout.flush()
