"""Answers commands about a running mount."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backlotfs.errors import BacklotError
from backlotfs.log import events
from backlotfs.mount.control.unix_socket import peer_uid
from backlotfs.trusted_paths import open_private_folder

log = logging.getLogger(__name__)

#: A request is a command's name and a few flags, or one short text for each of 100 000 files.
MAX_REQUEST_BYTES = 16 * 1024 * 1024

_TOO_LONG = {"error": "too much was named at once; name fewer files at a time"}

#: An unmount does not wait longer for this thread.
_STOP_WITHIN_S = 0.05

#: Arguments to answer, both as JSON objects. A `BacklotError` is told as it is.
Handler = Callable[[dict[str, Any]], dict[str, Any]]


class ControlServer:
    """Serves handlers by name on a thread of its own until `close`."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        """Listen.

        :raises UntrustedPath: the folder of the socket is not ours alone.
        :raises OSError: the socket cannot be made; the mount works without.
        """
        # Nobody else can enter it, so what is done by name below is done to what is ours.
        os.close(open_private_folder(path.parent, make=True, tighten=True))
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # of a mount that was killed: its mountpoint is ours now

        class Request(socketserver.StreamRequestHandler):
            timeout = 5.0

            def handle(self) -> None:
                line = self.rfile.readline(MAX_REQUEST_BYTES)
                answer = _TOO_LONG if len(line) == MAX_REQUEST_BYTES else _answer(line, handlers)
                self.wfile.write(json.dumps(answer).encode() + b"\n")

        self._path = path
        self._inode = 0
        self._server = _Server(str(path), Request)
        os.chmod(path, 0o600)
        self._inode = path.stat().st_ino
        threading.Thread(
            target=self._server.serve_forever, args=(_STOP_WITHIN_S,), name="control", daemon=True
        ).start()

    def close(self) -> None:
        """Stop listening and take the socket away."""
        self._server.shutdown()
        self._server.server_close()
        with contextlib.suppress(FileNotFoundError):
            # Another mount may have been made here while this one waited for its last files.
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def verify_request(self, request: object, client_address: object) -> bool:  # noqa: ARG002  # socketserver's names
        """Only our own user and root are answered."""
        return isinstance(request, socket.socket) and peer_uid(request) in (0, os.geteuid())

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002  # socketserver's names
        """A command that went away is no news."""
        log.debug("a control connection broke")


def _answer(line: bytes, handlers: Mapping[str, Handler]) -> dict[str, Any]:
    try:
        request = json.loads(line)
        command = request.pop("command")
        handler = handlers[command]
    except (ValueError, KeyError, AttributeError, TypeError):
        return {"error": "this mount does not know that command: is it another version?"}
    try:
        return handler(request)
    except BacklotError as error:
        return {"error": str(error), "exit_code": error.exit_code}
    except Exception as error:  # noqa: BLE001  # whoever asked gets an answer
        events.COMMAND_FAILED.log(log, command=command, failure=error)
        return {"error": f"the mount failed to answer ({type(error).__name__}); see its log"}
