# SPDX-License-Identifier: Apache-2.0
"""Answers the requests of commands to a running mount over its unix socket."""

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

#: Longest request. It is large because ``pin`` sends two short texts for each file, and there may
#: be 100 000 files and more.
MAX_REQUEST_BYTES = 16 * 1024 * 1024

_TOO_LONG = {"error": "the request is too long; name fewer files at a time"}

#: Time between two checks of the server thread for its end. An unmount waits at most this long.
_STOP_WITHIN_S = 0.05

#: Maps the request to the answer, both JSON objects. A `BacklotError` is sent to the command.
Handler = Callable[[dict[str, Any]], dict[str, Any]]


class ControlServer:
    """Serves handlers by command name, each connection on its own thread, until `close`."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        """Create the socket and listen.

        :raises UntrustedPath: another user can enter the folder of the socket.
        :raises OSError: the socket cannot be created.
        """
        # No other user can enter this folder, so no other user can replace the paths used below.
        os.close(open_private_folder(path.parent, make=True, tighten=True))
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # left by a killed mount

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

    @property
    def removed(self) -> bool:
        """Whether the socket was removed, so that no command can find it.

        Any file of this user at the path counts as the socket: it may be that of a new mount, which
        has replaced this one.
        """
        try:
            return self._path.lstat().st_uid != os.geteuid()
        except OSError:  # the path is missing, or another user has a folder of this name
            return True

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._server.shutdown()
        self._server.server_close()
        with contextlib.suppress(OSError):
            # A new mount may have replaced the socket while this one waited for open files.
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def verify_request(self, request: object, client_address: object) -> bool:  # noqa: ARG002  # socketserver's names
        """Accept only the same user and root."""
        return isinstance(request, socket.socket) and peer_uid(request) in (0, os.geteuid())

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002  # socketserver's names
        """Ignore a command that closed its connection."""
        log.debug("a control connection broke")


def _answer(line: bytes, handlers: Mapping[str, Handler]) -> dict[str, Any]:
    try:
        request = json.loads(line)
        command = request.pop("command")
        handler = handlers[command]
    except (ValueError, KeyError, AttributeError, TypeError):
        return {"error": "this mount does not know that command; it may be of another version"}
    try:
        return handler(request)
    except BacklotError as error:
        return {"error": str(error), "exit_code": error.exit_code}
    except Exception as error:  # noqa: BLE001  # every request gets an answer
        events.COMMAND_FAILED.log(log, command=command, failure=error)
        return {"error": f"the mount failed to answer ({type(error).__name__}); see its log"}
