"""What stand-in servers share: JSON over HTTP on loopback, from a thread of their own."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JsonHandler(BaseHTTPRequestHandler):
    """Answers in JSON and writes no log."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Keep silent."""

    def send(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        """Answer, if who asked is still there."""
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        with suppress(OSError):  # who waits no longer has hung up
            self.end_headers()
            self.wfile.write(text.encode())


class Loopback:
    """A server on a free port of this machine.

    Args:
        handler: what answers.

    Attributes:
        url: where it is, up to `/v1`.
    """

    def __init__(self, handler: type[JsonHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
