"""The listener: one thread a connection, an answer for each message in the order of their coming.

An answer is sent only when the handler returned one, and the handler returns after the commit. When nothing was stored the
connection is closed without an answer, so that the sender's queue keeps the message (DECISIONS 18)."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from fhircase.mllp.frames import Decoder, FrameTooLarge, NotFramed, frame
from fhircase.mllp.peers import Peers

Ended = Literal["closed", "idle", "stopped", "not-framed", "too-large", "not-stored", "failed", "refused", "busy"]
_ACCEPT_SECONDS = 0.1
_WAKE_SECONDS = 0.5
_ANSWER_SECONDS = 30.0
_LINGER_SECONDS = 5.0
_LINGER_BYTES = 20_000_000
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Limits:
    """``frame_bytes`` of one message; ``idle_seconds`` without a byte, and for one frame to be complete; ``per_peer``
    connections of one address, ``connections`` of all."""

    frame_bytes: int = 1_000_000
    idle_seconds: float = 30.0
    per_peer: int = 32
    connections: int = 256


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sent a message: ``partner`` by listener or address range; ``certificate`` the subject's common name, None
    without mutual TLS."""

    address: str
    port: int
    partner: str
    certificate: str | None = None


Handler = Callable[[bytes, Peer], "bytes | None"]
"""The answer, b"" for none wanted (stored, MSH-16 NE), None when nothing was stored: no answer, close."""

TooLargeHandler = Callable[[bytes, Peer], "bytes | None"]
"""Told of a frame above the limit with as much of it as was read; its answer goes out before the connection closes."""

Watcher = Callable[[str, Ended, int], None]
"""Told how a connection ended: peer address, why, messages handled. For logs and metrics."""


