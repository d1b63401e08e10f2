"""What is mounted where, and whether it answers.

The table is ``/proc/self/mountinfo``, not ``stat``: that hangs on a stalled mount, fails on a dead
one, and root may not even look at another user's.

Whether a mount answers is asked through a child process (`probe_mount`), never by a system call of
our own. A thread that waits in the kernel for an answer from its own process cannot be killed: if
the process dies meanwhile, nothing is left to answer, and the mount hangs for ever. A child that
asks dies with the connection.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

#: The file system type of our mounts, as the kernel shows it.
FUSE_TYPE = "fuse.backlotfs"
#: The command that shows them.
SHOW_MOUNTS = f"findmnt -t {FUSE_TYPE}"
#: The type of mounts that were asked to look like another network file system (``--subtype``).
BORROWED_TYPE = "fuse.sshfs"
#: What is ours under that type: real ones are mounts of ``HOST:FOLDER``, seldom with all of these.
OUR_SOURCE = "backlot:"
_OUR_OPTIONS = frozenset({"ro", "nosuid", "nodev", "noexec"})

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of mountinfo.

    :ivar options: per-mount and per-superblock options together.
    """

    mountpoint: str
    fs_type: str
    source: str
    options: frozenset[str]

    @property
    def ours(self) -> bool:
        """Whether backlotfs made it."""
        if self.fs_type != BORROWED_TYPE:
            return self.fs_type == FUSE_TYPE
        return self.source.startswith(OUR_SOURCE) and self.options >= _OUR_OPTIONS

    def made_by(self, uid: int) -> bool:
        """Whether backlotfs made it, run by this user: the kernel notes who opened the device."""
        return self.ours and f"user_id={uid}" in self.options


def parse_mountinfo(text: str) -> list[MountEntry]:
    """Parse proc(5)'s mountinfo; lines of another shape are skipped. Later lines lie on top."""
    entries = []
    for line in text.split("\n"):  # not splitlines: names may hold form feeds
        before, separator, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if not separator or len(left) < 6 or len(right) < 3:
            continue
        options = frozenset(left[5].split(",")) | frozenset(right[2].split(","))
        entries.append(MountEntry(_unescape(left[4]), right[0], _unescape(right[1]), options))
    return entries


def mount_at(mountpoint: str | Path) -> MountEntry | None:
    """The topmost mount at exactly this (absolute, resolved) path, or None."""
    text = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    found = [entry for entry in parse_mountinfo(text) if entry.mountpoint == str(mountpoint)]
    return found[-1] if found else None


def our_mounts() -> list[MountEntry]:
    """Every mount that backlotfs made and this process can see."""
    text = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    return [entry for entry in parse_mountinfo(text) if entry.ours]


def _unescape(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), field)


#: What `stat` says of a mount whose daemon is gone.
_DEAD = "Transport endpoint is not connected"

_SHELL = "/bin/sh"
#: `-f` is never answered from the kernel's memory, as plain stat may be for a dead mount.
_SCRIPT = ("-c", 'stat -f -- "$1" >/dev/null && stat -c %d -- "$1"', "probe_mount")


class MountProbe(NamedTuple):
    """What a look at a path brought.

    :ivar device: ``st_dev``, or None without an answer.
    :ivar dead: the daemon behind the mount is gone.
    :ivar silent: there was no answer in time.
    """

    device: int | None
    dead: bool
    silent: bool = False


def probe_mount(path: Path, *, timeout_s: float = 5.0) -> MountProbe:
    """Look at ``path``; without an answer in time neither device nor verdict."""
    child = subprocess.Popen(
        [_SHELL, *_SCRIPT, os.fspath(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )
    try:
        answer, complaint = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        # Waited for aside: in a mount that hangs, it ends when that ends.
        threading.Thread(target=child.wait, name="probe_mount", daemon=True).start()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
        return MountProbe(None, dead=False, silent=True)
    text = answer.strip()
    return MountProbe(int(text) if text.isdigit() else None, dead=_DEAD.encode() in complaint)
