"""Every setting: name, default, type and one line of help, in one table (README and ``--help`` are generated from it).

A setting comes from the environment (``FHIRCASE_DATABASE_URL``), else from the TOML file that ``FHIRCASE_CONFIG`` names
(``database_url = "…"``), else from its default."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

PREFIX = "FHIRCASE_"


class SettingError(Exception):
    """Settings that cannot be used; ``problems`` names each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def _setting(default: Any, help: str, *, secret: bool = False, least: float | None = None, one_of: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": help, "secret": secret, "least": least, "one_of": one_of})


@dataclass(frozen=True, slots=True)
class Settings:
    """The table. Times are in the unit that the name says, sizes in bytes."""

    database_url: str = _setting(
        "sqlite:///fhircase.db", "Where the plans are kept: sqlite:///file or postgresql://user@host/name.", secret=True
    )
    base_url: str = _setting("", "The address that callers reach the hub at; default http:// and the bind address.")
    bind: str = _setting("127.0.0.1:8080", "Address and port of the web server.")
    mllp_bind: str = _setting("", "Address and port of the MLLP listener; empty: no listener.")
    mllp_partner: str = _setting("", "The partner that MLLP connections of this machine speak for; others: by their networks.")
    admin_key: str = _setting("", "A key that is an administrator, sent as Authorization: Bearer.", secret=True)
    secret_key: str = _setting(
        "", "Seals partners' and webhooks' secrets; several, newest first, separated by commas, while rotating.", secret=True
    )
    secret_key_file: str = _setting(
        "", "A file that holds the secret key; default fhircase.key beside an SQLite database, made at first start."
    )
    mappings: str = _setting("", "A folder of mappings in place of the built-in ones.")
    coordinates: bool = _setting(True, "Whether this hub runs cases; false: a plain FHIR server that opens, grants and pushes nothing.")
    web_processes: int = _setting(1, "Web processes; each runs lanes too.", least=1)
    web_threads: int = _setting(8, "Threads of each web process.", least=1)
    lane_workers: int = _setting(64, "Lanes worked on at once in one process.", least=1)
    drain_seconds: float = _setting(20.0, "How long SIGTERM waits for work under way.", least=0)
    handover_days: int = _setting(30, "Days that the sending setting stays a member after a hand-over.", least=0)
    lease_ms: int = _setting(60_000, "How long a lane stays with a silent worker.", least=1_000)
    http_timeout_s: float = _setting(20.0, "How long to wait for a partner's answer; below half the lease.", least=0.1)
    retry_first_ms: int = _setting(1_000, "First pause of a lane whose partner cannot be reached; doubles.", least=1)
    retry_max_ms: int = _setting(300_000, "Longest pause of a lane.", least=1)
    poll_overlap_s: int = _setting(300, "How far each poll of a partner looks back behind its cursor.", least=0)
    body_bytes: int = _setting(5_000_000, "Largest body taken.", least=1_000)
    bundle_bytes: int = _setting(20_000_000, "Largest Bundle taken.", least=1_000)
    bundle_entries: int = _setting(2_000, "Most entries of a batch or transaction.", least=1)
    key_cache_s: float = _setting(2.0, "How long a key's record is kept in memory: a revocation takes this long.", least=0)
    audit_flush_ms: int = _setting(500, "How long read audit may wait before it is written.", least=10)
    egress_allow: str = _setting("", "Networks (CIDR, comma separated) that webhooks may reach besides public ones, such as 10.1.0.0/16.")
    log_level: str = _setting(
        "info", "debug, info, warning or error; reads are logged at debug.", one_of=("debug", "info", "warning", "error")
    )

    @property
    def host(self) -> str:
        return split_bind("bind", self.bind)[0]

    @property
    def port(self) -> int:
        return split_bind("bind", self.bind)[1]

    @property
    def url(self) -> str:
        """``base_url``, or what the bind address gives, without a slash at the end."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        host = f"[{host}]" if ":" in host else host
        return (self.base_url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the web server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def split_bind(name: str, value: str) -> tuple[str, int]:
    """``127.0.0.1:8080`` or ``[::1]:8080`` → host and port. Raises SettingError."""
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise SettingError([f"{PREFIX}{name.upper()}: write address:port, such as 127.0.0.1:8080"])
    return host.strip("[]"), int(port)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table, for documentation."""

    name: str
    type: str
    default: str
    help: str


def table() -> tuple[Row, ...]:
    """Every setting in the order of the table, and FHIRCASE_CONFIG itself."""
    rows = [Row(PREFIX + "CONFIG", "str", "", "A TOML file with these settings in lower case, without FHIRCASE_.")]
    rows += [Row(PREFIX + f.name.upper(), str(f.type), _written(f.default), f.metadata["help"]) for f in fields(Settings)]
    return tuple(rows)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def load(environ: Mapping[str, str]) -> Settings:
    """Reads the environment and the file that it names. Raises SettingError with every mistake, by setting."""
    problems: list[str] = []
    values: dict[str, Any] = {}
    known = {f.name: f for f in fields(Settings)}
    if path := environ.get(PREFIX + "CONFIG"):
        for name, value in _from_file(path, problems).items():
            plain = name.lower().removeprefix(PREFIX.lower())
            if plain not in known:
                near = difflib.get_close_matches(plain, known, 1)
                problems.append(f"{path}: no setting is called {name}" + (f"; did you mean {near[0]}?" if near else ""))
            elif not isinstance(value, (str, int, float)):
                problems.append(f"{path}: {name}: a text or a number is asked for")
            else:
                values[plain] = str(value)
    for name in known:
        if PREFIX + name.upper() in environ:
            values[name] = environ[PREFIX + name.upper()]
    made: dict[str, Any] = {}
    for name, text in values.items():
        setting = known[name]
        try:
            made[name] = _read(str(setting.type), str(text).strip(), setting.metadata)
        except ValueError as error:
            problems.append(f"{PREFIX}{name.upper()}: {error}")
    if problems:
        raise SettingError(problems)
    settings = Settings(**made)
    _agree(settings, problems)
    if problems:
        raise SettingError(problems)
    return settings


def _from_file(path: str, problems: list[str]) -> Mapping[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError:
        problems.append(f"{PREFIX}CONFIG: the file {path} cannot be read")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{PREFIX}CONFIG: {path} is not TOML: {error}")
    return {}


_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _read(type_: str, text: str, rules: Mapping[str, Any]) -> Any:
    value: Any = text
    if type_ == "bool":
        if text.lower() not in _BOOLS:
            raise ValueError("true or false is asked for")
        return _BOOLS[text.lower()]
    if type_ == "int":
        try:
            value = int(text.replace("_", ""))
        except ValueError:
            raise ValueError("a whole number is asked for") from None
    elif type_ == "float":
        try:
            value = float(text)
        except ValueError:
            raise ValueError("a number is asked for") from None
    if rules["least"] is not None and not value >= rules["least"]:
        raise ValueError(f"must be at least {rules['least']}")
    if rules["one_of"] and value not in rules["one_of"]:
        raise ValueError(f"must be one of {', '.join(rules['one_of'])}")
    return value


def _agree(settings: Settings, problems: list[str]) -> None:
    for name in ("bind", "mllp_bind"):
        value = getattr(settings, name)
        if value or name == "bind":
            try:
                split_bind(name, value)
            except SettingError as error:
                problems += error.problems
    kind, _, rest = settings.database_url.partition("://")
    if kind.partition("+")[0] not in ("sqlite", "postgresql", "postgres") or (kind == "sqlite" and rest in ("", "/", "/:memory:")):
        problems.append(f"{PREFIX}DATABASE_URL: write sqlite:///file or postgresql://user@host/name")
    if settings.base_url and urlsplit(settings.base_url).scheme not in ("http", "https"):
        problems.append(f"{PREFIX}BASE_URL: write an http:// or https:// address")
    if settings.http_timeout_s * 2000 > settings.lease_ms:
        problems.append(f"{PREFIX}HTTP_TIMEOUT_S: must be below half of {PREFIX}LEASE_MS, so that no silent worker sends late")
    if settings.secret_key and settings.secret_key_file:
        problems.append(f"{PREFIX}SECRET_KEY and {PREFIX}SECRET_KEY_FILE: set one of them")