class Listener:
    """Listens on ``bind`` (host, port; port 0 takes a free one) between ``start`` and ``stop``.

    ``tls``: a server-side SSLContext; plain MLLP is for loopback and for listed ranges. Only peers that ``peers`` names are
    listened to. An exception of the handler closes the connection without an answer: the message counts as not stored."""

    def __init__(
        self,
        bind: tuple[str, int],
        handler: Handler,
        *,
        peers: Peers,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        too_large: TooLargeHandler | None = None,
        watch: Watcher | None = None,
    ) -> None:
        self._bind = bind
        self._handler = handler
        self._peers = peers
        self._limits = limits or Limits()
        self._tls = tls
        self._too_large = too_large
        self._watch = watch or (lambda _peer, _why, _count: None)
        self._lock = threading.Lock()
        self._open: dict[int, _Connection] = {}
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens. Raises RuntimeError before ``start``."""
        if self._socket is None:
            raise RuntimeError("the listener is not started")
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Bind and listen in a thread of its own. Raises OSError when the address cannot be had."""
        family = socket.AF_INET6 if ":" in self._bind[0] else socket.AF_INET
        listening = socket.create_server(self._bind, family=family, backlog=128)
        listening.settimeout(_ACCEPT_SECONDS)
        self._socket = listening
        self._thread = threading.Thread(target=self._accept, args=(listening,), name="mllp-listener", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> bool:
        """Take no more connections and no more messages; let those under way be answered. False when some were not done
        within ``timeout`` seconds (their connections are then cut)."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            waiting = list(self._open.values())
        end = time.monotonic() + timeout
        for connection in waiting:
            connection.thread.join(max(end - time.monotonic(), 0.0))
        late = [connection for connection in waiting if connection.thread.is_alive()]
        for connection in late:
            connection.cut()
        return not late

    def _accept(self, listening: socket.socket) -> None:
        with listening:
            while not self._stopping.is_set():
                try:
                    accepted, address = listening.accept()
                except TimeoutError:
                    continue
                except OSError:
                    # Out of descriptors or a connection reset before it was taken: the next may do.
                    self._stopping.wait(_ACCEPT_SECONDS)
                    continue
                self._admit(accepted, str(address[0]), int(address[1]))

    def _admit(self, accepted: socket.socket, address: str, port: int) -> None:
        partner = self._peers.partner(address)
        if partner is None:
            self._watch(address, "refused", 0)
            accepted.close()
            return
        connection = _Connection(self, accepted, Peer(address, port, partner))
        with self._lock:
            same = sum(1 for one in self._open.values() if one.peer.address == address)
            full = same >= self._limits.per_peer or len(self._open) >= self._limits.connections
            if not full:
                self._open[id(connection)] = connection
        if full:
            self._watch(address, "busy", 0)
            accepted.close()
            return
        connection.thread.start()

    # ------------------------------------------------------------------------------------------ for connections

    def serve(self, connection: _Connection) -> None:
        """Run one connection to its end; in the connection's own thread."""
        why: Ended = "failed"
        try:
            why = connection.run(self._limits, self._tls, self._handler, self._too_large, self._stopping)
        except OSError:
            why = "closed"
        finally:
            connection.cut()
            with self._lock:
                self._open.pop(id(connection), None)
            self._watch(connection.peer.address, why, connection.count)


class _Connection:
    """One sender's connection. ``count`` messages handled so far."""

    def __init__(self, listener: Listener, accepted: socket.socket, peer: Peer) -> None:
        self.peer = peer
        self.count = 0
        self._socket = accepted
        self.thread = threading.Thread(target=listener.serve, args=(self,), name="mllp-connection", daemon=True)

    def run(
        self,
        limits: Limits,
        tls: ssl.SSLContext | None,
        handler: Handler,
        too_large: TooLargeHandler | None,
        stopping: threading.Event,
    ) -> Ended:
        """Take messages until either side ends; why it ended. Raises OSError (TLS errors among them)."""
        self._socket.settimeout(limits.idle_seconds)
        if tls is not None:
            # In this thread, so that a slow handshake holds up nobody else.
            secured = tls.wrap_socket(self._socket, server_side=True)
            self._socket = secured
            self.peer = replace(self.peer, certificate=_common_name(secured))
        decoder = Decoder(limits.frame_bytes)
        deadline = time.monotonic() + limits.idle_seconds
        while True:
            begun = decoder.inside
            data = self._receive(deadline, stopping)
            if data is None:
                return "stopped" if stopping.is_set() else "idle"
            if not data:
                return "closed"
            try:
                for message in decoder.feed(data):
                    begun = False
                    if stopping.is_set():
                        # Not taken and not answered: the sender will send it again.
                        return "stopped"
                    ended = self._handle(message, handler)
                    if ended is not None:
                        return ended
            except NotFramed:
                return "not-framed"
            except FrameTooLarge as large:
                answer = too_large(large.head, self.peer) if too_large is not None else None
                if answer:
                    self._answer(answer, limits)
                    self._linger(limits)
                return "too-large"
            if not begun:
                # A frame must be whole in time however it trickles; between frames each byte counts.
                deadline = time.monotonic() + limits.idle_seconds

    def _receive(self, deadline: float, stopping: threading.Event) -> bytes | None:
        """What came; b"" at the end; None when nothing came in time or the listener stops."""
        while not stopping.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(min(left, _WAKE_SECONDS))
            try:
                return self._socket.recv(_CHUNK)
            except TimeoutError:
                continue
        return None

    def _handle(self, message: bytes, handler: Handler) -> Ended | None:
        try:
            answer = handler(message, self.peer)
        except Exception:
            return "failed"
        if answer is None:
            return "not-stored"
        self.count += 1
        if answer:
            self._answer(answer, None)
        return None

    def _answer(self, answer: bytes, limits: Limits | None) -> None:
        self._socket.settimeout(limits.idle_seconds if limits is not None else _ANSWER_SECONDS)
        self._socket.sendall(frame(answer))

    def _linger(self, limits: Limits) -> None:
        """Let the sender finish speaking before the connection goes: closing on unread bytes would reset it and lose the answer."""
        end, left = time.monotonic() + min(limits.idle_seconds, _LINGER_SECONDS), _LINGER_BYTES
        while left > 0 and time.monotonic() < end:
            self._socket.settimeout(max(end - time.monotonic(), 0.01))
            data = self._socket.recv(_CHUNK)
            if not data:
                return
            left -= len(data)

    def cut(self) -> None:
        """Close the socket; harmless when it is closed."""
        self._socket.close()


def _common_name(secured: ssl.SSLSocket) -> str | None:
    certificate: Any = secured.getpeercert() or {}
    for part in certificate.get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None
