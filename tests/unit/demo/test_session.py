# SPDX-License-Identifier: Apache-2.0
"""However a demo ends, nothing of it is left, and the exit status says how it ended."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from backlotfs.demo import session as session_module
from backlotfs.demo.command import demo
from backlotfs.demo.session import (
    BackgroundMount,
    MountFailed,
    Session,
    mounted_at_or_below,
    remove,
)
from backlotfs.demo.terminal import Narrator
from backlotfs.demo.tour import CheckFailed, Tour
from backlotfs.errors import FuseUnusable
from tests.unit.demo.sample_folder import tiny_media


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of demos; tiny media, no mount, an empty tour."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(session_module, "make_media", lambda path, _interruption: tiny_media(path))
    monkeypatch.setattr(BackgroundMount, "start", lambda _self: None)
    monkeypatch.setattr(Tour, "walk", lambda _self: None)
    monkeypatch.setattr(Session, "show_labels", lambda _self, *_arguments: None)
    return folder


def failing(failure: BaseException) -> Callable[..., None]:
    """A function that raises it."""

    def fail(*_arguments: object) -> None:
        raise failure

    return fail


def signalling(signum: signal.Signals) -> Callable[..., None]:
    """A function during which this process gets a signal."""

    def be_signalled(*_arguments: object) -> None:
        signal.raise_signal(signum)

    return be_signalled


def test_a_demo_leaves_nothing(temporary_folder: Path) -> None:
    """When all was as it has to be."""
    assert Session(None).run() == 0
    assert list(temporary_folder.iterdir()) == []


def test_a_failed_check_is_told(
    temporary_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, with what differed."""
    monkeypatch.setattr(Tour, "walk", failing(CheckFailed("clip.mov: 3 bytes")))
    assert Session(None).run() == 1
    assert "clip.mov: 3 bytes" in capfd.readouterr().err
    assert list(temporary_folder.iterdir()) == []


def test_a_mount_that_fails_gives_its_status(
    temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 tells a script that FUSE is the trouble; it is said before anything is removed."""
    said: list[tuple[str, int]] = []
    monkeypatch.setattr(
        Narrator,
        "complain",
        lambda _self, text: said.append((text, len(list(temporary_folder.iterdir())))),
    )
    failure = MountFailed("no /dev/fuse: modprobe fuse", status=5)
    monkeypatch.setattr(BackgroundMount, "start", failing(failure))
    assert Session(None).run() == 5
    assert said == [("no /dev/fuse: modprobe fuse", 1)]
    assert list(temporary_folder.iterdir()) == []


def test_a_machine_without_fuse_gets_no_sample_media(
    temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a mount lacks is said first."""
    monkeypatch.setattr(session_module, "check_usable", failing(FuseUnusable("no /dev/fuse")))
    monkeypatch.setattr(session_module, "make_media", failing(AssertionError()))
    with pytest.raises(FuseUnusable, match="no /dev/fuse"):
        Session(None).run()
    assert list(temporary_folder.iterdir()) == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["make_media", "start", "stop", "walk", "remove"])
def test_a_signal_at_any_moment_cleans_up(
    temporary_folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str, signum: signal.Signals
) -> None:
    """130 or 143, and no folder left, whether it comes in the work or in the clean-up."""
    homes = {"make_media": session_module, "walk": Tour, "remove": session_module}
    home = homes.get(moment, BackgroundMount)
    original = getattr(home, moment)

    def interrupted(*arguments: object) -> object:
        signal.raise_signal(signum)
        return original(*arguments)

    monkeypatch.setattr(home, moment, interrupted)
    assert Session(None).run() == 128 + signum
    assert list(temporary_folder.iterdir()) == []


def test_a_named_mountpoint_is_made_and_removed(tmp_path: Path) -> None:
    """A new one is removed again."""
    mountpoint = tmp_path / "library"
    assert Session(mountpoint).run() == 0
    assert not mountpoint.exists()


def test_the_readers_own_folder_stays(tmp_path: Path) -> None:
    """An empty one that was there is used and left."""
    mountpoint = tmp_path / "library"
    mountpoint.mkdir()
    assert Session(mountpoint).run() == 0
    assert mountpoint.is_dir()


def test_a_folder_with_files_is_refused(temporary_folder: Path, tmp_path: Path) -> None:
    """And its files are left alone."""
    mountpoint = tmp_path / "full"
    mountpoint.mkdir()
    (mountpoint / "file").write_bytes(b"x")
    with pytest.raises(FuseUnusable, match="is not an empty folder"):
        Session(mountpoint).run()
    assert (mountpoint / "file").exists()
    assert list(temporary_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("mountpoint", "words"), [("/proc", "is mounted already"), ("/proc/no/such", "cannot be made")]
)
def test_an_impossible_mountpoint_is_refused(mountpoint: str, words: str) -> None:
    """Before anything is made for it."""
    with pytest.raises(FuseUnusable, match=words):
        Session(Path(mountpoint)).run()


def test_what_is_left_behind_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A mount that would not go leaves its folder, and exit 1."""
    monkeypatch.setattr(session_module, "remove", lambda _folder: "still mounted")
    assert Session(None).run() == 1
    assert "still mounted" in capfd.readouterr().err


def test_the_command_passes_the_status_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of a signal."""
    monkeypatch.setattr(Tour, "walk", signalling(signal.SIGTERM))
    assert CliRunner().invoke(demo, []).exit_code == 143


def test_live_mounts_are_found_by_path() -> None:
    """Those below, and the path itself; not a neighbour whose name begins alike."""
    assert Path("/proc") in mounted_at_or_below(Path("/proc"))
    assert Path("/proc") not in mounted_at_or_below(Path("/pro"))


def test_folders_without_permission_are_removed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rsync -a makes some; root may delete in them anyway, so their modes are looked at."""
    inner = tmp_path / "work" / "tree"
    inner.mkdir(parents=True)
    (inner / "file").write_bytes(b"x")
    inner.chmod(0o555)
    with monkeypatch.context() as patched:
        patched.setattr(session_module, "_REMOVAL_TRIES", 1)
        patched.setattr("shutil.rmtree", lambda _path, **_options: None)
        assert remove(tmp_path / "work") is not None
    assert inner.stat().st_mode & 0o700 == 0o700
    assert remove(tmp_path / "work") is None
    assert not (tmp_path / "work").exists()


def test_a_live_mount_is_never_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is deleted, and the reader is told what to do."""
    library = tmp_path / "work" / "library"
    library.mkdir(parents=True)
    (library / "precious").write_bytes(b"x")
    monkeypatch.setattr(session_module, "mounted_at_or_below", lambda _root: [library])
    reason = remove(tmp_path / "work")
    assert reason is not None
    assert f"fusermount3 -u -z {library}" in reason
    assert (library / "precious").exists()
