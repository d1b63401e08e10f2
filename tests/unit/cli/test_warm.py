# SPDX-License-Identifier: Apache-2.0
"""``warm``: which files are meant, what is asked of the mount, and what is said in the end."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backlotfs.cli.mountpoints import MountedFile, mounted_files
from backlotfs.cli.progress import TransferBar
from backlotfs.cli.warm import WarmRun
from backlotfs.errors import BacklotError, SettingsError
from backlotfs.mount.control.client import NoAnswer
from tests.fakes.workers import PATIENCE_S
from tests.unit.cli.fake_mount import KIB, FakeMount

WARM = import_module("backlotfs.cli.warm")
FILES = import_module("backlotfs.cli.mountpoints")


class Bar(TransferBar):
    """Notes what is shown."""

    def __init__(self, on_wait: Callable[[], None] = lambda: None) -> None:
        super().__init__("warm", 0)
        self.moves: list[int] = []
        self.notes: list[str] = []
        self.lines: list[str] = []
        self._on_wait = on_wait

    def moved(self, count: int) -> None:
        self.moves.append(count)

    def note(self, text: str) -> None:
        self.notes.append(text)
        if text:
            self._on_wait()

    def say(self, line: str) -> None:
        self.lines.append(line)


def warm(*words: str | Path) -> Result:
    """The command."""
    return CliRunner().invoke(WARM.warm, [os.fspath(word) for word in words])


def test_files_and_folders(mount: FakeMount) -> None:
    """Each file once, however it is named; paths of no mount are refused with what to do."""
    mount.add("a.mov", 1)
    mount.add("label/b.mov", 1)
    inside = mounted_files([mount.place, mount.place / "a.mov"])
    assert inside == [MountedFile(mount.place, "/a.mov"), MountedFile(mount.place, "/label/b.mov")]
    assert str(inside[1]) == f"{mount.place}/label/b.mov"
    with pytest.raises(SettingsError, match=f"name a file or folder in {mount.place}"):
        mounted_files([mount.place.parent])
    with pytest.raises(BacklotError, match="No such file"):
        mounted_files([mount.place / "c.mov"])


def test_without_any_mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """How to make one."""
    monkeypatch.setattr(FILES, "our_mounts", list)
    with pytest.raises(SettingsError, match="mount the library first: backlotfs mount"):
        mounted_files([tmp_path])


def test_only_what_is_not_held_is_asked_for(mount: FakeMount) -> None:
    """Step by step to the end; a file in two folders once."""
    mount.add("a.mov", 250 * KIB)
    mount.add("x/b.mov", 50 * KIB)
    mount.add("y/b.mov", 50 * KIB)
    mount.cached["b.mov"] = 50 * KIB
    result = warm(mount.place, "--jobs", "1")
    assert result.exit_code == 0, result.output
    assert mount.steps == [("a.mov", 0), ("a.mov", 100 * KIB), ("a.mov", 200 * KIB)]
    assert result.output == "2 files, 300.0 KiB, in the disk cache; 250.0 KiB fetched\n"
    again = json.loads(warm(mount.place, "--json").output)
    assert (again["fetched_bytes"], again["cached_bytes"], again["failed"]) == (0, 300 * KIB, 0)


def test_sidecars_are_left_out(mount: FakeMount) -> None:
    """A folder with them is warmed as one without."""
    mount.add("a.mov", 10)
    mount.add("a.mov.json", 10)
    result = warm(mount.place)
    assert result.output == "1 file, 10 B, in the disk cache; 10 B fetched\n"


def test_more_than_fits(mount: FakeMount) -> None:
    """Refused before anything is fetched; blocks count whole."""
    mount.add("a.mov", 1023 * KIB)
    mount.add("b.mov", 1)
    result = warm(mount.place)
    assert isinstance(result.exception, BacklotError)
    assert "--cache-size" in str(result.exception)
    assert mount.steps == []


def test_failures_are_named_and_the_others_go_on(mount: FakeMount) -> None:
    """With the exit code of the first of them."""
    broken = mount.add("a.mov", 10)
    mount.add("b.mov", 10)
    mount.broken["a.mov"] = NoAnswer("source host h answers 503", 4)
    result = warm(mount.place)
    assert f"backlotfs: {broken}: source host h answers 503\n" in result.output
    assert "1 file, 10 B, in the disk cache" in result.output
    assert isinstance(result.exception, BacklotError)
    assert result.exception.exit_code == 4


def test_what_was_pushed_out_again(mount: FakeMount) -> None:
    """Is not called warm."""
    mount.add("a.mov", 10)
    mount.leaky = True
    result = warm(mount.place)
    assert "10 B of it were evicted for other blocks" in result.output
    assert isinstance(result.exception, BacklotError)
    assert result.exception.exit_code == 1


@pytest.mark.parametrize("command", ["cached", "warm"])
def test_a_step_that_waits_for_a_credit_is_asked_again(
    mount: FakeMount, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Until it goes on; what it waits for is said meanwhile, and not counted as warm."""
    monkeypatch.setattr(WARM, "CREDIT_PAUSE_S", 0.01)
    path = mount.add("a.mov", 10)
    mount.waiting[command] = [41.0, 3.0]
    bar = Bar()
    run = WarmRun(1, bar)
    files = run.inspect(mounted_files([path]))
    run.warm(files)
    assert [text for text in bar.notes if text] == [
        "API credits: more in 41 s",
        "API credits: more in 3 s",
    ]
    assert bar.notes[-1] == ""
    assert (bar.moves, bar.lines, files[0].cached_bytes) == ([10], [], 10)


def test_ctrl_c_ends_a_wait_for_a_credit(mount: FakeMount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the other jobs too, which would wait for ever."""
    paths = [mount.add("a.mov", 10), mount.add("b.mov", 10)]
    mount.waiting["warm"] = [0.0] * 1_000_000
    waiting = threading.Event()

    def ask(place: Path, command: str, *, path: str, **more: Any) -> dict[str, Any]:
        if (command, path) == ("warm", "/a.mov"):
            assert waiting.wait(PATIENCE_S), "b.mov waits"
            raise KeyboardInterrupt
        return mount.ask(place, command, path=path, **more)

    monkeypatch.setattr(WARM, "ask", ask)
    bar = Bar(on_wait=waiting.set)
    run = WarmRun(2, bar)
    with pytest.raises(KeyboardInterrupt):
        run.warm(run.inspect(mounted_files(paths)))
    assert bar.lines == [f"backlotfs: {paths[1]}: stopped"]
