# SPDX-License-Identifier: Apache-2.0
"""Opens DEST and everything below it by descriptors, and follows no link in it.

Names come from a library that is not trusted, and other users may be able to write in DEST. So
every component below DEST is opened by itself, relative to the folder above it, and must be a
folder. A symbolic link, a pipe or a device is an error, and the message names it. The path of DEST
itself was typed by the user: links in it are followed as usual.

Unfinished files are in the *workspace*, the folder ``.backlotfs-export`` in DEST, which no other
user can enter. No exported file may have the name of the workspace or of the manifest. When a file
is finished, it is *published*: the file of the descriptor whose digest was computed gets its name.
Then the name is looked up again from DEST, before the file counts as verified.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import stat
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from backlotfs.errors import BacklotError, SettingsError
from backlotfs.export.times import times_of
from backlotfs.log.terminal import printable

WORKSPACE = ".backlotfs-export"
MANIFEST = "MANIFEST.sha256"
#: The file with the times of sources, for disks that may not keep them.
TIMES = ".backlotfs-export.times"
_RESERVED = frozenset({WORKSPACE.casefold(), MANIFEST.casefold(), TIMES.casefold()})
#: The depth of folders that `Destination.files` looks into. Each level keeps a descriptor open.
MOST_DEPTH = 128
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: The beginning and the end of names in the workspace that no later export needs.
PROBE, _NEW = "probe-", ".new"
#: How often a file is opened again if another process locks or removes it at the same time.
_LOCK_ATTEMPTS = 4
#: O_NONBLOCK: if a pipe has replaced a file, the open does not wait for a writer.
READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: The errors of linkat(2) where there are no hard links, or no /proc.
_NO_LINKS = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOENT, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}
)

#: Flags of renameat2(2): fail if the new name exists; exchange two names.
_NOREPLACE, _EXCHANGE = 1, 2
_NO_FLAGS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_SOMETHING_CAME = (
    "another program put something in its place meanwhile; look at it, then run this again"
)


class UnsafeDestination(BacklotError):
    """Something below DEST is not a plain file or folder; the message says what to do."""


def is_reserved(name: str) -> bool:
    """Whether a disk might take ``name`` for that of the workspace, the manifest or the times.

    Some disks ignore case, invisible characters, spaces and dots at the end, or the text after a
    colon. Only the first component counts: ``News/MANIFEST.sha256`` is an ordinary file.
    """
    first = unicodedata.normalize("NFKC", name.partition("/")[0].partition(":")[0])
    visible = "".join(letter for letter in first if unicodedata.category(letter) != "Cf")
    return visible.casefold().rstrip(" .") in _RESERVED


def split(name: str) -> tuple[list[str], str]:
    """Split a name below DEST into its folders, from the top, and its last component.

    :raises UnsafeDestination: a component would lead out of its folder.
    """
    *folders, leaf = name.split("/")
    if "\0" in name or not {"", ".", ".."}.isdisjoint([*folders, leaf]):
        raise UnsafeDestination("has a name that could lead out of the destination")
    return folders, leaf


def kind_of(mode: int) -> str:
    """The kind of a file with this ``st_mode``, in words."""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def same_file(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    """Whether both are the same file, or both are None."""
    if one is None or other is None:
        return one is other
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def look(name: str, folder: int) -> os.stat_result | None:
    """The status of an entry of an open folder; of a link, its own status; None: no such entry."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def write_all(descriptor: int, data: memoryview) -> None:
    """Write every byte. :raises OSError: the disk is full, or fails."""
    while data:
        data = data[os.write(descriptor, data) :]


