"""The page of a vote over HTTP: one question at a time, three answers, one way back.

Place in the flow: `vote_cli` serves a `VoteSession`. The standard library's server: a vote needs no framework. The
law: it listens where it was told, on this machine by default, loads nothing from elsewhere, and takes answers as
JSON alone, so that a page of another origin cannot vote.
"""

from __future__ import annotations

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from supir_console import UserError
from supir_infer.vote_session import NotAsked, VoteSession

MAX_BODY_BYTES = 4096
END_AFTER_S = 1.0  # behind the last answer, for the page to fetch what it says


class VoteServer(ThreadingHTTPServer):
    """Serves a session until every question has its answer, or `shutdown`.

    Args:
        host: address to listen at.
        port: of it; 0 takes a free one.
        session: what is asked.

    Raises:
        UserError: it cannot listen there.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int, session: VoteSession) -> None:
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"{host}:{port} cannot be listened at ({reason}); give another --port or --host"
            ) from error
        self.session = session
        self.lock = threading.Lock()
        self.page = files("supir_infer").joinpath("vote_page.html").read_bytes()

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}"


class _Handler(BaseHTTPRequestHandler):
    server: VoteServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        elif self.path == "/question":
            with self.server.lock:
                self._tell(HTTPStatus.OK, self.server.session.state())
        elif self.path.startswith("/picture/"):
            with self.server.lock:
                png = self.server.session.picture(self.path.removeprefix("/picture/"))
            if png is None:
                self._tell(HTTPStatus.NOT_FOUND, {"error": "this picture belongs to another question"})
            else:
                self._answer(HTTPStatus.OK, "image/png", png)
        else:
            self._tell(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})

    def do_POST(self) -> None:
        body = self._body()
        if body is None or self.path not in ("/vote", "/back"):
            self.close_connection = True  # what is left of the body is no request
            self._tell(HTTPStatus.BAD_REQUEST, {"error": "no answer in JSON"})
            return
        with self.server.lock:
            session = self.server.session
            try:
                if self.path == "/back":
                    session.back()
                else:
                    session.vote(body.get("question"), body.get("choice"), body.get("seconds"))
                state = session.state()
            except NotAsked as error:
                self._tell(HTTPStatus.CONFLICT, {"error": str(error)})
                return
            except OSError as error:
                reason = f"the vote could not be written: {error.strerror or error}"
                self._tell(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": reason})
                return
        self._tell(HTTPStatus.OK, state)
        if state["finished"]:
            threading.Timer(END_AFTER_S, self.server.shutdown).start()

    def _body(self) -> dict[str, Any] | None:
        length = self.headers.get("Content-Length", "")
        if not (length.isdecimal() and int(length) <= MAX_BODY_BYTES):
            return None
        if self.headers.get_content_type() != "application/json":
            return None
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return None
        return body if isinstance(body, dict) else None

    def _tell(self, status: HTTPStatus, fields: dict[str, Any]) -> None:
        self._answer(status, "application/json", json.dumps(fields).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing: a line a request would bury what the command says."""
