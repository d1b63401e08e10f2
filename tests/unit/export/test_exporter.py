# SPDX-License-Identifier: Apache-2.0
"""Many files: each its own fate."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from backlotfs.errors import Interrupted, SettingsError
from backlotfs.export import exporter as module
from backlotfs.export.destination import MANIFEST, TIMES, WORKSPACE, Destination
from backlotfs.export.exporter import ATTEMPTS, Exporter, Outcome, State, planned
from backlotfs.export.items import Item, find_items
from backlotfs.export.manifest import Records
from backlotfs.export.verifying import read_all_records
from tests.fakes.workers import PATIENCE_S
from tests.unit.export.entries import make_entry


def never_paused(seconds: float) -> None:
    """All sizes are known here."""
    raise AssertionError(f"{seconds} s were waited")


class Exporting:
    """A library of three files and its copy."""

    def __init__(self, folder: Path) -> None:
        self.library, self.copy = folder / "library", folder / "copy"
        self.library.mkdir()
        self.copy.mkdir()
        for name in ("a.mov", "b.mov", "c.mov"):
            (self.library / name).write_bytes(name.encode() * 1000)
        self.total_moved = 0
        self.finished: list[Outcome] = []

    def items(self) -> list[Item]:
        """What is to be exported."""
        return find_items([f"{self.library}/"], never_paused)[0]

    def run(self, *, overwrite: bool = False, checksum: bool = False) -> dict[str, Outcome]:
        """Export all; outcome by name."""
        return {
            outcome.name: outcome
            for outcome in self.run_items(self.items(), overwrite=overwrite, checksum=checksum)
        }

    def run_items(
        self,
        items: list[Item],
        *,
        jobs: int = 2,
        overwrite: bool = False,
        checksum: bool = False,
        finished: Callable[[Outcome], None] | None = None,
    ) -> list[Outcome]:
        """Export these."""
        self.total_moved = 0
        with Destination.open(self.copy) as destination, destination.claim() as workspace:
            exporter = Exporter(
                destination,
                workspace,
                jobs=jobs,
                overwrite=overwrite,
                checksum=checksum,
                moved=self._move,
                finished=finished or self.finished.append,
            )
            return exporter.run(items)

    def manifest(self) -> dict[str, str]:
        """Name to digest."""
        with Destination.open(self.copy) as destination:
            return read_all_records(destination)[0].digests

    def _move(self, count_bytes: int) -> None:
        self.total_moved += count_bytes


@pytest.fixture
def exporting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exporting:
    """Nothing exported yet; failures are not waited for."""
    monkeypatch.setattr(module, "RETRY_PAUSE_S", 0.0)
    return Exporting(tmp_path)


def states(outcomes: dict[str, Outcome]) -> list[State]:
    """In the order of names."""
    return [outcomes[name].state for name in sorted(outcomes)]


def test_the_second_time_nothing_is_copied(exporting: Exporting) -> None:
    """And the manifest is the same."""
    assert states(exporting.run()) == [State.COPIED] * 3
    manifest = (exporting.copy / MANIFEST).read_bytes()
    assert states(exporting.run()) == [State.UNCHANGED] * 3
    assert (exporting.copy / MANIFEST).read_bytes() == manifest
    assert exporting.total_moved == 0, "a rate of what was not read would be wrong"


def test_a_replaced_source_is_copied_again(exporting: Exporting) -> None:
    """Alone."""
    exporting.run()
    (exporting.library / "b.mov").write_bytes(b"another")
    assert states(exporting.run()) == [State.UNCHANGED, State.COPIED, State.UNCHANGED]
    assert (exporting.copy / "b.mov").read_bytes() == b"another"


def test_a_file_of_somebody_else_is_not_replaced_unless_asked(exporting: Exporting) -> None:
    """It may be the only one of its kind."""
    (exporting.copy / "a.mov").write_bytes(b"mine")
    outcomes = exporting.run()
    assert states(outcomes) == [State.FAILED, State.COPIED, State.COPIED]
    assert "--overwrite" in (outcomes["a.mov"].reason or "")
    assert (exporting.copy / "a.mov").read_bytes() == b"mine"
    assert "a.mov" not in exporting.manifest()
    assert exporting.run(overwrite=True)["a.mov"].state is State.COPIED


def test_one_that_fails_does_not_stop_the_others(exporting: Exporting) -> None:
    """It is named, with its reason, and not in the manifest."""
    items = exporting.items()
    (exporting.library / "b.mov").unlink()
    outcomes = {outcome.name: outcome for outcome in exporting.run_items(items)}
    assert states(outcomes) == [State.COPIED, State.FAILED, State.COPIED]
    assert outcomes["b.mov"].reason == "No such file or directory"
    assert sorted(exporting.manifest()) == ["a.mov", "c.mov"]


@pytest.mark.parametrize(("code", "tries"), [(errno.EIO, ATTEMPTS), (errno.EACCES, 1)])
def test_what_may_pass_is_tried_again(
    exporting: Exporting, monkeypatch: pytest.MonkeyPatch, code: int, tries: int
) -> None:
    """What will not pass is not."""
    tried = []

    def copy_file(item: Item, *_others: object, **_more: object) -> tuple[int, str]:
        tried.append(item.name)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module, "copy_file", copy_file)
    assert states(exporting.run()) == [State.FAILED] * 3
    assert tried.count("a.mov") == tries
    assert exporting.total_moved == 0
    assert not (exporting.copy / MANIFEST).exists()


def test_ctrl_c_keeps_what_is_complete(exporting: Exporting) -> None:
    """In the manifest; what waited is not begun."""

    def interrupt(_outcome: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exporting.run_items(exporting.items(), jobs=1, finished=interrupt)
    whole = sorted(path.name for path in exporting.copy.glob("*.mov"))
    assert "a.mov" in whole
    assert sorted(exporting.manifest()) == whole


def test_ctrl_c_takes_no_progress_back(
    exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar stays where it is, because the parts stay for the next export."""
    begun = threading.Event()

    def copy_file(
        item: Item,
        *_others: object,
        moved: Callable[[int], None],
        stop: threading.Event,
        **_more: object,
    ) -> None:
        if item.name == "a.mov":
            assert begun.wait(PATIENCE_S)
            raise OSError(errno.EACCES, "it may not be read")
        moved(700)
        begun.set()
        assert stop.wait(PATIENCE_S)
        raise Interrupted("stopped")

    def interrupt(_outcome: Outcome) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "copy_file", copy_file)
    with pytest.raises(KeyboardInterrupt):
        exporting.run_items(exporting.items()[:2], finished=interrupt)
    assert exporting.total_moved == 700


