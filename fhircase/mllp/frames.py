"""Framing: VT, the message, FS, CR. Values in, values out; no sockets here."""

from __future__ import annotations

from collections.abc import Iterator

START, END, CR = b"\x0b", b"\x1c", b"\r"
_BETWEEN = b"\r\n \t\x00\x1c"
_MAX_JUNK = 1_024


class NotFramed(Exception):
    """What came is not MLLP (an HTTP request, a TLS hello, a message without its frame)."""


class FrameTooLarge(Exception):
    """A frame is above the limit; ``head`` is what was read of it."""

    def __init__(self, head: bytes) -> None:
        super().__init__("an MLLP frame is above the limit")
        self.head = head


def frame(message: bytes) -> bytes:
    return START + message + END + CR


class Decoder:
    """Turns what arrives, in whatever pieces, into messages. A sender that leaves out the CR behind FS is understood; FS
    cannot stand in a message, so it ends one."""

    __slots__ = ("_buffer", "_inside", "_limit", "_seen")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._inside = False
        self._seen = 0

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._inside

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are complete now, one by one. Raises NotFramed and FrameTooLarge once those before are taken; the
        decoder is of no use after either."""
        self._buffer += data
        while True:
            if not self._inside:
                start = self._buffer.find(START)
                between = bytes(self._buffer if start < 0 else self._buffer[:start])
                if between.strip(_BETWEEN) or len(between) > _MAX_JUNK:
                    raise NotFramed
                if start < 0:
                    self._buffer.clear()
                    return
                del self._buffer[: start + 1]
                self._inside, self._seen = True, 0
            end = self._buffer.find(END, self._seen)
            if end < 0:
                self._seen = len(self._buffer)
                if self._seen > self._limit:
                    raise FrameTooLarge(bytes(self._buffer))
                return
            if end > self._limit:
                raise FrameTooLarge(bytes(self._buffer[:end]))
            message = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._inside = False
            yield message
