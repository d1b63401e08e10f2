# SPDX-License-Identifier: Apache-2.0
"""What each program gets, by its name, and how its name is found."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from backlotfs.kernel.callers import (
    COPIERS,
    FILE_MANAGER_WAIT_S,
    FILE_MANAGERS,
    LISTERS,
    REMEMBERED_S,
    SHELLS,
    TERMINAL_WAIT_S,
    THUMBNAILERS,
    UNKNOWN,
    WHOLE_READERS,
    ProgramRules,
    RecentPrograms,
)
from backlotfs.namespace.sizes import Treatment
from tests.fakes.clocks import ManualClock

PID = 4711
LONG_S = TERMINAL_WAIT_S + 1
SHORT_S = TERMINAL_WAIT_S - 1


class Program:
    """The program that calls, and the rules of a mount for it; ``proc`` is a folder of the test."""

    def __init__(
        self,
        proc: Path,
        name: str,
        *,
        others: Treatment = Treatment.WAIT,
        no_wait: tuple[str, ...] = (),
    ) -> None:
        self.output = proc / str(PID) / "fd" / "1"
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.rules = ProgramRules(
            others, no_wait, name_of={PID: name}.__getitem__, caller=lambda: PID, proc=proc
        )

    def writes_to(self, target: Path) -> None:
        """Where its standard output goes."""
        self.output.unlink(missing_ok=True)
        self.output.symlink_to(target)

    def treatment(self, seconds: float = LONG_S) -> Treatment:
        """For a file whose size can be asked for in so many seconds."""
        return self.rules.treatment(lambda: seconds)


@pytest.mark.parametrize("name", FILE_MANAGERS)
def test_file_managers_are_not_made_to_wait(tmp_path: Path, name: str) -> None:
    """Whatever the output is; but for what comes in a moment. The kernel cuts long names."""
    program = Program(tmp_path, name[:15])
    assert program.rules.hides(FILE_MANAGER_WAIT_S + 1)
    assert program.rules.hides(None)
    assert not program.rules.hides(FILE_MANAGER_WAIT_S)
    assert program.treatment() is Treatment.HIDE
    assert program.treatment(0.0) is Treatment.WAIT, "what was listed can be looked at"


def test_further_programs_are_not_made_to_wait(tmp_path: Path) -> None:
    """By their names, also with a path before it, and long ones, cut within a character."""
    names = ("/usr/bin/my-own-file-browser", "vlc", "Dateien-für-müde")
    cut = "Dateien-für-müde".encode()[:15].decode("utf-8", "replace")
    for name in ("my-own-file-bro", "vlc", cut):
        program = Program(tmp_path, name, no_wait=names)
        assert program.rules.hides(LONG_S)
        assert program.treatment() is Treatment.HIDE
    assert not Program(tmp_path, "mpv", no_wait=names).rules.hides(LONG_S)


@pytest.mark.parametrize("name", [*COPIERS, "find", "python3", "a program", ""])
@pytest.mark.parametrize("seconds", [None, 0.0, LONG_S, 3600.0])
def test_all_others_wait(tmp_path: Path, name: str, seconds: float | None) -> None:
    """They see every name, and each size is waited for."""
    program = Program(tmp_path, name[:15])
    assert not program.rules.hides(seconds)
    assert program.treatment() is Treatment.WAIT


@pytest.mark.parametrize("others", Treatment)
def test_our_own_commands_always_wait(tmp_path: Path, others: Treatment) -> None:
    """An export that is made with hidden files would be called complete."""
    program = Program(tmp_path, "backlotfs", others=others, no_wait=("backlotfs",))
    assert not program.rules.hides(LONG_S)
    assert not program.rules.hides(None)
    assert program.treatment() is Treatment.WAIT


@pytest.mark.parametrize("name", LISTERS)
def test_listers_on_a_terminal(tmp_path: Path, name: str) -> None:
    """A listing that would take long leaves out what is not known; in a pipe nothing is."""
    program = Program(tmp_path, name)
    main, terminal = os.openpty()
    try:
        program.writes_to(Path(os.ttyname(terminal)))
        assert program.rules.hides(LONG_S)
        assert not program.rules.hides(SHORT_S)
        assert not program.rules.hides(None)
        assert program.treatment() is Treatment.WAIT, "a file that is named is waited for"
    finally:
        os.close(main)
        os.close(terminal)
    for other in (Path("/dev/null"), tmp_path / "file", tmp_path / "gone"):
        (tmp_path / "file").touch()
        program.writes_to(other)
        assert not program.rules.hides(LONG_S)


def test_listers_in_a_pipe(tmp_path: Path) -> None:
    """What is read by a program has to be complete."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = Program(tmp_path, "ls")
    program.writes_to(pipe)
    assert not program.rules.hides(LONG_S)


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("others", Treatment)
def test_shells_see_all_names(tmp_path: Path, name: str, others: Treatment) -> None:
    """A hidden name would make a pattern incomplete."""
    program = Program(tmp_path, name, others=others)
    assert not program.rules.hides(LONG_S)
    assert not program.rules.hides(None)


