# SPDX-License-Identifier: Apache-2.0
"""A mount in the background starts or says why not, and ends whatever state it is in."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from backlotfs.demo import session as module
from backlotfs.demo.session import BackgroundMount, MountFailed, write_profile
from backlotfs.demo.terminal import Interruption, Narrator
from backlotfs.emulator import Emulator, EmulatorSettings, Library

# In the place of backlotfs: "mounts" by making a file, as does whatever unmounts.
PROGRAM = """
import pathlib, sys
state = pathlib.Path({state!r})
if sys.argv[1] == "mount":
    print({words!r})
    if {status} == 0: state.touch()
    sys.exit({status})
if {umount_status} == 0: state.unlink()
else: print("backlotfs: in use by vlc", file=sys.stderr)
sys.exit({umount_status})
"""


class Stage:
    """A mount whose program is a script, and whose state is a file."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = folder / "state"
        self.script = folder / "program.py"
        monkeypatch.setattr(module, "BACKLOTFS", (sys.executable, str(self.script)))
        monkeypatch.setattr(module, "_GONE_S", 0.0)
        monkeypatch.setattr(
            BackgroundMount, "is_live", property(lambda _mount: self.state.exists())
        )
        self.mount = BackgroundMount(folder / "library", folder, Narrator(), Interruption())

    def play(self, *, words: str = "mounted", status: int = 0, umount_status: int = 0) -> None:
        """Say how the program behaves."""
        self.script.write_text(
            PROGRAM.format(
                state=str(self.state), words=words, status=status, umount_status=umount_status
            )
        )


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Nothing mounted yet, and no real unmount is ever tried."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    staged = Stage(tmp_path, monkeypatch)
    for name in ("umount", "fusermount3"):
        tool = path / name
        tool.write_text(f"#!/bin/sh\n/bin/rm {staged.state}.{name} && /bin/rm {staged.state}\n")
        tool.chmod(0o755)
    return staged


def test_it_starts_and_ends(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    """As a user would type it; what mount says is shown."""
    stage.play(words="mounted on library")
    stage.mount.start()
    assert stage.mount.is_live
    stage.mount.stop()
    assert not stage.mount.is_live
    captured = capfd.readouterr()
    assert "mounted on library" in captured.out
    assert captured.err == ""


def test_a_failure_is_passed_on(stage: Stage) -> None:
    """With mount's own words and status, and nothing is left to unmount."""
    stage.play(words="backlotfs: no /dev/fuse", status=5)
    with pytest.raises(MountFailed, match=r"^no /dev/fuse$") as failure:
        stage.mount.start()
    assert failure.value.status == 5
    stage.mount.stop()


def test_success_without_a_mount_is_a_failure(stage: Stage) -> None:
    """Exit 0 alone proves nothing."""
    stage.play()
    stage.script.write_text("print('all well')")
    with pytest.raises(MountFailed, match="all well") as failure:
        stage.mount.start()
    assert failure.value.status == 1


@pytest.mark.parametrize("tool", ["fusermount3", "umount"])
def test_a_mount_in_use_is_taken_down_all_the_same(
    stage: Stage, capfd: pytest.CaptureFixture[str], tool: str
) -> None:
    """The reader learns who held it."""
    stage.play(umount_status=1)
    Path(f"{stage.state}.{tool}").touch()  # this one works, the other does not
    stage.mount.start()
    stage.mount.stop()
    assert not stage.mount.is_live
    captured = capfd.readouterr()
    assert "in use by vlc" in captured.err
    assert f"$ {tool}" in captured.out
    assert "detached the mount all the same" in captured.out


def test_stopping_what_never_started_does_nothing(stage: Stage) -> None:
    """The clean-up is registered before the mount is begun."""
    stage.mount.stop()


def test_its_cache_is_its_own(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    """Not the user's, which would keep what the demo read."""
    stage.play()
    stage.mount.start()
    assert f"--cache-dir {stage.script.parent / 'cache'}" in capfd.readouterr().out


def test_the_profile_is_for_its_owner_alone(tmp_path: Path) -> None:
    """From the first moment: it holds the secret."""
    path = tmp_path / "config.toml"
    with Emulator(Library([]), EmulatorSettings(cdn=False)) as emulator:
        write_profile(path, emulator)
        assert path.stat().st_mode & 0o777 == 0o600
        assert tomllib.loads(path.read_text())["profiles"]["demo"] == {
            "api_url": emulator.api_url,
            "api_key": emulator.api_key,
            "api_secret": emulator.api_secret,
        }
