# SPDX-License-Identifier: Apache-2.0
"""Opens DEST and everything below it by descriptors, and follows no link in it.

Names come from a library that is not trusted, and other users may be able to write in DEST. So
every component below DEST is opened by itself, relative to the folder above it, and must be a
folder there; a symbolic link, a pipe or a device is an error that names it. DEST's own path is what
the user typed: links in it are followed as usual.

Files that are not finished live in the *workspace*, the folder ``.backlotfs-export`` in DEST, which
no other user can enter. No exported file may have its name, nor that of the manifest. A finished
file is *published* from there: the descriptor whose digest was computed gets its name, and the
result is looked up again from DEST before the file counts as verified.
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
#: The times of sources, where the disk may not keep them.
TIMES = ".backlotfs-export.times"
_RESERVED = frozenset({WORKSPACE.casefold(), MANIFEST.casefold(), TIMES.casefold()})
#: Folders in folders that `Destination.files` looks into: each costs a descriptor meanwhile.
MOST_DEPTH = 128
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Names in the workspace that no later export needs.
PROBE, _NEW = "probe-", ".new"
#: How often a file is opened anew that another process locks or removes at the same time.
_LOCK_ATTEMPTS = 4
#: Without O_NONBLOCK the open of a pipe that took the place of a file would wait for a writer.
READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: linkat(2) answers these where there are no hard links, or no /proc.
_NO_LINKS = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOENT, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}
)

#: Flags of renameat2(2): fail if something has the new name; swap two names.
_NOREPLACE, _EXCHANGE = 1, 2
_NO_FLAGS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_SOMETHING_CAME = (
    "another program put something in its place meanwhile; look at it, then run this again"
)


class UnsafeDestination(BacklotError):
    """Something below DEST is not a plain file or folder; the message says what to do."""


def is_reserved(name: str) -> bool:
    """Whether some disk could take ``name`` for the workspace, the manifest or the times.

    Disks exist that ignore case, invisible characters, spaces and dots at the end, or what comes
    after a colon. Only the first component counts: ``News/MANIFEST.sha256`` is an ordinary file.
    """
    first = unicodedata.normalize("NFKC", name.partition("/")[0].partition(":")[0])
    visible = "".join(letter for letter in first if unicodedata.category(letter) != "Cf")
    return visible.casefold().rstrip(" .") in _RESERVED


def split(name: str) -> tuple[list[str], str]:
    """The folders of a name below DEST, from the top, and its last component.

    :raises UnsafeDestination: a component would lead out of its folder.
    """
    *folders, leaf = name.split("/")
    if "\0" in name or not {"", ".", ".."}.isdisjoint([*folders, leaf]):
        raise UnsafeDestination("has a name that could lead out of the destination")
    return folders, leaf


def kind_of(mode: int) -> str:
    """The kind of file that a ``st_mode`` is of, in words."""
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
    """The status of an entry of an open folder, of a link itself; None if there is none."""
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

    :ivar times: how exactly its disk keeps times.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        """Take over ``descriptor``; ``path`` is for messages. `open` makes one."""
        self.descriptor = descriptor
        self.path = path
        self.times = times_of(descriptor)
        self._device = os.fstat(descriptor).st_dev

    @classmethod
    def open(cls, path: Path, *, make: bool = False) -> Self:
        """Open the folder, and make it first if ``make``. :raises OSError: there is none."""
        if make:
            path.mkdir(parents=True, exist_ok=True)
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), path)

    def __enter__(self) -> Self:
        """Use it as a context manager: the end closes it."""
        return self

    def __exit__(self, *_failure: object) -> None:
        """Close it."""
        os.close(self.descriptor)

    @contextlib.contextmanager
    def folder(
        self, names: Sequence[str], *, make: bool = False, for_writing: bool = False
    ) -> Iterator[int]:
        """Walk down from DEST; the descriptor of the last folder, closed at the end.

        :param names: its components, from the top; none: DEST itself.
        :param make: make the folders that are missing; they are synced.
        :param for_writing: files are to get names there, out of the workspace.
        :raises UnsafeDestination: one is not a folder, or not one that can be used.
        :raises OSError: one is missing, or cannot be opened or made.
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
        """Whether both are the same, unchanged, or both are None.

        An inode number alone does not say so: disks give that of a removed file to the next.
        """
        if one is None or other is None:
            return one is other
        same_kind = stat.S_IFMT(one.st_mode) == stat.S_IFMT(other.st_mode)
        return same_kind and same_file(one, other) and self.same_state(one, other)

    def look(self, name: str) -> os.stat_result | None:
        """The status of what has this name, of a link itself; None if nothing has.

        :raises UnsafeDestination: what should be a folder on the way is something else.
        :raises OSError: it cannot be looked at.
        """
        parents, leaf = split(name)
        try:
            with self.folder(parents) as folder:
                return look(leaf, folder)
        except FileNotFoundError:
            return None

    def look_at_file(self, name: str) -> os.stat_result | None:
        """As `look`, where only an exported file, or nothing, may be.

        :raises UnsafeDestination: it is not a regular file, or is one of export's own.
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
        """Open a regular file for reading; its descriptor.

        :raises UnsafeDestination: it, or a folder on the way, is a link or something else.
        :raises OSError: it is missing, or cannot be read.
        """
        parents, leaf = split(name)
        with self.folder(parents) as folder:
            return open_regular(leaf, folder, printable(name))

    def holds(self, name: str, status: os.stat_result) -> bool:
        """Whether ``name`` is still this very file, not written to, with no link on the way."""
        try:
            found = self.look(name)
        except (UnsafeDestination, OSError):
            return False
        return self.same_entry(found, status)

    def files(self) -> Iterator[str]:
        """The names of everything below DEST that is no folder, without the workspace.

        Folders that cannot be read are left out. Below `MOST_DEPTH` folders, only the folder is
        named.
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
                # from the folder above, not from DEST: the way down may be made long
                descriptor = self._step(folder, below, make=False)
                try:
                    self._check(descriptor, below, for_writing=False)
                    yield from self._files(descriptor, below)
                finally:
                    os.close(descriptor)

    def leftover(self) -> Workspace | None:
        """The workspace that this user's unfinished export left, for reading; None: there is none.

        The caller closes it. :raises SettingsError: another user may have made it.
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
        """Make the workspace, or take over the one of an earlier export, and lock it.

        :raises SettingsError: another export holds it, or another user may have made it.
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
        """Create a file in an open folder, and tell whether this disk has hard links.

        The new file shows the owner and mode that the disk gives to files of this user: exFAT and
        SMB may know neither, and NFS may change the number of root. The folder must have the same.

        :raises SettingsError: it has not.
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
                # some FUSE file systems give each name of a file an inode number of its own
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

    Nothing else is in it. Any thread may use it.

    :ivar has_links: a file of this disk can have two names, and keeps its inode number.
    """

    def __init__(self, destination: Destination, descriptor: int, *, has_links: bool) -> None:
        """Take over ``descriptor``. `Destination.claim` makes one.

        :param has_links: a file of this disk can have two names.
        """
        self._destination = destination
        self._descriptor = descriptor
        self.has_links = has_links
        self._naming = threading.Lock()

    def __enter__(self) -> Self:
        """Use it as a context manager: the end closes it, and removes it if it is empty."""
        return self

    def __exit__(self, *_failure: object) -> None:
        """Close it; unfinished files stay for the next export."""
        try:
            with contextlib.suppress(OSError):
                os.rmdir(WORKSPACE, dir_fd=self._destination.descriptor)
        finally:
            self.close()

    def close(self) -> None:
        """Close it, and leave it as it is."""
        os.close(self._descriptor)

    def folds_case(self) -> bool:
        """Whether names that differ in case only are one name on this disk, by its own name."""
        other = WORKSPACE.upper()
        found = look(other, self._destination.descriptor)
        if found is None or same_file(found, os.fstat(self._descriptor)):
            return found is not None
        # exFAT by FUSE gives each spelling an inode of its own, but lists one name
        return other not in os.listdir(self._destination.descriptor)

    def names(self) -> list[str]:
        """The names of all files in it."""
        return os.listdir(self._descriptor)

    def look(self, name: str) -> os.stat_result | None:
        """The status of a file in it; None: it is not there."""
        return look(name, self._descriptor)

    def open_for_reading(self, name: str) -> BinaryIO | None:
        """Open a file; None: it is not there. :raises UnsafeDestination: it is no file."""
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
        # 0666 through the umask, as cp would make it: it keeps that when it is published
        return os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=self._descriptor)

    def open_alone(self, name: str) -> int:
        """As `open`, and lock the file until it is closed.

        A worker that was given up may still write to the file that it has open. It keeps that one,
        and the name is given to an empty file.

        :raises OSError: it cannot be made.
        """
        for attempt in range(_LOCK_ATTEMPTS):
            descriptor = self.open(name)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # another process may have removed it meanwhile; some disks change inode numbers
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
        """Replace a file by these bytes, synced and in one step, or leave it as it is.

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
        """Give an open file of the workspace its name in DEST, and sync that.

        The file of this descriptor gets the name, whatever happened to names meanwhile. When this
        returns, it is there, inside DEST and with no link on the way.

        :param unfinished: its name in the workspace.
        :param sealed: its status when its digest was compared.
        :param expected: what has the name now and is to be replaced; None: nothing has.
        :raises UnsafeDestination: another program was in the way; the file is not there then.
        :raises OSError: of the disk.
        """
        parents, leaf = split(name)
        with self._destination.folder(parents, make=True, for_writing=True) as folder:
            with self._naming:
                self._place(unfinished, descriptor, sealed, folder, leaf, expected)
            if not self._destination.holds(name, sealed):
                if same_file(look(leaf, folder), sealed):  # in a folder that was moved away
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
            with contextlib.suppress(OSError):  # `open` knows it by its two names
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
        """:raises UnsafeDestination: something has the name by now."""
        try:
            if rename_with(_NOREPLACE, unfinished, self._descriptor, leaf, folder):
                return
        except FileExistsError:
            raise UnsafeDestination(_SOMETHING_CAME) from None
        os.rename(unfinished, leaf, src_dir_fd=self._descriptor, dst_dir_fd=folder)

    def _exchange(self, unfinished: str, folder: int, leaf: str, expected: os.stat_result) -> None:
        """Replace what has the name, and check that it was what was expected.

        :raises UnsafeDestination: it was not; it gets its name back where the disk can do that.
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
    """Open a regular file of an open folder for reading; its descriptor.

    Its kind is checked before, as opening a device can have effects, and after.

    :raises UnsafeDestination: it is a link or something else. :raises OSError: it cannot be read.
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
    """Why a file with a name of export's own is not exported."""
    return (
        f"{WORKSPACE}, {MANIFEST} and {TIMES} in the destination are export's own; to export a "
        "file of such a name, name its folder without a slash at the end, or another destination"
    )


def _link(descriptor: int, folder: int, leaf: str) -> bool:
    """Give an open file a name that nothing has; False: this disk has no hard links.

    :raises UnsafeDestination: something has the name. :raises OSError: it cannot be done.
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
    """renameat2(2), which Python does not have; False: this system or disk cannot do it.

    :param flags: `_NOREPLACE` or `_EXCHANGE`.
    :raises OSError: it cannot be done.
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
    """Remove from the workspace what a killed export could not remove or rename."""
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
