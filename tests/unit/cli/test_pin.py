# SPDX-License-Identifier: Apache-2.0
"""``pin``, ``unpin`` and ``pins``: what is asked of the mount, and what is said."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backlotfs.errors import BacklotError
from backlotfs.mount.control.client import NoAnswer
from tests.unit.cli.fake_mount import KIB, FakeMount

PIN = import_module("backlotfs.cli.pin")


def run(command: str, *words: str | Path) -> Result:
    """The command."""
    return CliRunner().invoke(getattr(PIN, command), [os.fspath(word) for word in words])


def test_pinned_and_fetched(mount: FakeMount) -> None:
    """Whether they fit is asked first, then all are pinned, then what is missing is fetched."""
    mount.add("a.mov", 50 * KIB)
    mount.add("b.mov", 10)
    mount.cached["b.mov"] = 10
    result = run("pin", mount.place)
    assert result.exit_code == 0, result.output
    assert result.output == "2 files, 50.0 KiB, pinned; 50.0 KiB fetched\n"
    assert mount.steps == [("pins", 0), ("pin", True), ("pin", False), ("a.mov", 0)]
    assert mount.pinned == {"a.mov": "v1", "b.mov": "v1"}
    again = json.loads(run("pin", mount.place, "--json").output)
    assert (again["fetched_bytes"], again["failed"]) == (0, 0)
    assert [file["pinned"] for file in again["files"]] == [True, True]


@pytest.mark.parametrize("command", ["pins", "pin"])
def test_refused(mount: FakeMount, command: str) -> None:
    """By a mount that cannot pin, or has no room for it: in its words, and nothing is fetched."""
    mount.add("a.mov", 10)
    mount.broken[command] = NoAnswer("unpin others", 2)
    result = run("pin", mount.place)
    assert isinstance(result.exception, BacklotError)
    assert (str(result.exception), result.exception.exit_code) == ("unpin others", 2)
    assert mount.pinned == {}
    assert not any(step[0] == "a.mov" for step in mount.steps)


def test_a_file_that_fails(mount: FakeMount) -> None:
    """The others are pinned and fetched; its error's exit code is the command's."""
    mount.add("a.mov", 10)
    mount.add("b.mov", 10)
    mount.broken["a.mov"] = NoAnswer("source host h answers 503", 4)
    result = run("pin", mount.place)
    assert "a.mov: source host h answers 503" in result.output
    assert isinstance(result.exception, BacklotError)
    assert result.exception.exit_code == 4
    assert "1 of 2 files not completely in the disk cache" in str(result.exception)
    assert mount.cached == {"b.mov": 10}


def test_interrupted(mount: FakeMount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: what holds then, and how to go on or back."""
    mount.add("a.mov", 10)

    def stopped(*_args: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PIN, "fetch", stopped)
    output = run("pin", mount.place).output
    assert "the same command to continue" in output
    assert "backlotfs unpin" in output


def test_unpinned(mount: FakeMount) -> None:
    """How many, for people and for programs; of nothing it is said, too."""
    mount.pinned.update({"a.mov": "v1", "b.mov": "v1"})
    assert run("unpin", mount.place / "a.mov").output == "unpinned 1 file, 10 B\n"
    assert json.loads(run("unpin", mount.place, "--json").output) == {"files": 1, "size": 10}
    assert run("unpin", mount.place).output == "no file there was pinned\n"


def test_listed(mount: FakeMount) -> None:
    """Each with its cached part; a file that is no longer in the library by its id."""
    mount.pinned.update({"a.mov": "v1", "x.mov": "v1", "e\x1b.mov": "v1"})
    mount.cached.update({"a.mov": 10, "x.mov": 5})
    result = run("pins", mount.place)
    assert result.output == (
        "3 files pinned, 512 B of 1.0 KiB in the disk cache; quota for pins: 2.0 KiB\n"
        "100 % of       10 B  /a.mov\n"
        " 50 % of       10 B  x.mov (not in the library)\n"
        "  0 % of       10 B  /e\\x1b.mov\n"
    )
    assert json.loads(run("pins", mount.place, "--json").output)["quota_bytes"] == 2048