OURS = [MANIFEST, WORKSPACE, TIMES, "Manifest.SHA256", f"{WORKSPACE}. ", f"{MANIFEST}::$DATA"]


@pytest.mark.parametrize("name", OURS)
def test_a_name_of_ours_is_refused(exporting: Exporting, name: str) -> None:
    """Assets may be called like the manifest or the workspace, or so that some disk is misled."""
    (exporting.library / name).write_bytes(b"hello")
    outcome = exporting.run()[name]
    assert outcome.state is State.FAILED
    assert "without a slash at the end" in (outcome.reason or "")
    assert sorted(exporting.manifest()) == ["a.mov", "b.mov", "c.mov"]


def test_a_folder_with_a_name_of_ours_is_refused(exporting: Exporting) -> None:
    """Nothing is written into the workspace under a name of the library."""
    (exporting.library / WORKSPACE).mkdir()
    (exporting.library / WORKSPACE / "journal").write_bytes(b"hello")
    assert exporting.run()[f"{WORKSPACE}/journal"].state is State.FAILED
    assert sorted(exporting.manifest()) == ["a.mov", "b.mov", "c.mov"]


def test_names_like_those_of_temporary_files_are_names(exporting: Exporting) -> None:
    """No name of a library can be that of a file in the workspace: each is exported."""
    key = hashlib.sha256(b"a.mov").hexdigest()
    names = [
        *(f"{stem}{end}" for stem in (key, key[:24], f".backlotfs-{key[:24]}", "manifest")
          for end in ("", ".part", ".checkpoint", ".checkpoint.new")),
        "MANIFEST.sha256.new", "journal", ".backlotfs-export.sha256",
    ]  # fmt: skip  # a table
    for name in names:
        (exporting.library / name).write_bytes(f"bytes of {name}".encode())
    (exporting.library / "News").mkdir()
    (exporting.library / "News" / MANIFEST).write_bytes(b"not at the top, so not ours")
    (exporting.library / "News" / WORKSPACE).write_bytes(b"the same")
    outcomes = exporting.run()
    assert set(states(outcomes)) == {State.COPIED}
    for name, outcome in outcomes.items():
        copied = (exporting.copy / name).read_bytes()
        assert copied == (exporting.library / name).read_bytes()
        assert outcome.sha256 == hashlib.sha256(copied).hexdigest()
    assert exporting.manifest() == {name: outcome.sha256 for name, outcome in outcomes.items()}


def test_a_plan_changes_nothing(exporting: Exporting) -> None:
    """Also where there is no folder yet."""
    found = planned(exporting.items(), None, Records({}, {}), overwrite=False)
    assert [outcome.state for outcome in found] == [State.PLANNED] * 3


def test_two_exports_do_not_share_a_folder(exporting: Exporting) -> None:
    """Their manifests would lose each other's lines."""
    with (
        Destination.open(exporting.copy) as destination,
        destination.claim(),
        pytest.raises(SettingsError, match="another export"),
    ):
        destination.claim()


