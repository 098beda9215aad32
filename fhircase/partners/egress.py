"""The egress guard: only addresses that were checked are dialled (RELIABILITY §3, "Egress").

A name is resolved once, every address it gives is judged, and the connection goes to one of the judged addresses; TLS still
names and verifies the host. So neither a second answer of the resolver nor a second A record gets past the check."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import DEFAULT_POOLBLOCK, HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")

POOL = 32
"""Connections kept open per host: as many lanes as one partner may have, and its polls."""


def networks_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """CIDR texts as networks; raises ValueError for one that is none."""
    return tuple(ip_network(text.strip(), strict=False) for text in texts if text.strip())


def literal_networks(url: str) -> tuple[Network, ...]:
    """The host of ``url`` as a network of one, when it is written as an address (or ``localhost``): whoever configures a
    private address means it. A name is never enough."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return networks_of(("127.0.0.0/8", "::1/128"))
    try:
        return (ip_network(host),)
    except ValueError:
        return ()


def allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Public unicast addresses, and what ``networks`` names. An IPv4 address in IPv6 clothing is judged as what it is."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
    if any(address.version == network.version and address in network for network in networks):
        return True
    return address.is_global and not address.is_multicast and not (address.version == 6 and address in _NAT64_LOCAL)


class EgressRefused(OSError):
    """The address may not be reached; the text names no address."""


def dial(host: str, port: int, networks: Sequence[Network], timeout: Any, source_address: Any, options: Any) -> socket.socket:
    """Connect to the first reachable of the addresses that ``host`` gives, all of which are allowed; raises EgressRefused
    when one is not, OSError when none answers."""
    found = socket.getaddrinfo(host.strip("[]"), port, 0, socket.SOCK_STREAM)
    for *_, where in found:
        if not allowed(ip_address(str(where[0]).partition("%")[0]), networks):
            raise EgressRefused("the address is not one that may be reached")
    problem: OSError | None = None
    for family, kind, protocol, _, where in found:
        made = socket.socket(family, kind, protocol)
        try:
            for option in options or ():
                made.setsockopt(*option)
            if isinstance(timeout, int | float):
                made.settimeout(timeout)
            if source_address:
                made.bind(source_address)
            made.connect(where)
            return made
        except OSError as error:
            problem = error
            made.close()
    raise problem or OSError("the name has no address")


class _OneWrite(HTTPConnection):
    """Head and body in one write: two wake the receiver twice, and lanes send thousands of small bodies."""

    _held: list[bytes] | None = None

    def request(self, *args: Any, **named: Any) -> None:
        held = self._held = []
        try:
            super().request(*args, **named)
        finally:
            self._held = None
        super().send(b"".join(held))

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        else:
            self._held.append(bytes(data))


def _connection_classes(networks: Sequence[Network]) -> dict[str, type[HTTPConnectionPool]]:
    def connect(connection: HTTPConnection) -> socket.socket:
        try:
            return dial(
                connection.host, connection.port, networks, connection.timeout, connection.source_address, connection.socket_options
            )
        except OSError as error:
            raise NewConnectionError(connection, "refused" if isinstance(error, EgressRefused) else "no connection") from error

    class Plain(_OneWrite):
        def _new_conn(self) -> socket.socket:
            return connect(self)

    class Secure(_OneWrite, HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class GuardedAdapter(HTTPAdapter):
    """A requests adapter that dials only what ``networks`` and the public internet allow; no retries of its own."""

    def __init__(self, networks: Sequence[Network] = (), pool: int = POOL) -> None:
        self._networks = tuple(networks)
        super().__init__(pool_connections=8, pool_maxsize=pool, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = DEFAULT_POOLBLOCK, **more: Any) -> None:
        manager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **more)
        manager.pool_classes_by_scheme = dict(_connection_classes(self._networks))
        self.poolmanager = manager


def guarded_session(networks: Iterable[str] = ()) -> requests.Session:
    """A session that ignores proxies and netrc of the environment and whose every connection passes the guard."""
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    adapter = GuardedAdapter(networks_of(networks))
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session
