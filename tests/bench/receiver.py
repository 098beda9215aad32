"""A webhook receiver in a process of its own: keeps connections open, answers after a delay, remembers ids in order.

    python receiver.py PORT DELAY_MS

``GET /`` answers the ids received so far, one a line."""

from __future__ import annotations

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

received: list[str] = []
lock = threading.Lock()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    delay = 0.0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.delay:
            time.sleep(self.delay)
        with lock:
            received.append(self.headers["webhook-id"])
        self._answer(b"")

    def do_GET(self) -> None:
        with lock:
            self._answer("\n".join(received).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    Receiver.delay = int(sys.argv[2]) / 1000
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
