# SPDX-License-Identifier: Apache-2.0
"""The emulator as a process, open to clients that mean harm: memory, words, others, its end."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.probe import exchange, signed_target
from tests.emulator.test_command import account, finish, running

MOST_GROWTH_MIB = 60
HALF_A_HEAD = b"GET /v2/assets HTTP/1.1\r\nHost: x\r\n"


class Attacked:
    """A running emulator and whoever has its key."""

    def __init__(self, process: subprocess.Popen[str], user: Any) -> None:
        """Note its memory."""
        self.process, self.user = process, user
        self.port = int(user.api_url.rpartition(":")[2])
        self.before_mib = self.mib()

    def mib(self) -> float:
        """Memory that it holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def serves(self) -> bool:
        """Whether it answers a client that asks as it should."""
        target = signed_target(self.user, "/v2/assets")
        return exchange(self.user.api_url, target).status == 200


@contextmanager
def under_attack(folder: Path) -> Iterator[Attacked]:
    """It serves, has not grown, has said little and ends when it is told to."""
    profile = folder / "profile.toml"
    options = ["--synthetic", "100", "--rate-limit", "off", "--config-out", str(profile)]
    with running(*options) as process:
        one = Attacked(process, account(profile))
        assert one.serves()
        yield one
        assert one.serves()
        assert one.mib() - one.before_mib < MOST_GROWTH_MIB
        began = time.monotonic()
        said = finish(process, signal.SIGTERM)
        assert time.monotonic() - began < 15
    assert "Traceback" not in said
    assert len(said.splitlines()) < 12


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Attacked]:
    """An emulator for one test."""
    with under_attack(tmp_path) as one:
        yield one