def test_what_a_kill_left_is_removed(exporting: Exporting) -> None:
    """Of a file that had its name already, of a trial, of what was to be renamed."""
    exporting.run()
    workspace = exporting.copy / WORKSPACE
    workspace.mkdir(mode=0o700)
    key = hashlib.sha256(b"a.mov").hexdigest()
    os.link(exporting.copy / "a.mov", workspace / f"{key}.part")
    for name in (f"{key}.checkpoint", f"{key}.checkpoint.new", "probe-12", "manifest", "journal"):
        (workspace / name).write_bytes(b"half")
    assert states(exporting.run()) == [State.UNCHANGED] * 3
    assert not workspace.exists()
    assert (exporting.copy / "a.mov").read_bytes() == (exporting.library / "a.mov").read_bytes()


def test_unchanged_is_not_verified(exporting: Exporting) -> None:
    """A changed byte with size and time as they were: without --checksum nothing was read."""
    exporting.run()
    changed = spoil(exporting.copy / "b.mov")
    outcomes = exporting.run()
    assert states(outcomes) == [State.UNCHANGED] * 3
    assert [outcome.sha256 for outcome in outcomes.values()] == [None] * 3
    assert (exporting.copy / "b.mov").read_bytes() == changed


def test_checksum_reads_what_looks_unchanged(exporting: Exporting) -> None:
    """What is the same is verified, what is not is copied again."""
    exporting.run()
    digests = exporting.manifest()
    spoil(exporting.copy / "b.mov")
    outcomes = exporting.run(checksum=True)
    assert states(outcomes) == [State.VERIFIED, State.COPIED, State.VERIFIED]
    assert {name: outcome.sha256 for name, outcome in outcomes.items()} == digests
    assert (exporting.copy / "b.mov").read_bytes() == (exporting.library / "b.mov").read_bytes()
    assert exporting.total_moved == 3 * 5000


def test_checksum_compares_with_the_source(exporting: Exporting) -> None:
    """Not with the manifest: a source may be replaced with size and time as they were."""
    exporting.run()
    changed = spoil(exporting.library / "b.mov")
    outcomes = exporting.run(checksum=True)
    assert states(outcomes) == [State.VERIFIED, State.COPIED, State.VERIFIED]
    assert (exporting.copy / "b.mov").read_bytes() == changed
    assert exporting.manifest()["b.mov"] == hashlib.sha256(changed).hexdigest()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "socket"])
def test_what_is_no_file_is_neither_unchanged_nor_replaced(exporting: Exporting, kind: str) -> None:
    """In place of a file that an export made, also with --overwrite; and nothing waits for it."""
    exporting.run()
    path = exporting.copy / "b.mov"
    path.unlink()
    make_entry(path, kind, target=exporting.library / "b.mov")
    before = path.lstat()
    for checksum in (False, True):
        outcome = exporting.run(overwrite=True, checksum=checksum)["b.mov"]
        assert outcome.state is State.FAILED
        assert "remove it or move it away" in (outcome.reason or "")
        assert path.lstat().st_ino == before.st_ino


@pytest.mark.parametrize("again", ["first", "second"])
@pytest.mark.parametrize("swap", ["link", "gone", "other"])
def test_a_folder_swapped_after_its_file_was_exported(
    exporting: Exporting, swap: str, again: str, tmp_path: Path
) -> None:
    """The file is not inside DEST in the end, so it was not exported; and verify knows it not."""
    (exporting.library / "News").mkdir()
    (exporting.library / "News" / "n.mov").write_bytes(b"news")
    if again == "second":
        exporting.run()
    news, outside = exporting.copy / "News", tmp_path / "outside"

    def finished(outcome: Outcome) -> None:
        exporting.finished.append(outcome)
        if outcome.name == "News/n.mov" and not outside.exists():
            news.rename(outside)
            if swap == "link":
                news.symlink_to(outside)
            elif swap == "other":
                news.mkdir()
                (news / "n.mov").write_bytes(b"evil")

    outcomes = exporting.run_items(exporting.items(), finished=finished)
    by_name = {outcome.name: outcome for outcome in outcomes}
    assert by_name["News/n.mov"].state is State.FAILED
    assert exporting.finished[-1] == by_name["News/n.mov"]
    assert "after it was exported" in str(by_name["News/n.mov"].reason)
    assert set(exporting.manifest()) == {"a.mov", "b.mov", "c.mov"}


def spoil(path: Path) -> bytes:
    """Change one byte, with size and time as they were; the bytes it has now."""
    status = path.stat()
    changed = b"X" + path.read_bytes()[1:]
    path.write_bytes(changed)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    return changed
