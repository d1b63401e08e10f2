# SPDX-License-Identifier: Apache-2.0
"""Presigned URLs in a file: over restarts, beside other mounts, and on disks that fail."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backlotfs.api.records import SignedUrl
from backlotfs.concurrency.clock import SystemClock
from backlotfs.source import saved_urls
from backlotfs.source.saved_urls import (
    MAX_URL_LENGTH,
    PRUNE_INTERVAL_S,
    SavedUrls,
    delete_saved_urls,
)
from tests.fakes.clocks import ManualClock
from tests.project.source_tree import ROOT
from tests.support.deadlines import wait_until

LIFE_S = 3600.0
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def clock() -> ManualClock:
    """Wall and monotonic clock of every mount of a test."""
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file; neither it nor its folders are there yet."""
    return tmp_path / "cache" / "urls" / "library.sqlite3"


class Mount:
    """What one mount keeps."""

    def __init__(self, path: Path, clock: ManualClock, **how: int) -> None:
        self.clock = clock
        self.saved = SavedUrls(path, clock, **how)
        self.loaded = self.saved.load()

    def url(self, text: str, life_s: float = LIFE_S) -> SignedUrl:
        """As the API would give it now."""
        return SignedUrl(f"https://host/{text}?Signature=planted-{text}", self.clock.now() + life_s)

    def put(
        self, code: str, text: str = "a", *, life_s: float = LIFE_S, ago_s: float = 0.0
    ) -> None:
        """Keep a URL that was asked for so long ago."""
        asked_s = self.clock.now() - ago_s
        self.saved.put(
            code, self.url(text, life_s), file_size=7, as_of_s=asked_s + 2, asked_at_s=asked_s
        )

    def close(self) -> None:
        """Unmount."""
        self.saved.close()


