# SPDX-License-Identifier: Apache-2.0
"""The tutorial works as it stands, and its picture shows what it says."""

from __future__ import annotations

import html
import re

import pytest

from tests.first_contact import PICTURE, drawn
from tests.support.tutorial import run_all, written
from tests.support.written_commands import Entered

pytestmark = pytest.mark.mounted


@pytest.fixture(scope="module")
def entered(tmp_path_factory: pytest.TempPathFactory) -> list[Entered]:
    """Every command, once."""
    return run_all(tmp_path_factory.mktemp("tutorial"))


def output_of(entered: list[Entered], command: str) -> str:
    """What the one command that begins so printed."""
    [found] = [one.output for one in entered if one.command.startswith(command)]
    return found


def text_of(picture: str) -> str:
    """The lines of text of an SVG, one a line, with their first lines whole."""
    rows: dict[str, list[str]] = {}
    for y, text in re.findall(r'<text [^>]*\by="([\d.]+)"[^>]*>(.*?)</text>', picture):
        rows.setdefault(y, []).append(html.unescape(text).replace("\xa0", " "))
    return "\n".join("".join(parts).rstrip() for parts in rows.values())


@pytest.mark.long
def test_every_command_succeeds(entered: list[Entered]) -> None:
    """A reader is never left with an error."""
    assert [(one.command, one.output) for one in entered if one.code] == []
    assert len(entered) == len(written()) - 1  # the server's own


@pytest.mark.long
def test_what_the_commands_show(entered: list[Entered]) -> None:
    """Both files, their length, what the library says of one, and a verified copy."""
    assert re.findall(r"\S+$", output_of(entered, "ls -l "), re.M)[1:] == [
        "drone.mov",
        "interview.mp4",
    ]
    assert output_of(entered, "ls by-label") == "drone.mov\n"
    assert "duration=5.0" in output_of(entered, "ffprobe ")
    assert 'user.backlot.name="interview"' in output_of(entered, "getfattr ")
    assert "; 0 wrong" in output_of(entered, "backlotfs verify ")
    assert "files          2" in output_of(entered, "backlotfs status ")


def test_nothing_secret_is_shown(entered: list[Entered]) -> None:
    """Neither in what was printed now nor in the picture that is kept."""
    for shown in (drawn(entered), PICTURE.read_text("utf-8")):
        assert not re.search(r"signature|expires=|api_secret|/tmp/", shown, re.IGNORECASE)


def test_the_picture_is_of_these_commands() -> None:
    """The one that README shows; `make screenshot` draws it anew."""
    shown = text_of(PICTURE.read_text("utf-8"))
    for command in written():
        if not command.startswith(("mkdir ", "ffmpeg ", "backlotfs emulator ")):
            assert f"$ {command}" in shown, "the tutorial has changed: make screenshot"
    assert "; 0 wrong" in shown
