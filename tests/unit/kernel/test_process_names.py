"""Who reads."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from backlotfs.kernel.process_names import REMEMBERED_S, UNKNOWN, ProcessNames
from tests.unit.fakes import ManualClock


def process(proc: Path, pid: int, comm: bytes, *, thread: int | None = None) -> None:
    """A process as proc(5) shows it, or one of its threads."""
    for number in {pid, thread or pid}:
        (proc / str(number)).mkdir(exist_ok=True)
        (proc / str(number) / "comm").write_bytes(comm if number == pid else b"av:demux\n")
        (proc / str(number) / "status").write_bytes(
            b"Name:\tx\nTgid:\t%d\nNgid:\t0\nPid:\t%d\n" % (pid, number)
        )


def test_a_thread_is_named_as_its_process(tmp_path: Path) -> None:
    """What reads is a thread, what people know is the program."""
    process(tmp_path, 10, b"ffprobe\n", thread=12)
    names = ProcessNames(ManualClock(), tmp_path)
    assert (names.of(10), names.of(12)) == ("ffprobe", "ffprobe")


def test_remembered_for_a_while(tmp_path: Path) -> None:
    """Not looked up for each read; an id may come to mean another program."""
    clock = ManualClock()
    names = ProcessNames(clock, tmp_path)
    process(tmp_path, 10, b"sh\n")
    assert names.of(10) == "sh"
    process(tmp_path, 10, b"cat\n")
    assert names.of(10) == "sh"
    clock.advance(REMEMBERED_S + 0.1)
    assert names.of(10) == "cat"


@pytest.mark.parametrize(
    ("comm", "name"), [(b"a\x1b[2Jb\n", "a\ufffd[2Jb"), (b"\xff\n", "\ufffd"), (b"\n", UNKNOWN)]
)
def test_a_name_is_fit_for_a_terminal(tmp_path: Path, comm: bytes, name: str) -> None:
    """Any process may call itself anything."""
    process(tmp_path, 10, comm)
    assert ProcessNames(ManualClock(), tmp_path).of(10) == name


def test_nobody_is_there(tmp_path: Path) -> None:
    """Gone, of another namespace (0), or not as proc(5) says."""
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "status").write_bytes(b"Name:\tx\n")
    names = ProcessNames(ManualClock(), tmp_path)
    assert {names.of(0), names.of(4), names.of(5)} == {UNKNOWN}


def test_the_real_thing() -> None:
    """This process, by its main thread and by another."""
    found: list[str] = []
    names = ProcessNames(ManualClock())
    other = threading.Thread(target=lambda: found.append(names.of(threading.get_native_id())))
    other.start()
    other.join()
    assert [names.of(os.getpid())] == found == [Path("/proc/self/comm").read_text().strip()]
