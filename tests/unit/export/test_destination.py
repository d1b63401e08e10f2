# SPDX-License-Identifier: Apache-2.0
"""A destination that another user or program works against: nothing outside, nothing half."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backlotfs.errors import SettingsError
from backlotfs.export import destination as module
from backlotfs.export.destination import (
    MANIFEST,
    TIMES,
    WORKSPACE,
    Destination,
    UnsafeDestination,
    Workspace,
    is_reserved,
)
from tests.unit.export.entries import make_entry

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


class Publishing:
    """A destination, a workspace, and a folder beside that nothing may get into."""

    def __init__(self, folder: Path) -> None:
        self.copy, self.outside = folder / "copy", folder / "outside"
        self.copy.mkdir()
        self.outside.mkdir()
        self.destination = Destination.open(self.copy)
        self.workspace = self.destination.claim()

    def publish(
        self,
        name: str,
        data: bytes,
        *,
        expected: os.stat_result | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Write a file in the workspace; do ``before``; give the file its name."""
        descriptor = self.workspace.open("unfinished")
        try:
            os.write(descriptor, data)
            sealed = os.fstat(descriptor)
            before()
            self.workspace.publish("unfinished", descriptor, sealed, name, expected)
        finally:
            os.close(descriptor)

    def files(self) -> dict[str, bytes]:
        """Everything below DEST but the workspace."""
        return {name: (self.copy / name).read_bytes() for name in self.destination.files()}


@pytest.fixture
def publishing(tmp_path: Path) -> Iterator[Publishing]:
    """Nothing published yet."""
    publishing = Publishing(tmp_path)
    with publishing.destination, publishing.workspace:
        yield publishing


@pytest.fixture(params=["links", "renames"])
def either(publishing: Publishing, request: pytest.FixtureRequest) -> Publishing:
    """On a disk with hard links, and as on one without, exFAT for one."""
    publishing.workspace.has_links = request.param == "links"
    return publishing


def test_a_file_gets_its_name_and_leaves_the_workspace(either: Publishing) -> None:
    """In folders that are made for it; a second version replaces the first."""
    either.publish("News/today/a.mov", b"first")
    path = either.copy / "News" / "today" / "a.mov"
    assert (path.read_bytes(), path.stat().st_nlink) == (b"first", 1)
    either.publish("News/today/a.mov", b"second", expected=path.stat())
    assert (path.read_bytes(), path.stat().st_nlink) == (b"second", 1)
    assert either.workspace.names() == []


@pytest.mark.parametrize("kind", ["file", "link", "pipe", "folder"])
def test_what_appeared_meanwhile_is_not_replaced(either: Publishing, kind: str) -> None:
    """It is somebody's."""
    path = either.copy / "a.mov"

    def appear() -> None:
        make_entry(path, kind, target=either.outside / "b.mov")
        if kind == "file":
            path.write_bytes(b"mine")

    with pytest.raises(UnsafeDestination, match="meanwhile"):
        either.publish("a.mov", b"ours", before=appear)
    assert stat.S_ISREG(path.lstat().st_mode) == (kind == "file")
    assert kind != "file" or path.read_bytes() == b"mine"
    assert list(either.outside.iterdir()) == []


def test_another_file_than_the_expected_one_is_not_replaced(either: Publishing) -> None:
    """Somebody has put it there while ours was written."""
    path = either.copy / "a.mov"
    either.publish("a.mov", b"first")

    def swap() -> None:
        (either.copy / "b").write_bytes(b"mine")
        (either.copy / "b").rename(path)

    with pytest.raises(UnsafeDestination, match="meanwhile"):
        either.publish("a.mov", b"second", expected=path.stat(), before=swap)
    assert either.files() == {"a.mov": b"mine"}