def kept(path: Path, clock: ManualClock) -> dict[str, str]:
    """What the next mount would begin with: the path of each URL."""
    with contextlib.closing(Mount(path, clock)) as mount:
        return {code: saved.url.url.split("/")[3].split("?")[0] for code, saved in
                mount.loaded.items()}  # fmt: skip


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines that people see; the log suppresses repeated ones."""
    return list(
        dict.fromkeys(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)
    )


def test_a_url_comes_back_with_all_that_is_known_of_it(path: Path, clock: ManualClock) -> None:
    """Byte for byte, with its expiry, the size and the moment; once."""
    first = Mount(path, clock)
    assert first.loaded == {}
    url = SignedUrl("https://host/a%2Fb?Expires=1&Signature=x%2B&", clock.now() + LIFE_S)
    first.saved.put("E1", url, file_size=None, as_of_s=12.5, asked_at_s=clock.now())
    first.close()
    first.close()
    again = Mount(path, clock)
    (code, saved), = again.loaded.items()  # fmt: skip
    assert (code, saved.url, saved.file_size, saved.as_of_s) == ("E1", url, None, 12.5)
    assert saved.url.expires_at_s == url.expires_at_s
    assert again.saved.load() == {}
    again.close()


def test_the_owner_alone_can_read_it(path: Path, clock: ManualClock) -> None:
    """0600 in 0700 whatever the umask, with the tag for backup programs; wider is narrowed."""
    before = os.umask(0)
    try:
        for _ in range(2):
            mount = Mount(path, clock)
            mount.put("E1")
            mount.saved.flush()
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
            assert modes == {path.name: 0o600, "library.lock": 0o600, "CACHEDIR.TAG": 0o600}
            tag = (path.parent / "CACHEDIR.TAG").read_text()
            assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
            mount.close()
            path.chmod(0o666)
            path.parent.chmod(0o755)
    finally:
        os.umask(before)


def test_it_is_written_soon_without_being_asked(path: Path, clock: ManualClock) -> None:
    """A mount that is killed a moment later has kept it."""
    mount = Mount(path, clock)
    mount.put("E1")
    wait_until(lambda: kept(path, clock) == {"E1": "a"}, "the write behind")
    mount.saved.drop("E1")
    wait_until(lambda: kept(path, clock) == {}, "the next one")
    mount.close()


def test_what_expires_goes(path: Path, clock: ManualClock) -> None:
    """At the next opening, and now and then in a mount that lives long."""
    mount = Mount(path, clock)
    mount.put("short", "short-lived", life_s=100)
    mount.put("long", "long-lived", life_s=10 * LIFE_S)
    mount.saved.flush()
    assert set(kept(path, clock)) == {"short", "long"}
    clock.advance(PRUNE_INTERVAL_S)
    mount.saved.flush()
    assert b"short-lived" not in path.read_bytes()
    mount.close()
    clock.advance(20 * LIFE_S)
    assert kept(path, clock) == {}
    assert b"long-lived" not in path.read_bytes()


def test_what_is_not_worth_keeping(path: Path, clock: ManualClock) -> None:
    """A URL that does not say when it expires, and one beyond reason."""
    mount = Mount(path, clock)
    for code, url in (
        ("unknown", SignedUrl("https://host/a", None)),
        ("long", SignedUrl("https://host/" + "a" * MAX_URL_LENGTH, clock.now() + LIFE_S)),
    ):
        mount.saved.put(code, url, file_size=1, as_of_s=1, asked_at_s=clock.now())
    mount.close()
    assert kept(path, clock) == {}


def test_a_drop(path: Path, clock: ManualClock) -> None:
    """Before and after it was written; of a given URL only if it is the one; nothing is left."""
    mount = Mount(path, clock)
    for code in ("unwritten", "written", "refused", "renewed", "renewed-now"):
        mount.put(code, f"old-{code}")
        if code == "unwritten":
            mount.saved.drop(code)
    old = {code: mount.url(f"old-{code}") for code in ("refused", "renewed", "renewed-now")}
    mount.saved.flush()
    clock.advance(1)
    mount.put("renewed", "new")
    mount.saved.flush()
    clock.advance(1)
    mount.put("renewed-now", "new")
    mount.saved.drop("written")
    for code, url in old.items():
        mount.saved.drop(code, url)
    mount.close()
    assert kept(path, clock) == {"renewed": "new", "renewed-now": "new"}
    assert b"old-" not in path.read_bytes()


def test_a_url_that_was_asked_for_before_a_drop_stays_dropped(
    path: Path, clock: ManualClock
) -> None:
    """Whether the drop was written or not; one that was asked for later is kept."""
    mount = Mount(path, clock)
    for write in (mount.saved.flush, lambda: True):
        mount.saved.drop("E1")
        write()
        mount.put("E1", ago_s=0.1)
        mount.saved.flush()
        assert kept(path, clock) == {}
        clock.advance(1)
    mount.put("E1", "b")
    mount.close()
    assert kept(path, clock) == {"E1": "b"}


def test_two_mounts_at_once(path: Path, clock: ManualClock) -> None:
    """Both write; a stale copy of one does not undo the drop of the other; later URLs win."""
    one = Mount(path, clock)
    one.put("E1", "first")
    one.saved.flush()
    two = Mount(path, clock)
    assert set(two.loaded) == {"E1"}
    two.put("E2", "second")
    one.put("E3", "stale")  # noted, not written
    clock.advance(0.1)
    two.saved.drop("E3")
    two.saved.drop("E1")
    two.saved.flush()
    one.saved.flush()
    assert kept(path, clock) == {"E2": "second"}
    clock.advance(1)
    one.put("E2", "newer")
    one.saved.flush()
    two.put("E2", "older", ago_s=0.5)
    two.close()
    one.put("E1", "again")
    one.close()
    assert kept(path, clock) == {"E2": "newer", "E1": "again"}


def test_the_file_has_a_bound(path: Path, clock: ManualClock) -> None:
    """The newest stay."""
    mount = Mount(path, clock, max_entries=100)
    for number in range(500):
        clock.advance(1)
        mount.put(f"E{number}")
        if number % 7 == 0:
            mount.saved.flush()
    mount.close()
    left = kept(path, clock)
    assert 90 <= len(left) <= 100
    assert set(left) == {f"E{number}" for number in range(500 - len(left), 500)}


def noise(path: Path) -> None:
    """No database at all."""
    path.write_bytes(os.urandom(20_000))


def damage(path: Path) -> None:
    """A database whose pages are noise, behind a head that is right."""
    path.write_bytes(path.read_bytes()[:200] + os.urandom(20_000))


def another_programs(path: Path) -> None:
    """A sound database of something else."""
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (a)")
        connection.commit()


def link(path: Path) -> None:
    """A link to a file elsewhere, which must stay as it is."""
    elsewhere = path.parent.parent / "elsewhere"
    elsewhere.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(elsewhere)


def journal_that_waits(path: Path) -> None:
    """A FIFO: SQLite would wait for a writer."""
    os.mkfifo(f"{path}-journal")


def linked_journal(path: Path) -> None:
    """A journal elsewhere."""
    Path(f"{path}-journal").symlink_to(path.parent.parent / "elsewhere")


def given_away(path: Path) -> None:
    """Another user's."""
    os.chown(path, 65534, 65534)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "spoil",
    [
        *(noise, damage, another_programs, link, journal_that_waits, linked_journal),
        pytest.param(given_away, marks=needs_root),
    ],
)
def test_a_file_that_cannot_be_used_is_replaced(
    path: Path,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
) -> None:
    """One line in the log; the new file works."""
    first = Mount(path, clock)
    for number in range(100):
        first.put(f"E{number}")
    first.close()
    spoil(path)
    mount = Mount(path, clock)
    assert mount.loaded == {}
    (line,) = warnings_in(caplog)
    assert "the file was removed" in line
    mount.put("E1", "new")
    mount.close()
    assert kept(path, clock) == {"E1": "new"}
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_uid == os.geteuid()
    assert len(warnings_in(caplog)) == 1


