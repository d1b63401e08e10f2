# SPDX-License-Identifier: Apache-2.0
"""The first address of the API and the source host is dead: files are read all the same."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator
from tests.conftest import MountIt, Serve
from tests.support.expected_bytes import assert_same_bytes
from tests.support.hostile_host import serve_sources_at
from tests.support.long_runs import few_of
from tests.support.made_assets import MIB, video
from tests.support.silent_address import silent_address

pytestmark = pytest.mark.mounted

REEL = video("reel.mov", 3 * MIB)
NAME = "two.studio.invalid"
#: Loaded by the interpreter before anything of ours: the name has these addresses, in this order.
RESOLVE = f"""
import socket
look_up = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if host != {NAME!r}:
        return look_up(host, *rest, **more)
    return [found for at in {{hosts!r}} for found in look_up(at, *rest, **more)]
socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture
def emulator(serve: Serve) -> Emulator:
    """A library whose API and sources are at the name."""
    made = serve(REEL)
    serve_sources_at(made, url_of(made), [REEL])
    return made


def url_of(emulator: Emulator) -> str:
    """Where the name leads to."""
    return emulator.api_url.replace("127.0.0.1", NAME)


def resolving_to(folder: Path, hosts: list[str]) -> dict[str, str]:
    """Environment of a process for which the name has these addresses."""
    (folder / "sitecustomize.py").write_text(RESOLVE.format(hosts=hosts))
    return {"PYTHONPATH": str(folder)}


@contextlib.contextmanager
def hanging(host: str, port: int) -> Iterator[None]:
    """An address that takes connections, and whose server never answers."""
    with socket.create_server((host, port), backlog=128):
        yield


@pytest.mark.parametrize("dead", few_of([1, 30], 1))
def test_a_dead_address_first(
    emulator: Emulator, mounted: MountIt, tmp_path: Path, dead: int
) -> None:
    """As IPv6 without a way out, or a pool of machines of which one is left."""
    port = int(emulator.api_url.rpartition(":")[2])
    hosts = [f"127.0.1.{number + 1}" for number in range(dead)]
    with contextlib.ExitStack() as opened:
        for host in hosts:
            opened.enter_context(silent_address(host, port))
        extra = resolving_to(tmp_path, [*hosts, "127.0.0.1"])
        mount = mounted(emulator, "--api-url", url_of(emulator), extra=extra)
        assert_same_bytes(mount.file_of(REEL), REEL)


@pytest.mark.long
def test_a_source_host_that_hangs_at_one_address(
    emulator: Emulator, mounted: MountIt, tmp_path: Path
) -> None:
    """A mount that reached the API directly; its source's first address takes a connection only."""
    port = int(emulator.api_url.rpartition(":")[2])
    with hanging("127.0.0.2", port):
        extra = resolving_to(tmp_path, ["127.0.0.2", "127.0.0.1"])
        mount = mounted(emulator, extra=extra)
        assert_same_bytes(mount.file_of(REEL), REEL)


@pytest.mark.long
@pytest.mark.parametrize("hanging_ones", [1, 3])
def test_an_api_that_hangs_at_its_first_addresses(
    emulator: Emulator, mounted: MountIt, tmp_path: Path, hanging_ones: int
) -> None:
    """They take connections and never answer: the first call goes on to the next address."""
    port = int(emulator.api_url.rpartition(":")[2])
    hosts = [f"127.0.2.{number + 1}" for number in range(hanging_ones)]
    with contextlib.ExitStack() as opened:
        for host in hosts:
            opened.enter_context(hanging(host, port))
        extra = resolving_to(tmp_path, [*hosts, "127.0.0.1"])
        mount = mounted(emulator, "--api-url", url_of(emulator), extra=extra)
        assert_same_bytes(mount.file_of(REEL), REEL)
