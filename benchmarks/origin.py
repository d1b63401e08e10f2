# SPDX-License-Identifier: Apache-2.0
"""The source host of the benchmarks: nginx over a folder, addressed as signed URLs address it.

The API is the emulator's, told to sign URLs that point here; nginx does not check signatures. A
profile says how far away it is; `benchmarks.origin_check` refuses one that is not what it says.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MODULES = Path("/usr/lib/nginx/modules")
_CONFIGURATION = """
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  log_format fields '$msec $request_time $connection_requests $status $body_bytes_sent $uri';
  access_log {folder}/access.log fields;
  sendfile on;
  keepalive_requests 1000000;
  keepalive_timeout 300s;
  server {{
    listen 127.0.0.1:{port} backlog=4096 {listen};
    {distance}
    location / {{ root {folder}/keys; }}
    location /plain/ {{ alias {media}/; autoindex on; }}
    location = /activity {{ stub_status; access_log off; access_by_lua_block {{ }} }}
  }}
}}
"""
_POLL_S = 0.02
_QUIET_WITHIN_S = 10.0


class OriginProfile(NamedTuple):
    """How far away a host is.

    :ivar first_byte_s: from a request to the first byte of its answer.
    :ivar first_request_s: the same for a connection's first request, which stands for its set-up.
    :ivar rate_bytes_s: what one connection carries; None: what the machine does.
    :ivar line_bytes_s: what all connections carry together; None: what the machine does.
    """

    name: str
    first_byte_s: float
    first_request_s: float
    rate_bytes_s: float | None
    line_bytes_s: float | None = None


LOCAL = OriginProfile("local", 0.0, 0.0, None)
REMOTE = OriginProfile("remote", 0.03, 0.09, 60 * 2**20)
#: A server in the house, behind a line of one gigabit.
NEARBY = OriginProfile("nearby", 0.002, 0.002, None, 110e6)


class Answer(NamedTuple):
    """One line of the access log.

    :ivar ended_s: seconds since the epoch.
    :ivar took_s: from the request's first byte to the answer's last.
    :ivar on_connection: the how many-th request of its connection, from 1.
    :ivar sent_bytes: of the body; less than asked for where the client hung up.
    """

    ended_s: float
    took_s: float
    on_connection: int
    status: int
    sent_bytes: int
    path: str


class Origin:
    """A running host.

    :ivar url: scheme and authority.
    """

    def __init__(self, folder: Path, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self._log = folder / "access.log"
        self._process = process

    def mark(self) -> int:
        """Where the log is now; for `answers_since`."""
        return self._log.stat().st_size

    def answers_since(self, mark: int) -> list[Answer]:
        """What has been answered since then: of files, not of folders or this module's own."""
        self.wait_until_quiet()
        with self._log.open("rb") as log:
            log.seek(mark)
            lines = log.read().decode().splitlines()
        answers = [_parsed(line) for line in lines]
        return [one for one in answers if not one.path.endswith("/")]

    def wait_until_quiet(self) -> None:
        """Return when nothing is being answered: the log then is complete.

        :raises SystemExit: that takes longer than ten seconds.
        """
        deadline_s = time.monotonic() + _QUIET_WITHIN_S
        quiet = 0
        while quiet < 3:  # between two requests of one reader it is quiet for a moment
            quiet = quiet + 1 if self._busy() == 0 else 0
            if time.monotonic() > deadline_s:
                raise SystemExit(f"{self.url} is still busy after {_QUIET_WITHIN_S:.0f} s")
            time.sleep(_POLL_S)

    def drop_connections(self) -> None:
        """Close every kept-alive connection, as a host does now and then: a new worker takes over.

        :raises SystemExit: the worker stays.
        """
        self.wait_until_quiet()
        before = self._workers()
        self._process.send_signal(signal.SIGHUP)
        deadline_s = time.monotonic() + _QUIET_WITHIN_S
        while not before.isdisjoint(self._workers()) or not self._workers():
            if time.monotonic() > deadline_s:
                raise SystemExit(f"nginx's worker at {self.url} does not end")
            time.sleep(_POLL_S)
        _wait_for(f"{self.url}/activity")

    def _busy(self) -> int:
        with urllib.request.urlopen(f"{self.url}/activity", timeout=10) as answer:
            words = answer.read().decode().split()
        return int(words[words.index("Writing:") + 1]) - 1  # this request is one

    def _workers(self) -> set[str]:
        pid = self._process.pid
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


@contextlib.contextmanager
def nginx(folder: Path, media: Path, profile: OriginProfile = LOCAL) -> Iterator[Origin]:
    """Serve ``media`` twice: plainly under ``/plain/``, and by key once `publish` has linked it.

    :param folder: for the configuration and logs; nginx's user has to be able to enter it.
    :raises SystemExit: nginx or its lua module is missing.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None or not (_MODULES / "ngx_http_lua_module.so").exists():
        raise SystemExit("nginx with lua is missing: apt-get install nginx libnginx-mod-http-lua")
    (folder / "keys").mkdir()
    (folder / "access.log").touch()
    port = _free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            modules=_MODULES,
            folder=folder,
            media=media,
            port=port,
            # small ranges would lie in the socket's buffer as a whole and escape the rate
            listen="sndbuf=64k" if profile.rate_bytes_s else "",
            distance=_distance(profile),
        )
    )
    process = subprocess.Popen([program, "-c", str(configuration), "-p", str(folder)])
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/activity")
        yield Origin(folder, url, process)
    finally:
        process.terminate()
        process.wait(10)


def publish(folder: Path, object_key: str, media_file: Path) -> None:
    """Link a file under its bucket key, ``<embed code>/<first>-<last byte>``."""
    key = folder / "keys" / object_key
    key.parent.mkdir(exist_ok=True)
    key.symlink_to(media_file)


def _distance(profile: OriginProfile) -> str:
    if not profile.first_byte_s:
        return ""
    sleep = f"{profile.first_request_s} or {profile.first_byte_s}"
    rate = f"limit_rate {profile.rate_bytes_s:.0f};" if profile.rate_bytes_s else ""
    first = 'ngx.var.connection_requests == "1"'
    return f"{rate} access_by_lua_block {{ ngx.sleep({first} and {sleep}) }}"


def _parsed(line: str) -> Answer:
    ended, took, number, status, sent, path = line.split(" ", 5)
    return Answer(float(ended), float(took), int(number), int(status), int(sent), path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