class Destination:
    """An opened DEST. Any thread may use it; names are paths below DEST, with ``/``.

    :ivar times: how exactly the disk of DEST keeps times.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        """Take over ``descriptor``; ``path`` is for messages. `open` makes one."""
        self.descriptor = descriptor
        self.path = path
        self.times = times_of(descriptor)
        self._device = os.fstat(descriptor).st_dev

    @classmethod
    def open(cls, path: Path, *, make: bool = False) -> Self:
        """Open the folder; if ``make``, make it first. :raises OSError: it cannot be opened."""
        if make:
            path.mkdir(parents=True, exist_ok=True)
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), path)

    def __enter__(self) -> Self:
        """Return the destination itself; the end of the ``with`` block closes it."""
        return self

    def __exit__(self, *_failure: object) -> None:
        """Close it."""
        os.close(self.descriptor)

    @contextlib.contextmanager
    def folder(
        self, names: Sequence[str], *, make: bool = False, for_writing: bool = False
    ) -> Iterator[int]:
        """Open the folder with these names, from DEST down; yield its descriptor, close it later.

        :param names: the components of its path, from the top; none: DEST itself.
        :param make: make the folders that are missing, and sync them.
        :param for_writing: files will be published in this folder.
        :raises UnsafeDestination: a component is not a folder, or is a folder that cannot be used.
        :raises OSError: a folder is missing, or cannot be opened or made.
        """
        current = os.dup(self.descriptor)
        try:
            for depth in range(1, len(names) + 1):
                below = self._step(current, names[:depth], make=make)
                os.close(current)
                current = below
                self._check(current, names[:depth], for_writing=for_writing)
            if for_writing and not os.access(".", os.W_OK, dir_fd=current):
                raise UnsafeDestination(
                    f"the folder {printable('/'.join(names)) or '.'} of the destination cannot be "
                    "written to; change its permissions, or choose another destination"
                )
            yield current
        finally:
            os.close(current)

    def _step(self, folder: int, names: Sequence[str], *, make: bool) -> int:
        name = names[-1]
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder)
                os.fsync(folder)
        try:
            return os.open(name, _FOLDER, dir_fd=folder)
        except OSError as error:
            found = look(name, folder)
            if found is None or stat.S_ISDIR(found.st_mode):
                raise
            shown = printable("/".join(names))
            raise UnsafeDestination(_in_the_way(shown, found, "a folder")) from error

    def _check(self, folder: int, names: Sequence[str], *, for_writing: bool) -> None:
        status = os.fstat(folder)
        if len(names) == 1 and same_file(status, look(WORKSPACE, self.descriptor)):
            shown = printable(names[0])
            raise UnsafeDestination(
                f"{shown} is the folder that export keeps for itself; export into another folder"
            )
        if for_writing and status.st_dev != self._device:
            shown = printable("/".join(names))
            raise UnsafeDestination(
                f"{shown} is on another disk than the destination; export into {shown} by itself"
            )

    def same_state(self, one: os.stat_result, other: os.stat_result) -> bool:
        """Whether nothing was written to a file between two looks at it."""
        return one.st_size == other.st_size and self.times.same(one.st_mtime_ns, other.st_mtime_ns)

    def same_entry(self, one: os.stat_result | None, other: os.stat_result | None) -> bool:
        """Whether both are the same, unchanged entry, or both are None.

        An inode number alone does not show that: a disk may give the number of a removed file to
        the next file.
        """
        if one is None or other is None:
            return one is other
        same_kind = stat.S_IFMT(one.st_mode) == stat.S_IFMT(other.st_mode)
        return same_kind and same_file(one, other) and self.same_state(one, other)

    def look(self, name: str) -> os.stat_result | None:
        """The status of the entry with this name; of a link, its own status; None: no such entry.

        :raises UnsafeDestination: a component above it is not a folder.
        :raises OSError: it cannot be looked up.
        """
        parents, leaf = split(name)
        try:
            with self.folder(parents) as folder:
                return look(leaf, folder)
        except FileNotFoundError:
            return None

    def look_at_file(self, name: str) -> os.stat_result | None:
        """The status of the regular file with this name; None if there is no entry.

        :raises UnsafeDestination: the entry is not a regular file, or is a file of export itself.
        """
        found = self.look(name)
        if found is None:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise UnsafeDestination(_in_the_way(printable(name), found, "a file"))
        own = (look(one, self.descriptor) for one in (MANIFEST, TIMES) if "/" not in name)
        if any(same_file(found, one) for one in own):
            raise UnsafeDestination(reserved_reason())
        return found

    def open_file(self, name: str) -> int:
        """Open a regular file for reading; return its descriptor.

        :raises UnsafeDestination: the file or a folder above it is a link or something else.
        :raises OSError: the file is missing or cannot be read.
        """
        parents, leaf = split(name)
        with self.folder(parents) as folder:
            return open_regular(leaf, folder, printable(name))

    def holds(self, name: str, status: os.stat_result) -> bool:
        """Whether ``name`` is still this same file, unchanged, and no folder above it is a link."""
        try:
            found = self.look(name)
        except (UnsafeDestination, OSError):
            return False
        return self.same_entry(found, status)

    def files(self) -> Iterator[str]:
        """The names of everything below DEST that is not a folder, without the workspace.

        Folders that cannot be read are left out. Of a folder more than `MOST_DEPTH` levels down,
        only the name of the folder itself is included.
        """
        return self._files(self.descriptor, [])

    def _files(self, folder: int, names: list[str]) -> Iterator[str]:
        folders = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append([*names, entry.name])
                else:
                    yield "/".join([*names, entry.name])
        for below in folders:
            if len(below) > MOST_DEPTH:
                yield "/".join(below)
                continue
            with contextlib.suppress(OSError, UnsafeDestination):
                # From the folder above, not from DEST, because the path may be very long.
                descriptor = self._step(folder, below, make=False)
                try:
                    self._check(descriptor, below, for_writing=False)
                    yield from self._files(descriptor, below)
                finally:
                    os.close(descriptor)

    def leftover(self) -> Workspace | None:
        """Open the workspace that an unfinished export of this user left; None if there is none.

        It is for reading only. The caller closes it.

        :raises SettingsError: another user may have made it.
        """
        try:
            descriptor = os.open(WORKSPACE, _FOLDER, dir_fd=self.descriptor)
        except FileNotFoundError:
            return None
        except OSError:
            raise SettingsError(self._not_ours(look(WORKSPACE, self.descriptor))) from None
        status = os.fstat(descriptor)
        try:
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                self._try_out(descriptor)  # on a disk without owners or modes it may be ours
        except OSError:  # such as a disk that is mounted read-only
            os.close(descriptor)
            raise SettingsError(self._not_ours(status)) from None
        except BaseException:
            os.close(descriptor)
            raise
        return Workspace(self, descriptor, has_links=False)

    def claim(self) -> Workspace:
        """Make the workspace, or use the one of an earlier export again, and lock it.

        :raises SettingsError: another export has locked it, or another user may have made it.
        :raises OSError: it cannot be made.
        """
        while True:
            with contextlib.suppress(FileExistsError):
                os.mkdir(WORKSPACE, 0o700, dir_fd=self.descriptor)
            try:
                descriptor = os.open(WORKSPACE, _FOLDER, dir_fd=self.descriptor)
            except FileNotFoundError:  # an export that ended just now has removed it
                continue
            except OSError:
                raise SettingsError(self._not_ours(look(WORKSPACE, self.descriptor))) from None
            try:
                _lock(descriptor, self.path)
                if same_file(os.fstat(descriptor), look(WORKSPACE, self.descriptor)):
                    has_links = self._try_out(descriptor)
                    _remove_remains(descriptor)
                    return Workspace(self, descriptor, has_links=has_links)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _try_out(self, folder: int) -> bool:
        """Create a file in an open folder, and return whether this disk has hard links.

        The new file shows which owner and mode the disk gives to files of this user: exFAT and SMB
        may store neither, and NFS may change the user number of root. The folder must have the same
        owner, and must not be open to others if the disk keeps modes.

        :raises SettingsError: the folder may belong to another user.
        """
        status = os.fstat(folder)
        if status.st_dev != self._device:
            raise SettingsError(self._not_ours(status))
        name = f"{PROBE}{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        except PermissionError:
            raise SettingsError(self._not_ours(status)) from None
        try:
            made = os.fstat(descriptor)
            keeps_modes = not made.st_mode & 0o077
            if status.st_uid != made.st_uid or (keeps_modes and status.st_mode & 0o077):
                raise SettingsError(self._not_ours(status))
            second = f"{name}-link"
            try:
                # Some FUSE file systems give each name of a file its own inode number.
                return _link(descriptor, folder, second) and same_file(look(second, folder), made)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(second, dir_fd=folder)
        finally:
            os.close(descriptor)
            os.unlink(name, dir_fd=folder)

    def _not_ours(self, found: os.stat_result | None) -> str:
        what = "gone again"
        if found is not None:
            mode = stat.S_IMODE(found.st_mode)
            what = f"{kind_of(found.st_mode)} of user {found.st_uid} with mode {mode:o}"
        return (
            f"{self.path / WORKSPACE} is {what}, not a folder that only you can enter; "
            "look at what it is, remove it, then run this again"
        )


class Workspace:
    """The private folder in DEST: unfinished files, checkpoints, the journal, a new manifest.

    It has no other files. Any thread may use it.

    :ivar has_links: whether a file of this disk can have two names with the same inode number.
    """

    def __init__(self, destination: Destination, descriptor: int, *, has_links: bool) -> None:
        """Take over ``descriptor``. `Destination.claim` makes one.

        :param has_links: see the attribute.
        """
        self._destination = destination
        self._descriptor = descriptor
        self.has_links = has_links
        self._naming = threading.Lock()

    def __enter__(self) -> Self:
        """Return the workspace itself; the end of the ``with`` block closes it."""
        return self

    def __exit__(self, *_failure: object) -> None:
        """Remove it if it is empty, and close it; unfinished files stay for the next export."""
        try:
            with contextlib.suppress(OSError):
                os.rmdir(WORKSPACE, dir_fd=self._destination.descriptor)
        finally:
            self.close()

    def close(self) -> None:
        """Close it without removing it."""
        os.close(self._descriptor)

    def folds_case(self) -> bool:
        """Whether this disk ignores case in names; tested with the name of the workspace."""
        other = WORKSPACE.upper()
        found = look(other, self._destination.descriptor)
        if found is None or same_file(found, os.fstat(self._descriptor)):
            return found is not None
        # exFAT by FUSE gives each spelling its own inode number, but lists only one name.
        return other not in os.listdir(self._destination.descriptor)

    def names(self) -> list[str]:
        """The names of all files in it."""
        return os.listdir(self._descriptor)

    def look(self, name: str) -> os.stat_result | None:
        """The status of a file in it; None: it is not there."""
        return look(name, self._descriptor)

    def open_for_reading(self, name: str) -> BinaryIO | None:
        """Open a file; None: it is not there. :raises UnsafeDestination: it is not a file."""
        try:
            return open(open_regular(name, self._descriptor, f"{WORKSPACE}/{name}"), "rb")
        except FileNotFoundError:
            return None

    def open(self, name: str) -> int:
        """Open a file of an earlier export for reading and writing, or make an empty one.

        A file that has a second name, or belongs to another user, is replaced by an empty one.

        :raises OSError: it cannot be made.
        """
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        owner = os.fstat(self._descriptor).st_uid
        with contextlib.suppress(OSError):
            descriptor = os.open(name, flags, dir_fd=self._descriptor)
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == owner:
                return descriptor
            os.close(descriptor)
        self.remove(name)
        # The mode is 0666 with the umask, as with cp, because the published file keeps this mode.
        return os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=self._descriptor)

    def open_alone(self, name: str) -> int:
        """Open a file as `open` does, and lock it until it is closed.

        A worker that was given up may still have the file open and write to it. In this case the
        worker keeps its file, and the name is given to a new, empty file.

        :raises OSError: the file cannot be made.
        """
        for attempt in range(_LOCK_ATTEMPTS):
            descriptor = self.open(name)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Another process may have removed the file; some disks change inode numbers.
                is_last = attempt == _LOCK_ATTEMPTS - 1
                if is_last or same_file(os.fstat(descriptor), self.look(name)):
                    return descriptor
            except BlockingIOError:
                self.remove(name)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def replace(self, name: str, data: bytes) -> None:
        """Replace the content of a file by these bytes, synced and atomically.

        :raises OSError: nothing was changed.
        """
        descriptor = self.open(f"{name}{_NEW}")
        try:
            os.ftruncate(descriptor, 0)
            write_all(descriptor, memoryview(data))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(f"{name}{_NEW}", name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        os.fsync(self._descriptor)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def publish(
        self,
        unfinished: str,
        descriptor: int,
        sealed: os.stat_result,
        name: str,
        expected: os.stat_result | None,
    ) -> None:
        """Give an open file of the workspace its name in DEST, and sync the folder.

        The file of this descriptor gets the name, even if other programs change names meanwhile.
        When this returns, the file is inside DEST, and no folder above it is a link.

        :param unfinished: the name of the file in the workspace.
        :param sealed: the status of the file when its digest was compared.
        :param expected: the file that has the name now and is to be replaced; None: there is none.
        :raises UnsafeDestination: another program interfered; the file does not get the name.
        :raises OSError: the disk is full or fails.
        """
        parents, leaf = split(name)
        with self._destination.folder(parents, make=True, for_writing=True) as folder:
            with self._naming:
                self._place(unfinished, descriptor, sealed, folder, leaf, expected)
            if not self._destination.holds(name, sealed):
                # The folder may have been moved away, with the file in it.
                if same_file(look(leaf, folder), sealed):
                    os.unlink(leaf, dir_fd=folder)
                raise UnsafeDestination(
                    "its place in the destination was changed by another program meanwhile; "
                    "end that program, then run this again"
                )
            os.fsync(folder)

    def _place(
        self,
        unfinished: str,
        descriptor: int,
        sealed: os.stat_result,
        folder: int,
        leaf: str,
        expected: os.stat_result | None,
    ) -> None:
        if not self._destination.same_state(os.fstat(descriptor), sealed):
            raise UnsafeDestination(
                "another program wrote to it before it was finished; run this again"
            )
        found = look(leaf, folder)
        if not self._destination.same_entry(found, expected):
            raise UnsafeDestination(_SOMETHING_CAME)
        if expected is None and self.has_links and _link(descriptor, folder, leaf):
            with contextlib.suppress(OSError):  # `open` replaces a file that has two names
                self.remove(unfinished)
            return
        if not same_file(self.look(unfinished), sealed):
            raise UnsafeDestination(
                f"another program changed {WORKSPACE} in the destination; run this again"
            )
        if expected is None:
            self._rename_to_nothing(unfinished, folder, leaf)
        else:
            self._exchange(unfinished, folder, leaf, expected)

    def _rename_to_nothing(self, unfinished: str, folder: int, leaf: str) -> None:
        """Rename the file. :raises UnsafeDestination: something has the new name by now."""
        try:
            if rename_with(_NOREPLACE, unfinished, self._descriptor, leaf, folder):
                return
        except FileExistsError:
            raise UnsafeDestination(_SOMETHING_CAME) from None
        os.rename(unfinished, leaf, src_dir_fd=self._descriptor, dst_dir_fd=folder)

    def _exchange(self, unfinished: str, folder: int, leaf: str, expected: os.stat_result) -> None:
        """Replace the file that has the name, and check that it was the expected one.

        :raises UnsafeDestination: it was another one; its name is restored if the disk can do that.
        """
        try:
            exchanged = rename_with(_EXCHANGE, unfinished, self._descriptor, leaf, folder)
        except FileNotFoundError:
            raise UnsafeDestination(_SOMETHING_CAME) from None
        if not exchanged:
            os.rename(unfinished, leaf, src_dir_fd=self._descriptor, dst_dir_fd=folder)
            return
        if not self._destination.same_entry(self.look(unfinished), expected):
            rename_with(_EXCHANGE, unfinished, self._descriptor, leaf, folder)
            raise UnsafeDestination(_SOMETHING_CAME)
        self.remove(unfinished)


def open_regular(name: str, folder: int, shown: str) -> int:
    """Open a regular file of an open folder for reading; return its descriptor.

    The kind of the file is checked before the open, because opening a device can have effects, and
    again after it.

    :raises UnsafeDestination: it is a link or something else.
    :raises OSError: it cannot be read.
    """
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISREG(found.st_mode):
        descriptor = os.open(name, READ_FILE, dir_fd=folder)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            return descriptor
        os.close(descriptor)
    raise UnsafeDestination(_in_the_way(shown, found, "a file"))


def reserved_reason() -> str:
    """The reason why a file with a name that export uses itself is not exported."""
    return (
        f"{WORKSPACE}, {MANIFEST} and {TIMES} in the destination are export's own; to export a "
        "file of such a name, name its folder without a slash at the end, or another destination"
    )


def _link(descriptor: int, folder: int, leaf: str) -> bool:
    """Give an open file another name; False: this disk has no hard links.

    :raises UnsafeDestination: the name exists already.
    :raises OSError: the disk is full or fails.
    """
    try:
        os.link(f"/proc/self/fd/{descriptor}", leaf, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        raise UnsafeDestination(_SOMETHING_CAME) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def rename_with(flags: int, name: str, folder: int, new_name: str, new_folder: int) -> bool:
    """Call renameat2(2), which Python does not have; False: the system or disk cannot do it.

    :param flags: `_NOREPLACE` or `_EXCHANGE`.
    :raises OSError: the call failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    call = getattr(libc, "renameat2", None)  # glibc has it since 2.28, musl since 1.2.6
    if call is None:
        return False
    if not call(folder, os.fsencode(name), new_folder, os.fsencode(new_name), flags):
        return True
    code = ctypes.get_errno()
    if code in _NO_FLAGS:
        return False
    raise OSError(code, os.strerror(code))


def _remove_remains(folder: int) -> None:
    """Remove from the workspace the temporary files of a killed export."""
    for name in os.listdir(folder):
        if name.startswith(PROBE) or name.endswith(_NEW):
            os.unlink(name, dir_fd=folder)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SettingsError(
            f"another export writes to {path}; wait for it, or choose another folder"
        ) from None


def _in_the_way(shown: str, found: os.stat_result, wanted: str) -> str:
    return (
        f"{shown} in the destination is {kind_of(found.st_mode)}, not {wanted}; "
        "remove it or move it away, then export again"
    )
