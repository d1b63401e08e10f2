# SPDX-License-Identifier: Apache-2.0
"""One host of sources drips, for ever; the files of another are there as if nothing were."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.mount.control.client import ask
from tests.conftest import MountIt, Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.hostile_host import HostileHost, serve_sources_at
from tests.support.long_runs import few_of
from tests.support.made_assets import KIB, video

pytestmark = pytest.mark.mounted

#: What a mount is given for what it promises in 5 s, on a machine that is busy with other tests.
IN_TIME_S = 10.0
#: More than there are threads for probes.
BAD = [video(f"bad-{number:02}.mov", 40 * KIB) for number in range(80)]
GOOD = [video(f"good-{number}.mov", 40 * KIB) for number in range(6)]


@contextlib.contextmanager
def listing(folder: Path, times: int) -> Iterator[None]:
    """``ls -l`` over and over, by so many processes at once, as impatient people do."""
    loop = 'while true; do ls -l "$1" >/dev/null 2>&1; done'
    started = [
        subprocess.Popen(["sh", "-c", loop, "sh", folder], start_new_session=True)
        for _ in range(times)
    ]
    try:
        yield
    finally:
        for one in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, 9)
            one.wait(30)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["head", "continue", "error body"])
def test_a_dripping_host_leaves_the_others_alone(serve: Serve, mounted: MountIt, kind: str) -> None:
    """Cold files of the healthy host, uploads, and its own files soon after it is well again."""
    emulator = serve(*BAD, *GOOD)
    with HostileHost(emulator.api_url, host="127.0.0.2", pause_s=1.0) as host:
        serve_sources_at(emulator, host.url, BAD)
        host.torment(kind)
        mount = mounted(emulator)
        mount.expect_log("")  # it is told of the bad sources, in whatever words
        with listing(mount.path, 8):
            wait_until(lambda: host.tormented >= 20, "probes of the bad host", timeout_s=60)
            for asset in GOOD:
                began_s = time.monotonic()
                assert_same_bytes(mount.file_of(asset), asset)
                assert time.monotonic() - began_s < IN_TIME_S
            upload = video(f"upload-{kind}.mov", 40 * KIB)
            emulator.library.add(upload)
            ask(mount.path, "refresh")
            wait_until(
                lambda: mount.file_of(upload).name in os.listdir(mount.path),
                "the upload to be listed",
                timeout_s=IN_TIME_S,
            )
            assert_same_bytes(mount.file_of(upload), upload)
        host.torment()
        for asset in (BAD[0], BAD[40], BAD[79]):
            _wait_for_size(mount.file_of(asset))
            assert_same_bytes(mount.file_of(asset), asset)


def _wait_for_size(path: Path) -> None:
    """By processes of their own: one that was kept waiting before is answered short at first."""
    wait_until(
        lambda: subprocess.run(["stat", path], check=False, capture_output=True).returncode == 0,
        f"{path.name} to be well",
        timeout_s=4 * IN_TIME_S,
    )


@pytest.mark.parametrize("kind", few_of(["head", "continue", "silence", "tls"], "head"))
def test_a_mount_of_a_dripping_api_ends_with_a_line(
    serve: Serve, tmp_path: Path, kind: str
) -> None:
    """Exit 4 and one line, soon; nothing hangs."""
    emulator = serve(*GOOD)
    with HostileHost(emulator.api_url, pause_s=0.5) as host:
        host.torment(kind)
        url = host.url.replace("http:", "https:") if kind == "tls" else host.url
        config = commands.write_config(tmp_path / "config.toml", emulator, api_url=url)
        mountpoint = tmp_path / "library"
        mountpoint.mkdir()
        began_s = time.monotonic()
        ended = commands.run(
            *("mount", "--config", config, "--profile", commands.PROFILE),
            *("--api-timeout", "3s", mountpoint),
            home=tmp_path,
        )
        assert time.monotonic() - began_s < 20.0
    assert ended.returncode == 4, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert "127.0.0.1" in line
    assert "in time" in line or "timed out" in line