def test_unsized_hide(tmp_path: Path) -> None:
    """Everybody else sees only what is known, however long the others take."""
    program = Program(tmp_path, "cp", others=Treatment.HIDE)
    assert program.rules.hides(0.5)
    assert program.rules.hides(None)
    assert program.treatment(0.0) is Treatment.HIDE


def test_unsized_fail(tmp_path: Path) -> None:
    """Names are there, sizes are refused; file managers are shown less all the same."""
    program = Program(tmp_path, "cp", others=Treatment.FAIL)
    assert not program.rules.hides(LONG_S)
    assert program.treatment() is Treatment.FAIL
    manager = Program(tmp_path, "thunar", others=Treatment.FAIL)
    assert manager.rules.hides(LONG_S)
    assert manager.treatment() is Treatment.HIDE


def test_programs_that_copy(tmp_path: Path) -> None:
    """They wait through an outage as well."""
    assert all(Program(tmp_path, name[:15]).rules.copies() for name in COPIERS)
    assert not any(Program(tmp_path, name).rules.copies() for name in ("ls", "thunar", "bash", ""))


def test_programs_that_read_whole_files(tmp_path: Path) -> None:
    """They copy; a program that also reads parts of files, or serves others, is none."""
    assert all(Program(tmp_path, name[:15]).rules.reads_whole_files() for name in WHOLE_READERS)
    others = ("dd", "cmp", "smbd", "7z", "rclone", "ffprobe", "thunar", "backlotfs", "(unknown)")
    assert not any(Program(tmp_path, name).rules.reads_whole_files() for name in others)


def test_programs_that_make_thumbnails(tmp_path: Path) -> None:
    """They want little of a file; nobody who copies or plays is one."""
    assert all(Program(tmp_path, name[:15]).rules.makes_thumbnails() for name in THUMBNAILERS)
    others = ("ffmpeg", "kioworker", "cp", "(unknown)")
    assert not any(Program(tmp_path, name).rules.makes_thumbnails() for name in others)


def test_the_lists_do_not_overlap() -> None:
    """Each program has one kind."""
    kinds = (FILE_MANAGERS, LISTERS, SHELLS, COPIERS)
    assert len(set().union(*kinds)) == sum(map(len, kinds))


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
    names = RecentPrograms(ManualClock(), tmp_path)
    assert {names.of(10).name, names.of(12).name} == {"ffprobe"}


def test_remembered_for_a_while(tmp_path: Path) -> None:
    """Not looked up for each read; an id may come to mean another program."""
    clock = ManualClock()
    names = RecentPrograms(clock, tmp_path)
    process(tmp_path, 10, b"sh\n")
    assert names.of(10).name == "sh"
    process(tmp_path, 10, b"cat\n")
    assert names.of(10).name == "sh"
    clock.advance(REMEMBERED_S + 0.1)
    assert names.of(10).name == "cat"


@pytest.mark.parametrize(
    ("comm", "name"), [(b"a\x1b[2Jb\n", "a\ufffd[2Jb"), (b"\xff\n", "\ufffd"), (b"\n", UNKNOWN)]
)
def test_a_name_is_fit_for_a_terminal(tmp_path: Path, comm: bytes, name: str) -> None:
    """Any process may call itself anything."""
    process(tmp_path, 10, comm)
    assert RecentPrograms(ManualClock(), tmp_path).of(10).name == name


def test_nobody_is_there(tmp_path: Path) -> None:
    """Gone, of another namespace (0), or not as proc(5) says."""
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "status").write_bytes(b"Name:\tx\n")
    names = RecentPrograms(ManualClock(), tmp_path)
    assert {names.of(number).name for number in (0, 4, 5)} == {UNKNOWN}


def test_the_real_thing() -> None:
    """This process, by its main thread and by another."""
    found: list[str] = []
    names = RecentPrograms(ManualClock())
    other = threading.Thread(
        target=lambda: found.append(names.of(threading.get_native_id()).name), daemon=True
    )
    other.start()
    other.join()
    assert [names.of(os.getpid()).name] == found == [Path("/proc/self/comm").read_text().strip()]