@pytest.fixture(params=["renameat2", "rename"])
def can_exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether this disk knows the flags of renameat2; some, NFS for one, do not."""
    if request.param == "rename":
        monkeypatch.setattr(module, "rename_with", lambda *_arguments: False)
    return bool(request.param == "renameat2")


@pytest.mark.usefixtures("can_exchange")
def test_a_file_is_replaced(either: Publishing) -> None:
    """And the old one, or anything else, is not left in the workspace."""
    for data in (b"one", b"two"):
        target = either.copy / "a.mov"
        expected = target.lstat() if target.exists() else None
        either.publish("a.mov", data, expected=expected)
    assert either.files() == {"a.mov": b"two"}
    assert either.workspace.names() == []


@pytest.mark.parametrize(
    ("was", "comes"),
    [(was, comes) for was in ("nothing", "file") for comes in ("file", "folder", "link")]
    + [("file", "nothing")],
)
def test_what_comes_between_the_look_and_the_rename(
    was: str, comes: str, publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeps its name where the disk can rename without replacing, or exchange two names."""
    publishing.workspace.has_links = False
    target = publishing.copy / "a.mov"
    if was == "file":
        target.write_bytes(b"old")
    expected = target.lstat() if was == "file" else None
    real = module.rename_with
    came: list[os.stat_result] = []

    def rename_with(*arguments: Any) -> bool:
        if not came:
            target.unlink(missing_ok=True)
            if comes != "nothing":
                make_entry(target, comes, target="elsewhere")
            came.append(target.lstat() if comes != "nothing" else publishing.copy.stat())
        return real(*arguments)

    monkeypatch.setattr(module, "rename_with", rename_with)
    with pytest.raises(UnsafeDestination, match="put something in its place meanwhile"):
        publishing.publish("a.mov", b"new", expected=expected)
    if comes == "nothing":
        assert not target.exists()
    else:
        assert target.lstat().st_ino == came[0].st_ino
    assert publishing.workspace.names() == ["unfinished"]


@pytest.mark.parametrize("depth", [1, 2])
def test_a_folder_swapped_for_a_link_is_not_followed(either: Publishing, depth: int) -> None:
    """It was right when it was looked at before."""
    folder = either.copy.joinpath(*["News", "today"][:depth])
    folder.mkdir(parents=True)

    def swap() -> None:
        folder.rename(either.copy / "aside")
        folder.symlink_to(either.outside)

    with pytest.raises(UnsafeDestination, match="is a symbolic link, not a folder"):
        either.publish("News/today/a.mov", b"ours", before=swap)
    assert list(either.outside.iterdir()) == []


