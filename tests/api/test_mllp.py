"""The MLLP listener on real sockets: frames, limits, who may connect, and answers only for what was stored."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fhircase.mllp import Decoder, FrameTooLarge, Limits, Listener, NotFramed, Peer, Peers, frame

LOCAL = Peers(default="mercy")


@contextmanager
def listening(handler: Callable[[bytes, Peer], bytes | None], **more: object) -> Iterator[Listener]:
    settings: dict[str, object] = {"peers": LOCAL, "limits": Limits(idle_seconds=5.0), **more}
    listener = Listener(("127.0.0.1", 0), handler, **settings)  # type: ignore[arg-type]
    listener.start()
    try:
        yield listener
    finally:
        assert listener.stop(10.0)


@contextmanager
def connected(listener: Listener) -> Iterator[socket.socket]:
    with socket.create_connection(listener.address, timeout=10.0) as sender:
        yield sender


def received(sender: socket.socket, count: int = 1) -> list[bytes]:
    """``count`` answers, or those that came before the end."""
    decoder, found = Decoder(1_000_000), []
    while len(found) < count:
        data = sender.recv(65_536)
        if not data:
            break
        found += decoder.feed(data)
    return found


def ended(sender: socket.socket) -> bool:
    try:
        return sender.recv(1) == b""
    except ConnectionResetError:
        return True


def echo(raw: bytes, peer: Peer) -> bytes:
    return b"ACK " + raw


# ------------------------------------------------------------------------------------------------ frames


def test_a_message_may_come_in_any_pieces() -> None:
    whole = frame(b"MSH|one") + frame(b"MSH|two")
    for size in (1, 2, 3, 7, len(whole)):
        decoder, found = Decoder(100), []
        for at in range(0, len(whole), size):
            found += decoder.feed(whole[at : at + size])
        assert found == [b"MSH|one", b"MSH|two"]
        assert not decoder.inside


def test_a_missing_carriage_return_and_blank_lines_between_are_understood() -> None:
    assert list(Decoder(100).feed(b"\r\n\x0bone\x1c\x0btwo\x1c\r\n")) == [b"one", b"two"]


@pytest.mark.parametrize("junk", [b"MSH|^~\\&|", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02", b"\r\n" * 600])
def test_what_is_not_framed_is_refused(junk: bytes) -> None:
    with pytest.raises(NotFramed):
        list(Decoder(100).feed(junk))


def test_a_message_before_the_junk_is_still_taken() -> None:
    found = []
    with pytest.raises(NotFramed):
        for one in Decoder(100).feed(frame(b"one") + b"junk"):
            found.append(one)
    assert found == [b"one"]


def test_a_frame_above_the_limit_is_refused_before_it_ends() -> None:
    with pytest.raises(FrameTooLarge) as large:
        list(Decoder(10).feed(b"\x0b" + b"x" * 11))
    assert large.value.head == b"x" * 11
    with pytest.raises(FrameTooLarge):
        list(Decoder(10).feed(frame(b"x" * 11)))
    assert list(Decoder(10).feed(frame(b"x" * 10))) == [b"x" * 10]


# ------------------------------------------------------------------------------------------------ who may connect


def test_the_narrowest_range_decides_the_partner() -> None:
    peers = Peers.of([("county", ["10.0.0.0/8"]), ("mercy", ["10.1.0.0/16", "2001:db8::/32"])])
    assert peers.partner("10.1.2.3") == "mercy"
    assert peers.partner("10.9.2.3") == "county"
    assert peers.partner("::ffff:10.1.2.3") == "mercy"
    assert peers.partner("2001:db8::7") == "mercy"
    assert peers.partner("192.0.2.1") is None
    assert peers.partner("127.0.0.1") is None
    assert peers.partner("nonsense") is None


def test_the_listeners_own_partner_stands_for_loopback_alone() -> None:
    assert LOCAL.partner("127.0.0.1") == LOCAL.partner("::1") == "mercy"
    assert LOCAL.partner("10.1.2.3") is None


def test_a_range_of_two_partners_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ValueError):
        Peers.of([("a", ["10.0.0.0/8"]), ("b", ["10.0.0.0/8"])])
    with pytest.raises(ValueError):
        Peers.of([("a", ["10.0.0.1/8"])])


def test_an_unlisted_peer_is_not_listened_to() -> None:
    handled: list[bytes] = []
    with listening(lambda raw, peer: handled.append(raw) or b"ACK", peers=Peers.of([("far", ["192.0.2.0/24"])])) as listener:
        with connected(listener) as sender:
            assert ended(sender)
    assert handled == []


# ------------------------------------------------------------------------------------------------ answers


def test_each_message_is_answered_in_order_on_one_connection() -> None:
    with listening(echo) as listener, connected(listener) as sender:
        sender.sendall(b"".join(frame(b"%d" % number) for number in range(50)))
        assert received(sender, 50) == [b"ACK %d" % number for number in range(50)]
        sender.sendall(frame(b"again"))
        assert received(sender) == [b"ACK again"]


def test_the_handler_is_told_who_sent() -> None:
    seen: list[Peer] = []
    with listening(lambda raw, peer: seen.append(peer) or b"ACK") as listener, connected(listener) as sender:
        sender.sendall(frame(b"x"))
        received(sender)
        assert (seen[0].partner, seen[0].address, seen[0].port, seen[0].certificate) == (
            "mercy",
            "127.0.0.1",
            sender.getsockname()[1],
            None,
        )


def test_what_was_not_stored_is_not_answered_and_the_connection_closes() -> None:
    with listening(lambda raw, peer: None) as listener, connected(listener) as sender:
        sender.sendall(frame(b"x"))
        assert received(sender) == []


def test_a_defect_of_the_handler_is_no_acknowledgement() -> None:
    def broken(raw: bytes, peer: Peer) -> bytes:
        raise ZeroDivisionError

    with listening(broken) as listener:
        with connected(listener) as sender:
            sender.sendall(frame(b"x"))
            assert received(sender) == []
        with connected(listener) as sender:
            sender.sendall(frame(b"x"))
            assert received(sender) == []


def test_a_sender_that_wants_no_answer_gets_none_and_stays_connected() -> None:
    with listening(lambda raw, peer: b"" if raw == b"quiet" else b"ACK") as listener, connected(listener) as sender:
        sender.sendall(frame(b"quiet") + frame(b"loud"))
        assert received(sender) == [b"ACK"]


def test_a_frame_above_the_limit_is_answered_and_the_connection_closes() -> None:
    heads: list[int] = []

    def large(head: bytes, peer: Peer) -> bytes:
        heads.append(len(head))
        return b"AR"

    with listening(echo, limits=Limits(frame_bytes=10_000, idle_seconds=5.0), too_large=large) as listener, connected(listener) as sender:
        sender.sendall(b"\x0b" + b"x" * 200_000 + b"\x1c\r")
        sender.shutdown(socket.SHUT_WR)
        assert received(sender) == [b"AR"]
        assert ended(sender)
    assert heads and heads[0] > 10_000


# ------------------------------------------------------------------------------------------------ limits


def test_a_silent_connection_is_closed() -> None:
    with listening(echo, limits=Limits(idle_seconds=0.2)) as listener, connected(listener) as sender:
        assert ended(sender)


def test_a_frame_that_trickles_is_cut_though_bytes_keep_coming() -> None:
    with listening(echo, limits=Limits(idle_seconds=0.5)) as listener, connected(listener) as sender:
        stop = threading.Event()

        def trickle() -> None:
            sender.sendall(b"\x0b")
            while not stop.wait(0.05):
                try:
                    sender.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        assert ended(sender)
        stop.set()
        thread.join()


def test_one_peer_may_hold_only_so_many_connections() -> None:
    why: list[str] = []
    limits = Limits(per_peer=2, idle_seconds=5.0)
    with listening(echo, limits=limits, watch=lambda address, reason, count: why.append(reason)) as listener:
        with connected(listener) as first, connected(listener) as second:
            for sender in (first, second):
                sender.sendall(frame(b"x"))
                received(sender)
            with connected(listener) as third:
                assert ended(third)
            assert why == ["busy"]
            first.sendall(frame(b"y"))
            assert received(first) == [b"ACK y"]


# ------------------------------------------------------------------------------------------------ stopping


def _connects(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=5.0).close()
    except OSError:
        return False
    return True


def test_stopping_lets_the_message_under_way_be_answered() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(raw: bytes, peer: Peer) -> bytes:
        begun.set()
        assert go_on.wait(10.0)
        return b"ACK"

    listener = Listener(("127.0.0.1", 0), slow, peers=LOCAL, limits=Limits(idle_seconds=5.0))
    listener.start()
    address = listener.address
    with connected(listener) as sender:
        sender.sendall(frame(b"one") + frame(b"two"))
        assert begun.wait(10.0)
        done: list[bool] = []
        stopping = threading.Thread(target=lambda: done.append(listener.stop(10.0)))
        stopping.start()
        while _connects(address):
            pass
        go_on.set()
        assert received(sender, 2) == [b"ACK"]
        stopping.join()
        assert done == [True]


def test_stopping_does_not_wait_for_the_silent() -> None:
    listener = Listener(("127.0.0.1", 0), echo, peers=LOCAL, limits=Limits(idle_seconds=60.0))
    listener.start()
    with connected(listener) as sender:
        sender.sendall(frame(b"x"))
        received(sender)
        assert listener.stop(10.0)
        assert ended(sender)


# ------------------------------------------------------------------------------------------------ TLS


def test_over_tls_the_certificate_is_told(tmp_path: Path) -> None:
    server, client = _contexts(tmp_path)
    seen: list[str | None] = []
    with listening(lambda raw, peer: seen.append(peer.certificate) or b"ACK", tls=server) as listener:
        with (
            socket.create_connection(listener.address, timeout=10.0) as plain,
            client.wrap_socket(plain, server_hostname="localhost") as sender,
        ):
            sender.sendall(frame(b"x"))
            assert received(sender) == [b"ACK"]
        with connected(listener) as plain:
            plain.sendall(frame(b"MSH|^~\\&|" * 10))
            assert ended(plain)
    assert seen == ["mercy-engine"]


def _contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    files = {}
    for name, common in (("server", "localhost"), ("client", "mercy-engine")):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        file = folder / f"{name}.pem"
        file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + made.public_bytes(serialization.Encoding.PEM)
        )
        files[name] = str(file)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files["server"])
    server.load_verify_locations(files["client"])
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_cert_chain(files["client"])
    client.load_verify_locations(files["server"])
    return server, client
