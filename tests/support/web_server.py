"""A local web server with every kind of answer: a pytest plugin, so that a conftest can name its class."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class WebServer:
    """A web server on every loopback address; `requests` is what it was asked, in order, with the time."""

    def __init__(self, pages: dict[str, Callable[[BaseHTTPRequestHandler], None]]) -> None:
        self.requests: list[tuple[float, str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((time.monotonic(), self.headers.get("Host", ""), self.path))
                page = pages.get(self.path)
                if page is None:
                    answer(self, 404)
                else:
                    page(self)

            def log_message(self, *_arguments: object) -> None:
                pass

            def date_time_string(self, timestamp: float | None = None) -> str:
                return "Mon, 01 Jan 2024 00:00:00 GMT"

        self._server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """The URL of a page."""
        return f"http://{host}:{self.port}{path}"

    def asked(self, path: str) -> int:
        """How often a page was asked for."""
        return sum(asked == path for _, _, asked in self.requests)

    def close(self) -> None:
        """Stops the server."""
        self._server.shutdown()
        self._server.server_close()


def answer(
    handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", headers: dict[str, str] | None = None
) -> None:
    """Sends an answer with its length."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture(scope="session")
def page() -> Callable[..., Callable[[BaseHTTPRequestHandler], None]]:
    """Makes a page that always answers the same: page(200, body, {"ETag": "x"})."""

    def make(
        status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Callable[[BaseHTTPRequestHandler], None]:
        return lambda handler: answer(handler, status, body, headers)

    return make


@pytest.fixture(scope="session")
def web_server() -> Iterator[Callable[[dict[str, Callable[[BaseHTTPRequestHandler], None]]], WebServer]]:
    """Starts servers, each with its pages, and stops them at the end."""
    servers = []

    def start(pages: dict[str, Callable[[BaseHTTPRequestHandler], None]]) -> WebServer:
        servers.append(WebServer(pages))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
