# SPDX-License-Identifier: Apache-2.0
"""``--api-share`` of commands that ask the API without a mount: `ls` and `info`."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlotfs.emulator import Emulator
from tests.conftest import Serve
from tests.support.commands import PROFILE, run, write_config
from tests.support.made_assets import video
from tests.support.request_log import calls_by_window, ended_requests

WINDOW_S = 3.0
#: Of 300 calls.
SHARE, CALLS = "1/20", 15
ASSETS = [video(f"clip-{number:03d}.mov", 2000 + number) for number in range(40)]


@pytest.fixture
def emulator(serve: Serve) -> Emulator:
    """A listing of it takes more calls than the share has in a window."""
    return serve(*ASSETS, rate_limit=300, rate_window_s=WINDOW_S, page_cap=2)


def assert_within_the_share(emulator: Emulator) -> None:
    """No window had more calls, and there was more than one."""
    windows = calls_by_window(emulator, WINDOW_S)
    assert len(windows) > 1
    assert sum(windows.values()) > len(ASSETS) // 2
    assert max(windows.values()) <= CALLS
    assert ended_requests(emulator, status=429) == []


@pytest.mark.parametrize("command", [("ls",), ("info", "clip-007.mov")])
def test_a_command_keeps_within_its_share(
    emulator: Emulator, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """All its calls together do."""
    config = write_config(tmp_path / "config.toml", emulator)
    account = ("--config", config, "--profile", PROFILE)
    ended = run(*command, *account, "--api-share", SHARE, home=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "clip-007.mov" in ended.stdout
    assert_within_the_share(emulator)


def test_the_share_of_the_profile(emulator: Emulator, tmp_path: Path) -> None:
    """What the profile's options say is for all that use it; the command line says another one."""
    config = write_config(tmp_path / "config.toml", emulator)
    named = f'api_shares = {{ farm = "{SHARE}" }}\noptions = "api_share=farm"\n'
    config.write_text(config.read_text() + named)
    account = ("--config", config, "--profile", PROFILE)
    ended = run("ls", *account, home=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert_within_the_share(emulator)
    ended = run("ls", *account, "--api-share", "half", home=tmp_path)
    assert ended.returncode != 0
    assert "'half' is no share of the API's calls" in ended.stderr
    assert "a name of the profile: farm" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
