"""Many files: each its own fate."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from backlotfs.errors import SettingsError
from backlotfs.export import exporter as module
from backlotfs.export.exporter import ATTEMPTS, Exporter, Outcome, State, claimed, planned
from backlotfs.export.items import find_items
from backlotfs.export.manifest import MANIFEST, read_manifest


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

    def run(self, *, overwrite: bool = False) -> dict[str, Outcome]:
        """Export all; outcome by name."""
        items, _ = find_items([f"{self.library}/"], never_paused)
        self.total_moved = 0
        exporter = Exporter(
            self.copy,
            jobs=2,
            overwrite=overwrite,
            moved=self._move,
            finished=self.finished.append,
        )
        return {outcome.name: outcome for outcome in exporter.run(items)}

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
    assert exporting.total_moved == 3 * 5000


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
    assert "a.mov" not in read_manifest(exporting.copy)
    assert exporting.run(overwrite=True)["a.mov"].state is State.COPIED


def test_one_that_fails_does_not_stop_the_others(exporting: Exporting) -> None:
    """It is named, with its reason, and not in the manifest."""
    items, _ = find_items([f"{exporting.library}/"], never_paused)
    (exporting.library / "b.mov").unlink()
    exporter = Exporter(
        exporting.copy, jobs=2, overwrite=False, moved=lambda _: None, finished=lambda _: None
    )
    outcomes = {outcome.name: outcome for outcome in exporter.run(items)}
    assert states(outcomes) == [State.COPIED, State.FAILED, State.COPIED]
    assert outcomes["b.mov"].reason == "No such file or directory"
    assert sorted(read_manifest(exporting.copy)) == ["a.mov", "c.mov"]


@pytest.mark.parametrize(("code", "tries"), [(errno.EIO, ATTEMPTS), (errno.EACCES, 1)])
def test_what_may_pass_is_tried_again(
    exporting: Exporting, monkeypatch: pytest.MonkeyPatch, code: int, tries: int
) -> None:
    """What will not pass is not."""
    tried = []

    def copy_file(item: object, target: Path, **_more: object) -> tuple[int, str]:
        tried.append(target.name)
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

    items, _ = find_items([f"{exporting.library}/"], never_paused)
    exporter = Exporter(
        exporting.copy, jobs=1, overwrite=False, moved=lambda _: None, finished=interrupt
    )
    with pytest.raises(KeyboardInterrupt):
        exporter.run(items)
    whole = sorted(path.name for path in exporting.copy.glob("*.mov"))
    assert "a.mov" in whole
    assert sorted(read_manifest(exporting.copy)) == whole


def test_a_library_cannot_replace_the_manifest(exporting: Exporting) -> None:
    """An asset may be called like it."""
    (exporting.library / MANIFEST).write_bytes(b"hello")
    assert exporting.run()[MANIFEST].state is State.FAILED
    assert sorted(read_manifest(exporting.copy)) == ["a.mov", "b.mov", "c.mov"]


def test_a_plan_changes_nothing(exporting: Exporting, tmp_path: Path) -> None:
    """Also where there is no folder yet."""
    items, _ = find_items([f"{exporting.library}/"], never_paused)
    found = planned(items, tmp_path / "nowhere", overwrite=False)
    assert [outcome.state for outcome in found] == [State.PLANNED] * 3
    assert not (tmp_path / "nowhere").exists()


def test_two_exports_do_not_share_a_folder(tmp_path: Path) -> None:
    """Their manifests would lose each other's lines."""
    with (
        claimed(tmp_path / "copy"),
        pytest.raises(SettingsError, match="another export"),
        claimed(tmp_path / "copy"),
    ):
        pass
