# SPDX-License-Identifier: Apache-2.0
"""An emulator that is down: nobody listens on its port, and no other program gets the port."""

from __future__ import annotations

import contextlib
import socket
import weakref
from collections.abc import Iterator
from urllib.parse import urlsplit

from backlotfs.emulator import Emulator


def take_down(emulator: Emulator) -> None:
    """Stop the emulator. Another one can listen on the same port later."""
    emulator.stop()
    held = _bound(urlsplit(emulator.api_url).port or 0)
    weakref.finalize(emulator, held.close)


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with _bound(0) as held:
        yield held.getsockname()[1]


def _bound(port: int) -> socket.socket:
    """A socket that is bound, so that the port is nobody else's, and that does not listen."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    return held
