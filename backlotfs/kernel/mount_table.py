# SPDX-License-Identifier: Apache-2.0
"""The mount table, and probes of mounts.

Mounts are looked up in ``/proc/self/mountinfo``, not by ``stat``, which hangs on a stalled mount,
fails on a dead one, and may be forbidden to root on another user's mount.

Only a child process probes whether a mount answers (`probe_mount`), never this process. A thread
that waits in the kernel for an answer from its own process cannot be killed: if the process ends
meanwhile, the mount hangs for ever. The wait of a child ends when the FUSE connection ends.
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
#: The command that lists our mounts.
SHOW_MOUNTS = f"findmnt -t {FUSE_TYPE}"
#: The type of mounts with ``--subtype sshfs``, which programs take for a network file system.
BORROWED_TYPE = "fuse.sshfs"
#: The start of the source of our mounts of that type; mounts of sshfs have ``HOST:FOLDER``.
OUR_SOURCE = "backlot:"
#: The table of file systems to mount.
FSTAB = Path("/etc/fstab")
_OUR_OPTIONS = frozenset({"ro", "nosuid", "nodev", "noexec"})

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of mountinfo.

    :ivar options: per-mount and per-superblock options together.
    :ivar device: ``major:minor`` of the file system. After an unmount the kernel may give it to
        another one.
    """

    mountpoint: str
    fs_type: str
    source: str
    options: frozenset[str]
    device: str = ""

    @property
    def ours(self) -> bool:
        """Whether backlotfs made this mount."""
        if self.fs_type != BORROWED_TYPE:
            return self.fs_type == FUSE_TYPE
        return self.source.startswith(OUR_SOURCE) and self.options >= _OUR_OPTIONS

    def made_by(self, uid: int) -> bool:
        """Whether backlotfs, run by this user, made this mount (the kernel records the user)."""
        return self.ours and f"user_id={uid}" in self.options


def parse_mountinfo(text: str) -> list[MountEntry]:
    """Parse mountinfo (proc(5)); skip malformed lines. Later lines are mounted on top."""
    entries = []
    for line in text.split("\n"):  # not splitlines: names may hold form feeds
        before, separator, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if not separator or len(left) < 6 or len(right) < 3:
            continue
        options = frozenset(left[5].split(",")) | frozenset(right[2].split(","))
        mountpoint, source = _unescape(left[4]), _unescape(right[1])
        entries.append(MountEntry(mountpoint, right[0], source, options, left[2]))
    return entries


def mount_at(mountpoint: str | Path) -> MountEntry | None:
    """The topmost mount at exactly this (absolute, resolved) path, or None."""
    found = [entry for entry in mounts() if entry.mountpoint == str(mountpoint)]
    return found[-1] if found else None


def mount_of(path: Path) -> MountEntry | None:
    """The mount that has this (absolute, resolved) path; None if the table is incomplete."""
    found = [entry for entry in mounts() if path.is_relative_to(entry.mountpoint)]
    # of two mounts on one mountpoint the later one is on top
    return max(reversed(found), key=lambda entry: len(entry.mountpoint), default=None)


def our_mounts() -> list[MountEntry]:
    """All mounts of backlotfs that this process can see."""
    return [entry for entry in mounts() if entry.ours]


def mounts() -> list[MountEntry]:
    """All mounts that this process can see."""
    # decoded like the arguments of commands, in every locale
    return parse_mountinfo(os.fsdecode(Path("/proc/self/mountinfo").read_bytes()))


def missing_mount(path: Path) -> Path | None:
    """A mountpoint at or above ``path`` that fstab names and where nothing is mounted."""
    try:
        lines = FSTAB.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if len(fields) < 2 or line.lstrip().startswith("#") or not fields[1].startswith("/"):
            continue
        place = Path(_unescape(fields[1]))
        is_root = place == Path("/")  # a container may not have the root in its mount table
        if not is_root and path.is_relative_to(place) and mount_at(place) is None:
            return place
    return None


def _unescape(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), field)


#: The message of `stat` for a mount whose daemon is gone.
_DEAD = "Transport endpoint is not connected"

_SHELL = "/bin/sh"
#: The kernel may answer plain `stat` from its cache for a dead mount, but never `stat -f`.
_SCRIPT = ("-c", 'stat -f -- "$1" >/dev/null && stat -c %d -- "$1"', "probe_mount")


class MountProbe(NamedTuple):
    """The result of a probe of a path.

    :ivar device: ``st_dev``, or None without an answer.
    :ivar dead: whether the daemon of the mount is gone.
    :ivar silent: whether there was no answer in time.
    """

    device: int | None
    dead: bool
    silent: bool = False


def probe_mount(path: Path, *, timeout_s: float = 5.0) -> MountProbe:
    """Probe ``path`` by a child process; without an answer in time the result is `silent`."""
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
        # Another thread waits for the child: on a hung mount it ends only when the mount ends.
        threading.Thread(target=child.wait, name="probe_mount", daemon=True).start()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
        return MountProbe(None, dead=False, silent=True)
    text = answer.strip()
    return MountProbe(int(text) if text.isdigit() else None, dead=_DEAD.encode() in complaint)
