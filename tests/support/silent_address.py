# SPDX-License-Identifier: Apache-2.0
"""An address of this machine at which nobody answers, not even with a refusal."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def silent_address(host: str, port: int = 0) -> Iterator[tuple[str, int]]:
    """While inside, no connection to this host and port comes about: it is as if it were down.

    :param host: of the loopback network, ``127.0.0.0/8``. :param port: 0: any that is free.
    """
    with contextlib.ExitStack() as opened:
        # the kernel answers no further connection where the queue of a listener is full
        listener = opened.enter_context(socket.create_server((host, port), backlog=0))
        address = (host, int(listener.getsockname()[1]))
        for _ in range(2):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address
