# SPDX-License-Identifier: Apache-2.0
"""Copies from hosts of several nodes, each with ETags of its own."""

from __future__ import annotations

import errno
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from backlotfs.emulator import Fault
from tests.conftest import MountIt, Serve
from tests.support.expected_bytes import origin_bytes
from tests.support.hostile_host import serve_sources_at
from tests.support.long_runs import few_of
from tests.support.made_assets import KIB, MIB, video
from tests.support.node_host import Node, NodeHost, after, by_request, http_date

pytestmark = pytest.mark.mounted

REELS = [video("reel.mov", 9 * MIB + 5), video("note.txt", 3 * KIB), video("clip.mov", 700_001)]


@pytest.mark.parametrize(
    "nodes",
    few_of(
        [
            Fault.nodes(),
            Fault.nodes(3),
            Fault.nodes(by_connection=True),
            Fault.nodes(weak=True),
        ],
        Fault.nodes(3),
    ),
    ids=lambda fault: str(dict(fault.parameters)),
)
def test_cp(serve: Serve, mounted: MountIt, tmp_path: Path, nodes: Fault) -> None:
    """Whole and right, three times, and a re-mount fetches nothing again."""
    emulator = serve(*REELS)
    emulator.faults.add(nodes, route="source")
    mount = mounted(emulator, "--cache-size", "64M")
    for number in range(3):
        target = tmp_path / str(number)
        target.mkdir()
        files = [mount.file_of(reel) for reel in REELS]
        subprocess.run(["cp", *files, target], check=True)
        for reel in REELS:
            assert (target / str(reel.original_file_name)).read_bytes() == origin_bytes(reel)


SIZE = 12 * MIB + 3
FILM = video("film.mov", SIZE)
OLD, NEW = (random.Random(seed).randbytes(SIZE) for seed in (1, 2))
A, B = Node(OLD, ('"a"',)), Node(NEW, ('"b"',))
SECOND_S = 1_700_000_000
SECOND = http_date(SECOND_S)


def at(node: Node, date_s: float = SECOND_S) -> Node:
    """A node whose object changed within that second, and which answers at ``date_s``."""
    return replace(node, modified=SECOND, date=http_date(date_s))


def film_at(serve: Serve, mounted: MountIt, host: NodeHost) -> Path:
    """The film in a mount that has room for a third of it."""
    emulator = serve(FILM)
    serve_sources_at(emulator, host.url, [FILM])
    mount = mounted(emulator, "--memory", "4M", "--cache-size", "0")
    mount.expect_log("ESTALE|replaced")
    return mount.file_of(FILM)


def bytes_or_stale(path: Path) -> bytes | None:
    """What a program reads; None: ESTALE."""
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return None


@pytest.mark.parametrize(
    ("before", "later"),
    [
        (at(A), at(B)),
        pytest.param(at(A), at(B, SECOND_S + 3600), marks=pytest.mark.long),
        pytest.param(at(A, SECOND_S + 3600), at(B, SECOND_S + 3600), marks=pytest.mark.long),
        (at(replace(A, etags=('W/"a"',))), at(replace(B, etags=('"a"',)), SECOND_S + 3600)),
    ],
    ids=["at once", "seen later", "seen late", "weak at first"],
)
def test_replaced_within_the_second_at_the_same_length(
    serve: Serve, mounted: MountIt, before: Node, later: Node
) -> None:
    """The bytes of one version, or ESTALE; and then all of the new one."""
    with NodeHost(after(2, before, later)) as host:
        path = film_at(serve, mounted, host)
        assert bytes_or_stale(path) in (None, OLD)
        assert path.read_bytes() == NEW


def test_nodes_of_two_versions(serve: Serve, mounted: MountIt) -> None:
    """While a replacement spreads over the nodes, no file is a mixture of both."""
    new = replace(B, modified=http_date(SECOND_S + 1))
    with NodeHost(by_request(at(A, SECOND_S + 3600), new)) as host:
        path = film_at(serve, mounted, host)
        for _ in range(5):
            assert bytes_or_stale(path) in (None, OLD, NEW)
