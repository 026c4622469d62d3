"""The local web server of benchmarks/fetch.py: pictures by sendfile, on every address of 127.0.0.0/8.

Each process has its own listening socket on the shared port. `/N.jpg` is the Nth picture of the folder, `/slow/N.jpg`
the same after 20 s, `/endless.jpg` begins like a JPEG and never ends. It does nothing else, so that the clients are
what is measured.
Run by fetch.py: python benchmarks/fetch_server.py FOLDER PORT
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

ENDLESS = b"/endless.jpg"
SLOW = b"/slow"
SLOW_SECONDS = 20
JUNK = b"\xff\xd8" + bytes(2**20)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True)
class Client:
    """A connection and what is still to be sent to it."""

    connection: socket.socket
    request: bytes = b""
    file: int = -1
    offset: int = 0
    size: int = 0
    is_endless: bool = False
    closes: bool = False


class Server:
    """One process of the server.

    Args:
        folder: of the pictures, served in name order.
        port: to listen on.
    """

    def __init__(self, folder: Path, port: int) -> None:
        paths = sorted(folder.glob("*.jpg"))
        self._files = {
            f"/{number}.jpg".encode(): (os.open(path, os.O_RDONLY), path.stat().st_size)
            for number, path in enumerate(paths)
        }
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("0.0.0.0", port))
        self._socket.listen(4096)
        self._socket.setblocking(False)
        self._poll = select.epoll()
        self._poll.register(self._socket, select.EPOLLIN)
        self._clients: dict[int, Client] = {}
        self._slow: deque[tuple[float, Client, bytes]] = deque()  # when to answer, the soonest first

    def serve(self) -> None:
        """Answers until the process is ended."""
        while True:
            for number, event in self._poll.poll(0.05 if self._slow else None):
                if number == self._socket.fileno():
                    self._accept()
                    continue
                try:
                    self._turn(self._clients[number], event)
                except OSError:
                    self._drop(self._clients[number])
            while self._slow and self._slow[0][0] <= time.monotonic():
                _, client, path = self._slow.popleft()
                if client.connection.fileno() >= 0:
                    self._give(client, path)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._socket.accept()
                connection.setblocking(False)
                self._clients[connection.fileno()] = Client(connection)
                self._poll.register(connection, select.EPOLLIN)

    def _turn(self, client: Client, event: int) -> None:
        if event & select.EPOLLOUT:
            return self._send(client)
        data = client.connection.recv(65536)
        if not data:
            return self._drop(client)
        client.request += data
        if b"\r\n\r\n" in client.request:
            self._answer(client)
        return None

    def _answer(self, client: Client) -> None:
        path = client.request.split(b" ", 2)[1]
        client.closes = b"connection: close" in client.request.lower()
        client.request, client.offset = b"", 0
        if path.startswith(SLOW):
            self._slow.append((time.monotonic() + SLOW_SECONDS, client, path.removeprefix(SLOW)))
        else:
            self._give(client, path)

    def _give(self, client: Client, path: bytes) -> None:
        if path == ENDLESS:
            client.is_endless = True
            client.connection.send(HEAD + b"\r\n" + JUNK[:100])
        elif path in self._files:
            client.file, client.size = self._files[path]
            client.connection.send(HEAD + b"Content-Length: %d\r\n\r\n" % client.size, socket.MSG_MORE)
        else:
            client.size = 0
            client.connection.send(MISSING)
        self._send(client)

    def _send(self, client: Client) -> None:
        number = client.connection.fileno()
        try:
            while client.is_endless:
                client.connection.send(JUNK[2:])
            while client.offset < client.size:
                client.offset += os.sendfile(number, client.file, client.offset, client.size - client.offset)
        except BlockingIOError:
            self._poll.modify(number, select.EPOLLOUT)
            return
        if client.closes:
            self._drop(client)
        else:
            self._poll.modify(number, select.EPOLLIN)

    def _drop(self, client: Client) -> None:
        number = client.connection.fileno()
        self._poll.unregister(number)
        del self._clients[number]
        client.connection.close()


if __name__ == "__main__":
    Server(Path(sys.argv[1]), int(sys.argv[2])).serve()