@pytest.fixture(scope="module")
def attacked_again(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """An emulator for all strange requests."""
    with under_attack(tmp_path_factory.mktemp("attacked")) as one:
        yield one


def send(one: Attacked, data: bytes, *, times: int = 1) -> None:
    """Send this on one connection after the other and read what comes, in no more than a second."""
    for _ in range(times):
        with one.connect() as connection, suppress(OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(2**16):
                pass


def get(target: bytes, headers: bytes = b"") -> bytes:
    """A GET."""
    return b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n"


@pytest.mark.parametrize(
    "data",
    [
        get(b"/" + b"a" * 60_000, b"Range: " + b"b" * 8000 + b"\r\n"),
        get(b"/v2/assets?" + b"a=b&" * 15_000),
        get(b"/v2/assets?where=" + b"(" * 60_000),
        get(b"/v2/labels/by_full_path/" + b"a/" * 30_000),
        get(b"/v2/assets?where=" + b"%25" * 20_000),
        get(b"/%00%00?Expires=1&Signature=%00&AWSAccessKeyId=%ff"),
        get(b"/v2/assets/\x00"),
        get(b"/v2/assets/\xff\xfe"),
        get(b"/v2/assets", b"X: y\r\n" * 5000),
        get(b"/v2/assets", b"X: " + b"y" * 200_000 + b"\r\n"),
        get(b"/" + b"a" * 200_000),
        get(b"/x", b"Range: bytes=" + b"0-0," * 2000 + b"\r\n"),
        get(b"http://[::1/"),
        get(b"*"),
        b"GET /v2/assets HTTP/1.0\r\n\r\n",
        b"GET /v2/assets\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 50,
        b"\0" * 100_000,
        b"\r\n" * 100_000,
        b"POST /v2/assets HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /v2/assets HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v2/assets HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"9" * 5000 + b"\r\n",
        b"PATCH /v2/assets/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"DELETE /v2/assets/x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n" + b"a" * 100_000,
        get(b"/v2/assets", b"Connection: Upgrade\r\nUpgrade: websocket\r\n") + b"a" * 100_000,
        get(b"/v2/assets", b"Expect: 100-continue\r\nContent-Length: 9\r\n"),
    ],
    ids=lambda data: bytes(data[:30]).hex(),
)
def test_requests(attacked_again: Attacked, data: bytes) -> None:
    """Strange ones, many times; it serves afterwards and has not grown."""
    send(attacked_again, data, times=20)
    assert attacked_again.serves()
    assert attacked_again.mib() - attacked_again.before_mib < MOST_GROWTH_MIB


@pytest.mark.long
def test_many_unsigned_requests(attacked: Attacked) -> None:
    """With the longest paths there are: what the log keeps is bounded by bytes."""
    data = get(b"/" + b"a" * 60_000, b"Range: " + b"b" * 8000 + b"\r\n")
    with attacked.connect() as connection, connection.makefile("rb") as answers:
        for _ in range(3000):
            connection.sendall(data)
            while (line := answers.readline().strip().lower()) != b"":
                if line.startswith(b"content-length:"):
                    length = int(line.split()[1])
            answers.read(length)


def flood(one: Attacked, data: Callable[[int], bytes], *, connections: int) -> None:
    """Send on many connections at once what nobody reads the answers to, and look for others."""
    with ExitStack() as stack:
        for index in range(connections):
            with suppress(OSError):
                connection = stack.enter_context(one.connect())
                connection.setblocking(False)
                with suppress(OSError):
                    for _ in range(8):
                        connection.send(data(index))
        for _ in range(5):
            assert one.serves()
        assert one.mib() - one.before_mib < 3 * MOST_GROWTH_MIB


def test_half_sent_heads(attacked: Attacked) -> None:
    """More than it may have connections."""
    flood(attacked, lambda _index: HALF_A_HEAD, connections=600)


def test_long_half_sent_heads(attacked: Attacked) -> None:
    """Each of the largest size that is not refused."""
    flood(attacked, lambda _index: b"GET /" + b"a" * 7000, connections=300)


def test_pipelines_that_nobody_reads(attacked: Attacked) -> None:
    """Thousands of requests on each connection."""
    data = get(b"/v2/assets") * 2000
    flood(attacked, lambda _index: data, connections=100)


@pytest.mark.long
def test_no_descriptor_left(attacked: Attacked) -> None:
    """It waits until there are some again, with a line a minute."""
    pid = attacked.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    open_now = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 3, before[1]))
    with ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(attacked.connect())
            connection.sendall(HALF_A_HEAD)
        time.sleep(5)
        cpu = _cpu_s(pid)
        time.sleep(2)
        assert _cpu_s(pid) - cpu < 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert attacked.serves()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_few_descriptors(tmp_path: Path) -> None:
    """Half-sent requests beyond the limit of descriptors keep nobody from being served."""
    profile = tmp_path / "profile.toml"
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running(
        "--synthetic", "5", "--rate-limit", "off", "--config-out", str(profile),
        before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)),
    ) as process:  # fmt: skip  # the options in a line
        one = Attacked(process, account(profile))
        flood(one, lambda _index: HALF_A_HEAD, connections=300)
        said = finish(process, signal.SIGTERM)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits
    assert "Traceback" not in said
    assert len(said.splitlines()) < 12


def test_links_are_named(tmp_path: Path) -> None:
    """At the start, in one line that cannot command a terminal."""
    media, profile = tmp_path / "media", tmp_path / "profile.toml"
    media.mkdir()
    (media / "b\x1b[31m.mov").symlink_to("/etc/passwd")
    (media / "c.mov").symlink_to("/etc/passwd")
    options = ["--media", str(media), "--config-out", str(profile)]
    with running(*options) as process:
        said = finish(process, signal.SIGTERM)
    assert "2 links (b\\x1b[31m.mov, c.mov) were skipped; --follow-links serves" in said
    assert "Serving 0 assets" in said
    with running(*options, "--follow-links") as process:
        assert "Serving 2 assets" in finish(process, signal.SIGTERM)


def test_the_profile_does_not_follow_links(tmp_path: Path) -> None:
    """A link where the profile is written is replaced, and what it led to stays as it was."""
    precious, profile = tmp_path / "precious", tmp_path / "profile.toml"
    precious.write_text("precious")
    profile.symlink_to(precious)
    with running("--synthetic", "1", "--config-out", str(profile)) as process:
        assert account(profile).api_url.startswith("http://127.0.0.1:")
        finish(process, signal.SIGTERM)
    assert (precious.read_text(), profile.is_symlink()) == ("precious", False)
