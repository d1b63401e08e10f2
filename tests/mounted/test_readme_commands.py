# SPDX-License-Identifier: Apache-2.0
"""The commands of README work as they stand there, one after the other, for an ordinary reader."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.support import commands
from tests.support.mounting import detach
from tests.support.written_commands import Entered, Reader, blocks

pytestmark = [pytest.mark.mounted, pytest.mark.long]

#: What other tests run, because it takes the whole checkout or changes the whole machine.
_ELSEWHERE = (
    "make ",  # tests/unit/demo, and the suite itself
    "export PATH=",
    "pip install ",  # tests/project
    "sudo make install",
    "sudo mount ",  # tests/mounted/test_mount8.py
)
_LIBRARY = "backlotfs emulator --media media --port 0 --config-out emulator.toml"


def test_every_command_of_the_readme_succeeds(tmp_path: Path) -> None:
    """From `config init`, which asks four questions, to the last of the common commands."""
    reader = Reader(tmp_path)
    make_media(reader.home / "media")
    profile = reader.home / "emulator.toml"
    done: list[Entered] = []
    with contextlib.ExitStack() as stack:
        for mountpoint in ("library", "news"):
            stack.callback(detach, reader.home / mountpoint)
        stack.enter_context(reader.server(_LIBRARY, profile))
        for block in blocks(commands.ROOT / "README.md"):
            if any(line.startswith("backlotfs status") for line in block):
                done.append(reader.enter("backlotfs mount ~/library"))  # the block before ended it
            for line in block:
                done += entered(reader, line, profile)
    assert [(one.command, one.output) for one in done if one.code] == []
    assert sum(one.command.startswith("backlotfs ") for one in done) > 12
    assert names_in(reader.home / "archive") == ["b-roll.mxf", "interview.mov"]
    assert {"MANIFEST.sha256", *names_in(reader.home / "archive")} == {
        *names_in(reader.home / "backup")
    }


def entered(reader: Reader, line: str, profile: Path) -> list[Entered]:
    """The results of a line of README; none if other tests run it."""
    if line.startswith(_ELSEWHERE):
        return []
    if line.startswith("backlotfs config init"):
        return [reader.answer(line, answers(profile))]
    return [reader.enter(line)]


def answers(profile: Path) -> list[str]:
    """Name, address, key and secret, as `config init` asks for them."""
    given = dict(
        line.replace('"', "").split(" = ")
        for line in profile.read_text("utf-8").splitlines()
        if " = " in line
    )
    return ["main", given["api_url"], given["api_key"], given["api_secret"]]


def make_media(folder: Path) -> None:
    """A library with the file and the label that README names."""
    (folder / "News").mkdir(parents=True)
    (folder / "interview.mov").write_bytes(b"interview" * 30_000)
    (folder / "News" / "b-roll.mxf").write_bytes(b"b-roll" * 30_000)


def names_in(folder: Path) -> list[str]:
    """The names of a folder, in order."""
    return sorted(path.name for path in folder.iterdir())
