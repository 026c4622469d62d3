"""An endpoint of chat completions on loopback that fails in every way, and else answers itself or passes on."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from limits import HANGS_AFTER_S

FAULTS = ("429", "500", "hang", "cut off", "garbage", "no choices", "no text", "closed")
"""What can befall a request."""

Answers = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


class FaultyEndpoint:
    """A server whose requests fail by a plan; the n-th question that it has not seen before meets the n-th fault.

    `asked` and `answered` count the requests by their body, `meetings` the faults by their name.
    """

    def __init__(
        self,
        faults: Sequence[str] = (),
        *,
        upstream: str | None = None,
        answers: Answers | None = None,
    ) -> None:
        self.asked: Counter[bytes] = Counter()
        self.answered: Counter[bytes] = Counter()
        self.meetings: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self._faults, self._upstream, self._answers = tuple(faults), upstream, answers or echo
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._post(self)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> FaultyEndpoint:
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        with self._lock:
            number, is_new = len(self.asked), body not in self.asked
            self.asked[body] += 1
            self.keys.add(handler.headers.get("Authorization", ""))
            self.requests.append(json.loads(body))
        fault = self._faults[number % len(self._faults)] if self._faults and is_new else ""
        if fault:
            self.meetings[fault] += 1
            self._fail(handler, fault)
            return
        status, answer = (
            _passed_on(self._upstream, body) if self._upstream else self._answers(json.loads(body))
        )
        if status == 200:
            self.answered[body] += 1
        _send(handler, status, json.dumps(answer).encode())

    def _fail(self, handler: BaseHTTPRequestHandler, fault: str) -> None:
        whole = json.dumps(echo({"messages": [{"content": [{}, {"text": ""}]}]})[1]).encode()
        if fault in ("429", "500"):
            _send(handler, int(fault), b'{"error": {"message": "later"}}', {"Retry-After": "0.05"})
        elif fault == "hang":
            handler.connection.settimeout(HANGS_AFTER_S)
            handler.connection.recv(1)  # until the client has had enough of it and closes
            handler.close_connection = True
        elif fault == "cut off":
            _send(handler, 200, whole[: len(whole) // 2], {"Content-Length": str(len(whole))})
            handler.close_connection = True
        elif fault == "closed":
            handler.close_connection = True
        else:
            bodies = {
                "garbage": b"<html>502 Bad Gateway</html>",
                "no choices": b'{"id": "x", "object": "chat.completion", "choices": []}',
                "no text": whole.replace(b'"content": "', b'"content": null, "was": "'),
            }
            _send(handler, 200, bodies[fault])


def echo(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """An answer that follows from the question and the picture alone."""
    name = hashlib.sha256(json.dumps(request["messages"]).encode()).hexdigest()[:8]
    text = f"A thing called {name}, made of oak. Its grain is fine. It lies on a plain table."
    return 200, completion(text)


def completion(text: str, finish_reason: str = "stop") -> dict[str, Any]:
    """A chat completion as the protocol has it; a picture of 100 tokens, a word a token."""
    message = {"role": "assistant", "content": text}
    answer_tokens = len(text.split())
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": answer_tokens,
            "total_tokens": 100 + answer_tokens,
        },
    }


def _passed_on(upstream: str, body: bytes) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        upstream + "/chat/completions", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, {"error": {"message": error.read().decode(errors="replace")}}


def _send(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    try:
        handler.send_response(status)
        described = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        for name, value in described.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
    except (BrokenPipeError, ConnectionResetError):  # the client has given up waiting
        handler.close_connection = True
