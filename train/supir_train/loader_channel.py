"""How work goes to a loader process and crops come back: one socket a loader, pixels as the bytes that they are.

The laws it keeps: no lock is shared between loaders, so one that is killed, in the middle of a message too, holds up
none but its own channel, whose end the other side sees at once; and a message is received by few long calls that leave
the interpreter to the training step.
"""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

COUNT = struct.Struct("<Q")


def send(channel: socket.socket, value: object) -> None:
    """Sends a value; its arrays are not copied before.

    Raises:
        OSError: the other side is gone.
    """
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(body), *(buffer.raw() for buffer in buffers)]
    channel.sendall(b"".join(map(COUNT.pack, (len(parts), *(part.nbytes for part in parts)))))
    for part in parts:
        channel.sendall(part)


def receive(channel: socket.socket) -> Any:
    """Returns the next value; its arrays may be written to.

    Raises:
        EOFError: the other side is gone.
        OSError: likewise.
    """
    (count,) = COUNT.unpack(_exactly(channel, COUNT.size))
    sizes = struct.unpack(f"<{count}Q", _exactly(channel, count * COUNT.size))
    body, *buffers = [_exactly(channel, size) for size in sizes]
    return pickle.loads(body, buffers=buffers)  # noqa: S301 - from our own process


def _exactly(channel: socket.socket, size: int) -> bytearray:
    taken = bytearray(size)
    rest = memoryview(taken)
    while rest:
        count = channel.recv_into(rest, flags=socket.MSG_WAITALL)
        if not count:
            raise EOFError("the other side is gone")
        rest = rest[count:]
    return taken