def test_a_damaged_file_that_another_mount_uses_stays(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its journal would meet the new one's; memory has to do."""
    other = Mount(path, clock)
    for number in range(100):
        other.put(f"E{number}")
    other.saved.flush()
    inode = path.stat().st_ino
    damage(path)
    mount = Mount(path, clock)
    assert mount.loaded == {}
    assert path.stat().st_ino == inode
    assert "in memory only" in warnings_in(caplog)[0]
    mount.put("E1")
    mount.close()
    other.close()


def test_a_file_that_is_damaged_under_a_mount(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The mount goes on, one line says so, and the next mount has a new file."""
    mount = Mount(path, clock)
    for number in range(100):
        mount.put(f"E{number}")
    mount.saved.flush()
    path.write_bytes(os.urandom(40_000))
    for number in range(3):
        clock.advance(1)
        mount.put(f"E{number}")
        mount.saved.flush()
    mount.close()
    (line,) = warnings_in(caplog)
    assert "in memory only" in line
    assert kept(path, clock) == {}


def test_a_folder_that_cannot_be_made(
    tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """One line; whatever is put and dropped is no error."""
    (tmp_path / "file").touch()
    mount = Mount(tmp_path / "file" / "urls" / "x.sqlite3", clock)
    mount.put("E1")
    mount.saved.drop("E1")
    mount.saved.flush()
    mount.close()
    assert len(warnings_in(caplog)) == 1


def test_a_folder_that_others_could_replace(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Is not written to: they could put their own in its place and read what comes into it."""
    before = os.umask(0)
    try:
        path.parent.parent.mkdir(mode=0o777)
    finally:
        os.umask(before)
    mount = Mount(path, clock)
    mount.put("E1")
    mount.close()
    (line,) = warnings_in(caplog)
    assert "others can replace files in" in line
    assert not path.parent.exists()


def test_missing_parents_are_made_for_us_alone(tmp_path: Path, clock: ManualClock) -> None:
    """All of them, whatever the umask."""
    before = os.umask(0o022)
    try:
        Mount(tmp_path / "share" / "cache" / "urls" / "library.sqlite3", clock).close()
    finally:
        os.umask(before)
    for made in (tmp_path / "share", tmp_path / "share" / "cache"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700


@needs_root
def test_a_folder_of_another_user(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Is not written to."""
    path.parent.mkdir(parents=True)
    os.chown(path.parent, 65534, 65534)
    mount = Mount(path, clock)
    mount.put("E1")
    mount.close()
    (line,) = warnings_in(caplog)
    assert "belongs to another user" in line
    assert list(path.parent.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    mountpoint = tmp_path / "disk"
    mountpoint.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", mountpoint], check=True)
    try:
        yield mountpoint
    finally:
        subprocess.run(["umount", "-l", mountpoint], check=True)


@needs_root
def test_a_full_disk(
    small_disk: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """One line; what was kept stays, and once there is room the rest is kept too."""
    path = small_disk / "urls" / "x.sqlite3"
    mount = Mount(path, clock)
    mount.put("E1")
    assert mount.saved.flush()
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    for number in range(2, 200):
        mount.put(f"E{number}")
    assert not mount.saved.flush()
    assert not mount.saved.flush()
    (line,) = warnings_in(caplog)
    assert "full" in line
    assert "in memory only" in line
    ballast.unlink()
    assert mount.saved.flush()
    mount.close()
    assert len(kept(path, clock)) == 199
    assert len(warnings_in(caplog)) == 1


def test_no_url_is_ever_told(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by a representation, a log line, nor the name of a thread."""
    caplog.set_level(logging.DEBUG)
    mount = Mount(path, clock)
    mount.put("E1", "secret")
    mount.saved.flush()
    noise(path)
    clock.advance(1)
    mount.put("E1", "secret")
    mount.saved.flush()
    mount.close()
    again = Mount(path, clock)
    told = f"{caplog.text} {mount.saved!r} {mount.saved._pending!r} {again.loaded!r}"
    again.close()
    assert "planted" not in told
    assert caplog.records


@pytest.mark.parametrize("what", ["file", "folder", "cache", "moved"])
def test_a_file_that_is_removed_under_a_mount(
    path: Path, clock: ManualClock, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is written again with all that was in it, and told once."""
    with contextlib.closing(Mount(path, clock)) as mount:
        mount.put("A", "old")
        assert mount.saved.flush()
        if what == "file":
            path.unlink()
        elif what == "moved":
            path.parent.rename(path.parent.with_name("elsewhere"))
        else:
            shutil.rmtree(path.parent if what == "folder" else path.parent.parent)
        for name in ("B", "C"):
            mount.put(name, "new")
            assert mount.saved.flush()
    assert kept(path, clock) == {"A": "old", "B": "new", "C": "new"}
    assert (path.parent / "CACHEDIR.TAG").exists()
    assert len(warnings_in(caplog)) == 1
    assert "written again" in caplog.text


def test_a_file_that_is_removed_before_the_end(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not made again: who unmounts and then deletes the cache wants nothing left of it."""
    monkeypatch.setattr(saved_urls, "WRITE_AFTER_S", 60.0)  # only the end writes
    with contextlib.closing(Mount(path, clock)) as mount:
        mount.put("A", "old")
        assert mount.saved.flush()
        mount.put("B", "new")
        shutil.rmtree(path.parent.parent)
    assert not path.parent.parent.exists()


def test_a_file_that_is_removed_during_a_write(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The same, though the write fails: its changes are in the new file."""
    with contextlib.closing(Mount(path, clock)) as mount:
        mount.put("A", "old")
        assert mount.saved.flush()
        write = mount.saved._write
        removed: list[Path] = []

        def removed_before(*arguments: Any, **options: Any) -> None:
            if not removed:
                removed.append(path.rename(path.with_name("elsewhere")))
            write(*arguments, **options)

        mount.saved._write = removed_before  # type: ignore[method-assign]
        mount.put("B", "new")
        assert mount.saved.flush()
    assert removed
    assert kept(path, clock) == {"A": "old", "B": "new"}
    assert len(warnings_in(caplog)) == 1
    assert "written again" in caplog.text


def test_a_file_that_cannot_be_made_again(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """URLs are in memory only; the mount goes on."""
    with contextlib.closing(Mount(path, clock)) as mount:
        mount.put("A", "old")
        assert mount.saved.flush()
        shutil.rmtree(path.parent)
        path.parent.touch()
        mount.put("B", "new")
        assert mount.saved.flush()
        mount.put("C", "new")
        assert mount.saved.flush()
    assert len(warnings_in(caplog)) == 1


def test_deleting(path: Path, clock: ManualClock) -> None:
    """The file is gone; where there is none it is no error."""
    delete_saved_urls(path)
    assert not path.parent.exists()
    mount = Mount(path, clock)
    mount.put("E1", "old")
    mount.close()
    delete_saved_urls(path)
    assert not path.exists()
    assert kept(path, clock) == {}


def test_deleting_while_another_mount_keeps_its_own(path: Path, clock: ManualClock) -> None:
    """The URLs are gone, and the file stays sound: the other mount goes on with it."""
    other = Mount(path, clock)
    other.put("E1", "old")
    other.saved.flush()
    delete_saved_urls(path)
    assert b"planted-old" not in path.read_bytes()
    clock.advance(1)
    other.put("E2", "new")
    other.close()
    assert kept(path, clock) == {"E2": "new"}


VICTIM = """
import sys
from pathlib import Path
from backlotfs.api.records import SignedUrl
from backlotfs.concurrency.clock import SystemClock
from backlotfs.source.saved_urls import SavedUrls
clock = SystemClock()
saved = SavedUrls(Path(sys.argv[1]), clock)
for turn in range(1_000_000):
    for number in range(50):
        url = SignedUrl(f"https://host/{turn}-{number}" + "x" * 500, clock.now() + 3600)
        code = f"E{turn % 20}-{number}"
        saved.put(code, url, file_size=turn, as_of_s=clock.now(), asked_at_s=clock.now())
        if number % 5 == 0:
            saved.drop(code)
    saved.flush()
    print(turn, flush=True)
"""


@pytest.mark.long
def test_a_killed_writer_leaves_a_sound_file(tmp_path: Path) -> None:
    """At any moment of its writing: what was written before is there."""
    path = tmp_path / "urls" / "x.sqlite3"
    for _ in range(5):
        victim = subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert victim.stdout is not None
        with victim.stdout as said:
            for line in said:
                if int(line) >= 20:
                    break
            victim.send_signal(signal.SIGKILL)
        victim.wait(30)
        with contextlib.closing(SavedUrls(path, SystemClock())) as saved:
            assert len(saved.load()) == 20 * 40
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_system_without_a_thread_for_the_writer(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewal that brought the URL goes on; what was noted is written at the end."""

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        mount = Mount(path, clock)
        mount.put("E1")
    mount.close()
    assert kept(path, clock) == {"E1": "a"}