@pytest.mark.parametrize("replaces", [False, True])
def test_a_folder_moved_away_as_the_file_gets_its_name(
    either: Publishing, monkeypatch: pytest.MonkeyPatch, replaces: bool
) -> None:
    """The open folder is not in DEST any more: it is found out, and the file taken back."""
    expected = None
    if replaces:
        either.publish("News/a.mov", b"first")
        expected = (either.copy / "News" / "a.mov").stat()
    place = Workspace._place

    def move_and_place(self: Workspace, *arguments: object) -> None:
        (either.copy / "News").rename(either.outside / "News")
        (either.copy / "News").symlink_to(either.outside / "News")
        place(self, *arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(Workspace, "_place", move_and_place)
    with pytest.raises(UnsafeDestination, match="changed by another program"):
        either.publish("News/a.mov", b"ours", expected=expected)
    assert list((either.outside / "News").iterdir()) == []


def test_what_is_in_the_workspace_under_its_name_is_not_published(either: Publishing) -> None:
    """Only the file whose digest was computed is."""

    def swap() -> None:
        either.workspace.remove("unfinished")
        (either.copy / WORKSPACE / "unfinished").write_bytes(b"evil")

    with pytest.raises(UnsafeDestination, match="another program changed"):
        either.publish("a.mov", b"good", before=swap)
    assert either.files() == {}


@pytest.mark.parametrize("size", [0, 2, 100])
def test_a_file_written_to_after_its_digest_is_not_published(either: Publishing, size: int) -> None:
    """Grown or cut."""
    path = either.copy / WORKSPACE / "unfinished"
    with pytest.raises(UnsafeDestination, match="wrote to it"):
        either.publish("a.mov", b"good", before=lambda: os.truncate(path, size))
    assert either.files() == {}


def test_a_file_with_a_second_name_is_not_gone_on_with(publishing: Publishing) -> None:
    """It may be a published one, killed before its old name went: writing would change that."""
    publishing.publish("a.mov", b"whole")
    os.link(publishing.copy / "a.mov", publishing.copy / WORKSPACE / "unfinished")
    publishing.publish("b.mov", b"x")
    assert publishing.files() == {"a.mov": b"whole", "b.mov": b"x"}


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_has_the_name_of_an_unfinished_file_is_removed(
    publishing: Publishing, kind: str
) -> None:
    """It is not written to, and not waited for."""
    (publishing.outside / "victim").write_bytes(b"theirs")
    path = publishing.copy / WORKSPACE / "unfinished"
    make_entry(path, kind, target=publishing.outside / "victim")
    publishing.publish("a.mov", b"ours")
    assert publishing.files() == {"a.mov": b"ours"}
    assert (publishing.outside / "victim").read_bytes() == b"theirs"


@pytest.mark.parametrize("name", ["../a.mov", "News/../../a.mov", "/a.mov", "News//a", "./a", "."])
def test_no_name_leads_out(publishing: Publishing, name: str) -> None:
    """Not even to where it would be harmless."""
    with pytest.raises(UnsafeDestination, match="lead out"):
        publishing.publish(name, b"ours")
    with pytest.raises(UnsafeDestination, match="lead out"):
        publishing.destination.look(name)


@pytest.mark.parametrize("kind", ["file", "pipe", "link", "socket"])
def test_what_is_in_the_way_of_a_folder(publishing: Publishing, kind: str) -> None:
    """It is named, with what to do; a pipe is not waited for."""
    make_entry(publishing.copy / "News", kind)
    with pytest.raises(UnsafeDestination, match=r"News in the destination is a .*, not a folder"):
        publishing.publish("News/a.mov", b"ours")


def test_the_workspace_is_no_folder_of_the_copy(publishing: Publishing) -> None:
    """Under whatever name a disk finds it: it is known by what it is, not by its name."""
    with pytest.raises(UnsafeDestination, match="keeps for itself"):
        publishing.publish(f"{WORKSPACE}/journal", b"ours")
    with pytest.raises(UnsafeDestination, match="keeps for itself"):
        publishing.destination.open_file(f"{WORKSPACE}/journal")


def test_the_manifest_is_no_file_of_the_copy(publishing: Publishing) -> None:
    """Under whatever name a disk finds it."""
    (publishing.copy / MANIFEST).touch()
    os.link(publishing.copy / MANIFEST, publishing.copy / "MANIFE~1.SHA")
    with pytest.raises(UnsafeDestination, match="export's own"):
        publishing.destination.look_at_file("MANIFE~1.SHA")


def test_a_folder_that_cannot_be_written_to(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named before anything is copied."""
    (publishing.copy / "News").mkdir()
    monkeypatch.setattr(os, "access", lambda *_arguments, **_options: False)
    with (
        pytest.raises(UnsafeDestination, match="News of the destination cannot be written to"),
        publishing.destination.folder(["News"], for_writing=True),
    ):
        pass


def test_a_disk_that_knows_case_is_known_by_trying(publishing: Publishing) -> None:
    """A folder that only looks like ours in another case is another."""
    assert publishing.workspace.folds_case() is False
    (publishing.copy / WORKSPACE.upper()).mkdir()
    assert publishing.workspace.folds_case() is False


def test_the_workspace_is_private_and_goes_at_the_end(tmp_path: Path) -> None:
    """What is unfinished stays, in a folder that no other user can enter."""
    with Destination.open(tmp_path) as destination:
        with destination.claim():
            assert stat.S_IMODE((tmp_path / WORKSPACE).stat().st_mode) == 0o700
        assert list(tmp_path.iterdir()) == []
        with destination.claim() as workspace:
            os.close(workspace.open("unfinished"))
        with destination.claim() as workspace:
            assert workspace.names() == ["unfinished"]


def refused(folder: Path, reason: str) -> None:
    """A claim says that something else has the name of the workspace, and leaves it."""
    before = (folder / WORKSPACE).lstat()
    with (
        Destination.open(folder) as destination,
        pytest.raises(SettingsError, match=f"{reason}.*, not a folder that only you can enter"),
    ):
        destination.claim()
    assert (folder / WORKSPACE).lstat().st_ino == before.st_ino


@pytest.mark.parametrize(
    ("kind", "target"),
    [("file", ""), ("link", "../other"), ("link", "nowhere"), ("pipe", ""), ("socket", "")],
)
def test_a_workspace_that_is_no_folder_is_refused(tmp_path: Path, kind: str, target: str) -> None:
    """A link to a folder of ours is none."""
    copy, other = tmp_path / "copy", tmp_path / "other"
    copy.mkdir()
    other.mkdir(mode=0o700)
    make_entry(copy / WORKSPACE, kind, target=target)
    refused(copy, "is a (file|symbolic link|named pipe|socket)")
    assert list(other.iterdir()) == []


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o777])
def test_a_workspace_that_others_can_enter_is_refused(tmp_path: Path, mode: int) -> None:
    """They could have put anything in."""
    (tmp_path / WORKSPACE).mkdir()
    (tmp_path / WORKSPACE).chmod(mode)
    refused(tmp_path, f"with mode {mode:o}")
    assert list((tmp_path / WORKSPACE).iterdir()) == []


@root_only
def test_a_workspace_of_another_user_is_refused(tmp_path: Path) -> None:
    """Planted by somebody who can write to DEST."""
    (tmp_path / WORKSPACE).mkdir(mode=0o700)
    os.chown(tmp_path / WORKSPACE, 65534, 65534)
    refused(tmp_path, "of user 65534 with mode 700")


def test_a_disk_without_owners_and_modes_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a new file of ours has the same owner and is open to all, exFAT for one."""
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        mode = stat.S_IFMT(found.st_mode) | 0o777
        return os.stat_result((mode, *found[1:4], 12345, *found[5:]), {
            "st_mtime_ns": found.st_mtime_ns, "st_blocks": found.st_blocks,
        })  # fmt: skip  # one value

    with Destination.open(tmp_path) as destination:
        monkeypatch.setattr(os, "fstat", fstat)
        with destination.claim() as workspace:
            os.close(workspace.open("unfinished"))
        left = destination.leftover()
        assert left is not None
        with closing(left):
            assert left.names() == ["unfinished"]


def test_a_workspace_moved_away_is_written_to_no_more_by_name(publishing: Publishing) -> None:
    """One put in its place is not believed: the opened one is used to the end."""
    planted = publishing.copy / WORKSPACE

    def swap() -> None:
        planted.rename(publishing.copy / "aside")
        planted.mkdir()
        (planted / "unfinished").write_bytes(b"evil")

    publishing.publish("a.mov", b"good", before=swap)
    assert publishing.files()["a.mov"] == b"good"
    shutil.rmtree(planted)


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        (MANIFEST, True),
        (f"{MANIFEST}/a.mov", True),
        ("manifest.sha256", True),
        ("MANIFEST\u200d.sha256", True),
        ("\uff2dANIFEST.sha256", True),
        ("MANIFEST.sha256 ..", True),
        ("MANIFEST.sha256:stream", True),
        (WORKSPACE, True),
        (f"{WORKSPACE}/a.mov", True),
        (".Backlotfs-EXPORT", True),
        (TIMES, True),
        (f"{TIMES.upper()}.", True),
        ("MANIFEST.sha256.new", False),
        (f"News/{MANIFEST}", False),
        (f"News/{WORKSPACE}", False),
        (".backlotfs-09ff0114a7147f4bd1cdc9c9.part", False),
        ("reel.mov", False),
    ],
)
def test_names_that_some_disk_takes_for_ours(name: str, reserved: bool) -> None:
    """Case, invisible characters, wide letters, ends that are cut, streams of NTFS."""
    assert is_reserved(name) is reserved
