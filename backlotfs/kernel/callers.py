# SPDX-License-Identifier: Apache-2.0
"""The callers of operations: which program calls, and how its name changes the answer.

A request has the id of a *thread*, and threads have their own names ("av:demux"), so the process is
looked up (`program_of`). This reads two files of ``/proc`` that need no lock of that process. Its
command line would need one, which a reader that faults on a mapped file of this mount holds.

**Thumbnailers** read a file for its picture only. A file manager starts one for every video it
shows; it reads the head, the index and one picture. Prefetch for it would fetch ten times as much,
for two hundred files in a folder. So files that such a program opens are read without our prefetch
and without the kernel's read-ahead.

**Copies.** Programs that read files from beginning to end get a large window with the first read of
a file. For other programs the window grows while they read on.

**Unknown sizes.** A size costs an API call, and an account has a limited number of calls, so the
sizes of a large library take minutes or hours. Programs that copy need all sizes and wait. Programs
that people browse with must not wait: a file manager shows an empty window, or an error per file.

=============================================  ==============================================
program                                        files whose size is not known yet
=============================================  ==============================================
file managers, and ``--no-wait`` programs      hidden if the sizes take over 1 s
``ls``, ``tree`` and the like on a terminal    hidden if a listing would take over 10 s
shells                                         always listed: a pattern needs no size
``backlotfs`` itself, as it exports or warms   always waits for them
all others                                     as ``--unsized`` says: wait, hide or fail
=============================================  ==============================================

Programs that copy whole folders also wait through an outage of a few minutes; otherwise the copy
would end with an error and be incomplete.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from cachetools import TTLCache

from backlotfs.concurrency.clock import Clock
from backlotfs.namespace.sizes import Treatment

#: How long the program of a process is cached: ids are reused, and exec changes the program.
REMEMBERED_S = 5.0
#: Number of processes whose programs are cached.
IDS_KEPT = 1024
#: The name if the process is gone or in another PID namespace, or if the kernel itself calls.
UNKNOWN = "(unknown)"

_PROC = Path("/proc")


class Program(NamedTuple):
    """A program in a session of processes (a terminal, a service).

    :ivar session: the session; without one the parent process, or the user.
    :ivar name: as ``ps -o comm`` shows it, but printable.
    """

    session: int
    name: str


def program_of(thread_id: int, proc: Path = _PROC) -> Program:
    """The program that a process runs, the same for all its processes in a session.

    ``find -exec``, ``xargs`` and loops of a shell start a process for each file.

    :param thread_id: of any thread of the process.
    :param proc: where proc(5) is mounted.
    :returns: with the name `UNKNOWN` if there is no such process.
    """
    try:
        status = (proc / str(thread_id) / "status").read_bytes()
        process_id = _field(status, b"Tgid")
        name = (proc / str(process_id) / "comm").read_bytes()
        # The session of a process in another PID namespace is 0.
        together = _field(status, b"NSsid") or _field(status, b"PPid") or _field(status, b"Uid")
    except (OSError, ValueError, IndexError):
        return Program(0, UNKNOWN)
    text = name.removesuffix(b"\n").decode("utf-8", "replace")
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return Program(together, text or UNKNOWN)


class RecentPrograms:
    """A cache of `program_of`. Any thread may call it."""

    def __init__(self, clock: Clock, proc: Path = _PROC) -> None:
        """``proc``: where proc(5) is mounted."""
        self._proc = proc
        self._lock = threading.Lock()
        self._programs: TTLCache[int, Program] = TTLCache(
            IDS_KEPT, REMEMBERED_S, timer=clock.monotonic
        )

    def of(self, thread_id: int) -> Program:
        """The program of a process, at most `REMEMBERED_S` old; see `program_of`."""
        with self._lock:
            program = self._programs.get(thread_id)
        if program is None:
            program = program_of(thread_id, self._proc)
            with self._lock:
                self._programs[thread_id] = program
        return program


def _field(status: bytes, name: bytes) -> int:
    """The first number of a field of ``/proc/PID/status``; 0 if the kernel does not name it."""
    found = status.partition(b"\n" + name + b":")[2].split(None, 1)
    return int(found[0]) if found else 0


#: The kernel cuts a process's name to this length.
_NAME_BYTES = 15
#: File managers, desktop searches and file choosers, as ``ps -o comm`` shows them.
FILE_MANAGERS = (
    "nautilus", "nemo", "caja", "thunar", "Thunar", "pcmanfm", "pcmanfm-qt", "dolphin", "krusader",
    "konqueror", "spacefm", "pantheon-files", "io.elementary.files",
    "deepin-file-manager", "cosmic-files", "doublecmd", "ranger", "lf", "nnn", "mc",
    "vifm", "yazi", "xplr", "joshuto",
    "xdg-desktop-portal-gtk", "xdg-desktop-portal-kde", "xdg-desktop-portal-gnome", "gvfsd-trash",
    "tumblerd", "baloo_file", "baloorunner", "localsearch-3", "tracker-miner-fs-3",
)  # fmt: skip
#: Programs that list folders for a person, where their output is a terminal.
LISTERS = ("ls", "dir", "vdir", "tree", "eza", "exa", "lsd", "broot")
#: Programs that need names only; a hidden file would make ``cp *`` incomplete.
SHELLS = (
    "bash", "sh", "dash", "zsh", "fish", "ksh", "mksh", "tcsh", "csh", "busybox", "ash", "elvish",
    "nu", "xonsh", "pwsh",
)  # fmt: skip
#: This program: `export`, `verify`, `warm`, `pin` and `thumbnails` must be complete.
OURSELVES = "backlotfs"
#: Programs that read each file from its beginning to its end.
WHOLE_READERS = (
    "cp", "mv", "rsync", "tar", "bsdtar", "cpio", "pax", "scp", "install", "zip", "zstd", "gzip",
    "xz", "borg", "restic", "duplicity", "rdiff-backup", "bup", "kopia", "rsnapshot", "bacula-fd",
    "sha256sum", "sha1sum", "sha512sum", "md5sum", "b2sum", "cksum", "xxhsum", "rhash",
    "mhl", "ascmhl",
)  # fmt: skip
#: Programs that copy, back up or compare whole files. Those that are not `WHOLE_READERS` also read
#: parts of files.
COPIERS = (
    *WHOLE_READERS, "rclone", "sftp-server", "lftp", "smbd", "nfsd", "dd", "ddrescue", "7z", "7zz",
    "cmp", "diff", OURSELVES,
)  # fmt: skip
#: Programs that make previews. KDE's are not among them: one program (``kioworker``) makes its
#: previews and its copies, and copies must be fast.
THUMBNAILERS = (
    "tumblerd",  # Xfce, and others by D-Bus
    "ffmpegthumbnailer",  # PCManFM, Nautilus, Caja, Nemo by its .thumbnailer file
    "totem-video-thumbnailer",  # GNOME, until 48
    "gst-video-thumbnailer",  # GNOME since
    "gst-thumbnailer",
    "tracker-extract-3",  # GNOME's index, until 47
    "localsearch-extractor-3",  # GNOME's index since
    "baloo_file_extractor",  # KDE's index
)
#: A listing on a terminal waits for its sizes if they are all known within this.
TERMINAL_WAIT_S = 10.0
#: A file manager waits for the sizes of a folder if they are all known within this.
FILE_MANAGER_WAIT_S = 1.0
#: Major numbers of the pseudo terminals and of the consoles (Linux: admin-guide/devices.txt).
_TERMINALS = frozenset({4, 5, 204, *range(136, 144)})


class ProgramRules:
    """The treatment of each program by one mount. Call it on the thread that serves the program."""

    def __init__(
        self,
        others: Treatment,
        no_wait: Iterable[str],
        *,
        name_of: Callable[[int], str],
        caller: Callable[[], int],
        proc: Path = _PROC,
    ) -> None:
        """Use the built-in lists of programs.

        :param others: treatment of programs that are in no list.
        :param no_wait: further programs that are treated like file managers.
        :param name_of: the name of a process by its id, as ``ps -o comm`` shows it.
        :param caller: the process id of the operation on this thread.
        :param proc: where proc(5) is mounted.
        """
        self._others = others
        self._hidden_from = _names(FILE_MANAGERS) | _names(no_wait)
        self._listers = _names(LISTERS)
        self._shells = _names(SHELLS)
        self._copiers = _names(COPIERS)
        self._whole_readers = _names(WHOLE_READERS)
        self._thumbnailers = _names(THUMBNAILERS)
        self._name_of = name_of
        self._caller = caller
        self._proc = proc

    def treatment(self, seconds: Callable[[], float]) -> Treatment:
        """The treatment of the calling program for one file of unknown size.

        :param seconds: returns the seconds until the file can be probed.
        """
        name = self._name_of(self._caller())
        if name == OURSELVES:
            return Treatment.WAIT
        if name not in self._hidden_from:
            return self._others
        # The folder's listing had this file if all sizes were expected soon.
        return Treatment.WAIT if seconds() <= FILE_MANAGER_WAIT_S else Treatment.HIDE

    def hides(self, seconds: float | None) -> bool:
        """Whether listings for the calling program leave out files of unknown size.

        :param seconds: seconds until all sizes of the folder are known; None: not predictable.
        """
        pid = self._caller()
        name = self._name_of(pid)
        if name == OURSELVES or name in self._shells:
            return False
        if name in self._hidden_from:
            return seconds is None or seconds > FILE_MANAGER_WAIT_S
        if name in self._listers and self._others is Treatment.WAIT:
            return seconds is not None and seconds > TERMINAL_WAIT_S and self._on_terminal(pid)
        return self._others is Treatment.HIDE

    def copies(self) -> bool:
        """Whether the calling program copies."""
        return self._name_of(self._caller()) in self._copiers

    def reads_whole_files(self) -> bool:
        """Whether the calling program reads each file from its beginning to its end."""
        return self._name_of(self._caller()) in self._whole_readers

    def makes_thumbnails(self) -> bool:
        """Whether the calling program reads a file for its picture only."""
        return self._name_of(self._caller()) in self._thumbnailers

    def _on_terminal(self, pid: int) -> bool:
        """Whether the standard output of a process is a terminal."""
        output = self._proc / str(pid) / "fd" / "1"
        try:
            # do not stat a file, which may be on a dead network share and block this request
            if not os.readlink(output).startswith("/dev/"):
                return False
            status = os.stat(output)
        except OSError:
            return False
        return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) in _TERMINALS


def _names(programs: Iterable[str]) -> frozenset[str]:
    """Cut the names to 15 bytes, as the kernel does, and decode them as `program_of` does."""
    return frozenset(
        os.fsencode(os.path.basename(name))[:_NAME_BYTES].decode("utf-8", "replace")
        for name in programs
    )
