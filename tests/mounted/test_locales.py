# SPDX-License-Identifier: Apache-2.0
"""Mountpoints and arguments of any bytes, in any locale: every command takes them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator
from tests.conftest import Serve
from tests.support import commands
from tests.support.made_assets import video
from tests.support.mounting import detach, is_mounted

pytestmark = pytest.mark.mounted

ASSET = video("Zoë 🎬.mov", 5000)
#: A mountpoint in UTF-8, and one whose bytes are of no encoding.
UTF_8, BYTES = b"Zo\xc3\xab", b"Zo\xeb \xff"
#: Python decodes arguments as ASCII; the output is in another encoding than paths.
ASCII = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN_1_OUTPUT = {"PYTHONIOENCODING": "iso-8859-1"}


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The mountpoint."""
    found = tmp_path / os.fsdecode(request.param)
    found.mkdir()
    yield found
    detach(found)


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """A library of one file."""
    return serve(ASSET)


@pytest.mark.long
@pytest.mark.parametrize(
    ("place", "locale"),
    [(UTF_8, ASCII), (BYTES, {}), (BYTES, LATIN_1_OUTPUT)],
    indirect=["place"],
    ids=["ascii", "bytes", "latin-1 output"],
)
def test_every_command(
    emulator: Emulator, place: Path, tmp_path: Path, locale: dict[str, str]
) -> None:
    """Mount, use and unmount: exit code 0 and no traceback."""
    config = commands.write_config(tmp_path / "config.toml", emulator)
    account = ("--config", config, "--profile", commands.PROFILE)
    copies = tmp_path / os.fsdecode(b"copies \xff \xc3\xab")
    copies.mkdir()
    file = place / str(ASSET.original_file_name)
    log = tmp_path / "log"
    for words in (
        ("doctor", *account, place),
        ("mount", *account, "--cache-dir", tmp_path / "cache", "--log-file", log, place),
        ("status", place),
        ("status", "--json", place),
        ("stats", place),
        ("refresh", place),
        ("warm", file),
        ("pin", "--json", place),
        ("pins", place),
        ("unpin", file),
        ("export", file, copies),
        ("verify", copies),
        ("umount", place),
    ):
        done = subprocess.run(
            commands.command(*words),
            cwd=commands.ROOT,
            env=commands.environment(tmp_path, locale),
            capture_output=True,
            timeout=80,
            check=False,
        )
        said = (done.stdout + done.stderr).decode("latin-1")
        assert "Traceback" not in said, said
        assert "UnicodeE" not in said, said
        if words[0] == "doctor":
            continue  # the machine may lack something
        assert done.returncode == 0, f"{words[0]}: {said}"
        assert is_mounted(place) is (words[0] != "umount")
    assert "Traceback" not in log.read_text("utf-8", "replace")
    copied = [found for found in os.listdir(copies) if found.endswith(".mov")]
    assert copied == [ASSET.original_file_name]


@pytest.mark.parametrize("place", [UTF_8], indirect=True, ids=["utf-8"])
def test_closed_streams(emulator: Emulator, place: Path, tmp_path: Path) -> None:
    """A command that shows its progress works without a place to show it, as in a cron job."""
    config = commands.write_config(tmp_path / "config.toml", emulator)
    account = ("--config", config, "--profile", commands.PROFILE)
    file = place / str(ASSET.original_file_name)
    for words in (
        ("mount", *account, "--cache-dir", tmp_path / "cache", "--log-file", tmp_path / "l", place),
        ("warm", file),
        ("pin", file),
        ("export", file, tmp_path / "copies"),
        ("umount", place),
    ):
        done = subprocess.run(
            ["bash", "-c", '"$0" "$@" <&- >&- 2>&-', *commands.command(*words)],
            cwd=commands.ROOT,
            env=commands.environment(tmp_path),
            timeout=80,
            check=False,
        )
        assert done.returncode == 0, words
    assert (tmp_path / "copies" / file.name).stat().st_size == 5000
