# SPDX-License-Identifier: Apache-2.0
"""Opens the folders and files of this program in a way that other users cannot interfere with.

Each component of a path is opened in turn, from the root on, relative to the component before it.
The rules are those of sshd's StrictModes:

* Each folder of the path belongs to root or to this user, and no other user can write to it. A
  sticky folder (``/tmp``) may be writable by all, because only the owner of an entry can replace
  the entry there.
* A folder may be writable by its group if no other user is in the group. This is so in two cases.
  The group is the private group of the folder's owner and has the owner's name (Debian and Fedora
  make users like this, with umask 002). Or root owns the folder, the group is a system group, and
  all its members are root or system accounts (``/var/log`` of Ubuntu). A folder with an access
  control list does not count as such. A directory service (LDAP) may not list the members of its
  groups, so no other group is trusted.
* No part of the path is a FUSE file system that another user has mounted: the program of that user
  decides which owners and modes are shown there.
* A symbolic link is followed if it belongs to root or to this user; its target is checked too.
* Missing folders are made, with mode 0700, if the caller asks for it.
* A file is opened relative to its checked folder. A file that is written must be a regular file of
  this user with one name: no FIFO, no device, no second hard link. Only a log may be a device. A
  secret may belong to root and may have several names, but only its owner may have permissions.

Modes are set on the descriptor that was checked, never by path. Any thread may call any function.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import re
import select
import shlex
import stat
import time
from pathlib import Path

#: Largest number of links that are followed in one path; the kernel has the same limit.
_MAX_LINKS = 40
#: Larger profiles and secrets are refused.
_MAX_SECRET_BYTES = 2**20
#: Longest wait for the program behind a descriptor (``--config <(pass show …)``).
_SECRET_WAIT_S = 30.0
#: Accounts below this number belong to the system, not to people (login.defs, SYS_UID_MAX).
_FIRST_PERSON = 1000

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
#: The options of a FUSE mount; the kernel itself writes the user that opened the device.
_FUSE_OPTIONS = r"(?:[^ \n]*,)?user_id=(?P<user>\d+)(?:,|$)"
#: Paths of open descriptors. Their folders are not checked.
_DESCRIPTOR = re.compile(r"(?:/dev/fd|/proc/self/fd)/(\d{1,6})\Z")
_STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}

_CACHEDIR_TAG = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# This file is a cache directory tag created by backlotfs.\n"
    b"# For information about cache directory tags, see https://bford.info/cachedir/\n"
)


class UntrustedPath(PermissionError):
    """Another user could have made or replaced a path; the message says why, and what to do."""

    def __init__(self, sentence: str) -> None:
        super().__init__(errno.EPERM, sentence)

    def __str__(self) -> str:
        """The message without an errno."""
        return str(self.strerror)


def check_folder(path: Path) -> None:
    """Check those folders of a path that exist.

    :raises UntrustedPath: another user can replace a part of the path.
    :raises OSError: the path cannot be read.
    """
    with contextlib.suppress(FileNotFoundError):
        os.close(open_folder(path, make=False))


def open_folder(path: Path, *, make: bool) -> int:
    """Open a folder that only root and this user can change; return an ``O_PATH`` descriptor.

    :param make: make the folder and its missing parents, with mode 0700.
    :raises UntrustedPath: another user can change the folder.
    :raises OSError: the folder is missing, or cannot be made.
    """
    folder, _, _ = _walk(path, make=make, whole=True)
    return folder


def open_private_folder(path: Path, *, make: bool, tighten: bool = False) -> int:
    """Open for reading a folder of this user for which other users have no permissions.

    The path must not be a link.

    :param make: make the folder and its missing parents, with mode 0700.
    :param tighten: remove the permissions of others, if they cannot write to the folder.
    :raises UntrustedPath: others have permissions. :raises OSError: see `open_folder`.
    """
    parent, where, name = _walk(path, make=make, whole=False)
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        whole = os.path.join(where, name)
        try:
            folder = os.open(name, flags, dir_fd=parent)
        except NotADirectoryError:
            kind = "a link" if _is_link(name, parent) else "not a folder"
            raise UntrustedPath(f"{whole} is {kind}; remove it: rm {_quoted(whole)}") from None
        except PermissionError:
            _check_owner(os.stat(name, dir_fd=parent, follow_symlinks=False), whole)
            raise
    finally:
        os.close(parent)
    try:
        _check_private(folder, whole, tighten=tighten)
    except BaseException:
        os.close(folder)
        raise
    return folder


def open_log(path: Path) -> int:
    """Open a log file for appending; create it with mode 0600 if it is missing.

    Devices (``/dev/null``) and open descriptors (``/dev/stderr``) are accepted.

    :raises UntrustedPath: it is a FIFO, or another user could have made or replaced it.
    :raises OSError: it cannot be opened or made.
    """
    given = _given_descriptor(path)
    if given is not None:
        return os.dup(given)
    folder, where, name = _walk(path, make=True, whole=False, follow_last=True)
    try:
        return open_own_file(
            name, os.O_WRONLY | os.O_APPEND, folder, os.path.join(where, name), devices=True
        )
    finally:
        os.close(folder)


def make_cache_tag(folder: int, path: Path) -> None:
    """Write the tag by which backup programs skip a cache. :raises OSError: this failed."""
    name = "CACHEDIR.TAG"
    with open(open_own_file(name, os.O_RDWR, folder, str(path / name)), "r+b") as tag:
        if tag.read() != _CACHEDIR_TAG:
            tag.seek(0)
            tag.write(_CACHEDIR_TAG)
            tag.truncate()


def open_own_file(name: str, flags: int, folder: int, whole: str, *, devices: bool = False) -> int:
    """Open a regular file of this user in a checked folder; create it (0600) if it is missing.

    :param flags: flags for open(2), without ``O_CREAT``.
    :param folder: descriptor of the folder.
    :param whole: path of the file, for messages.
    :param devices: accept character devices of root and of this user.
    :raises UntrustedPath: it is another kind of file, or another user could have made or used it.
    """
    while True:
        with contextlib.suppress(FileExistsError):
            new = flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, new, 0o600, dir_fd=folder)
        try:
            found = os.open(name, _LOOK, dir_fd=folder)
        except FileNotFoundError:
            continue  # it was removed after the attempt to create it
        try:
            status = os.fstat(found)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, f"{whole} is a directory")
            if devices and stat.S_ISCHR(status.st_mode) and status.st_uid in (0, os.geteuid()):
                return os.open(_proc(found), flags | os.O_CLOEXEC)
            make_private(status, found, whole)
            return os.open(_proc(found), flags | os.O_CLOEXEC)
        finally:
            os.close(found)


def make_private(status: os.stat_result, descriptor: int, whole: str) -> None:
    """Check that a file belongs to this user only, and remove the permissions of others.

    :param status: status of the file. :param descriptor: its descriptor; ``O_PATH`` is enough.
    :raises UntrustedPath: it is not a regular file, belongs to another user, or has a second name.
    """
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedPath(f"{whole} is not a regular file; remove it: rm {_quoted(whole)}")
    _check_owner(status, whole)
    _check_file_system(status, whole)
    if status.st_nlink > 1:
        raise UntrustedPath(
            f"{whole} has a second name (hard link) elsewhere; remove it: rm {_quoted(whole)}"
        )
    if status.st_mode & _OTHERS:
        os.chmod(_proc(descriptor), stat.S_IMODE(status.st_mode) & ~_OTHERS)


def read_secret(path: Path) -> bytes:
    """Read a whole file, at most 1 MiB, that no other user can read, change or replace.

    An open descriptor (``/dev/fd/63``, made by ``<(…)`` in a shell) may be a pipe, which is read to
    its end, for at most 30 s.

    :raises UntrustedPath: another user can do one of these, or the path is not a regular file.
    :raises OSError: the file cannot be read or is too large, or the pipe does not end in time.
    """
    given = _given_descriptor(path)
    if given is not None:
        return _read_pipe(given)
    folder, where, name = _walk(path, make=False, whole=False, follow_last=True)
    try:
        whole = os.path.join(where, name)
        found = os.open(name, _LOOK, dir_fd=folder)
        try:
            status = os.fstat(found)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, f"{whole} is a directory")
            if not stat.S_ISREG(status.st_mode):
                raise UntrustedPath(f"{whole} is not a regular file; name one that is")
            _check_file_system(status, whole)
            if status.st_mode & _OTHERS:
                raise UntrustedPath(
                    f"{path} can be read by others; make it yours alone: chmod 600 {_quoted(path)}"
                )
            if status.st_uid not in (os.geteuid(), 0):
                raise UntrustedPath(
                    f"{path} belongs to another user; make it yours: "
                    f"chown {os.geteuid()} {_quoted(path)}"
                )
            # For the folder of a secret the check is stricter: no group may write to it.
            _check_writers(os.stat(_proc(folder)), where, group_may=False)
            return _read_all(os.open(_proc(found), os.O_RDONLY | os.O_CLOEXEC))
        finally:
            os.close(found)
    finally:
        os.close(folder)


def read_regular(path: Path, *, folder: int | None = None) -> bytes:
    """Read a whole regular file, at most 1 MiB; others may read it too. It must not be a link.

    :param folder: descriptor of the folder that ``path`` is relative to.
    :raises OSError: it is not a regular file, or cannot be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{path} is not a regular file")
    return _read_all(descriptor)


def open_place(path: Path, *, make: bool) -> tuple[int, str]:
    """Open the folder of a file; return an ``O_PATH`` descriptor, and the name of the file in it.

    If the path is a link, both are those of the link's target.

    :param make: make missing folders, with mode 0700.
    :raises UntrustedPath: another user could replace the file. :raises OSError: see `open_folder`.
    """
    folder, _, name = _walk(path, make=make, whole=False, follow_last=True)
    return folder, name


def real_path(folder: int) -> str:
    """The path of an open folder, without links."""
    return os.readlink(_proc(folder))


def _walk(
    path: Path, *, make: bool, whole: bool, follow_last: bool = False
) -> tuple[int, str, str]:
    """Open ``path`` (if ``whole``) or its folder, one component at a time.

    :param follow_last: if the last component is a link, follow it.
    :returns: an ``O_PATH`` descriptor, its path without links, and the name of the file in it.
    """
    todo = [part for part in reversed(os.fspath(path.absolute()).split("/")) if part]
    folder, where, links = os.open("/", _LOOK), "/", 0
    try:
        device = os.fstat(folder).st_dev
        _check_writers(os.fstat(folder), where)
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if not whole and not todo and not (follow_last and _is_link(name, folder)):
                return folder, where, name
            child = _enter(name, folder, make=make)
            try:
                status = os.fstat(child)
                here = os.path.join(where, name)
                if stat.S_ISLNK(status.st_mode):
                    _check_link(status, here)
                    links += 1
                    if links > _MAX_LINKS:
                        raise OSError(errno.ELOOP, f"{path}: too many links")
                    target = os.readlink("", dir_fd=child)
                    todo += reversed(target.split("/"))
                    if target.startswith("/"):
                        os.close(folder)
                        folder, where = os.open("/", _LOOK), "/"
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    raise NotADirectoryError(
                        errno.ENOTDIR, f"{here} is not a folder; name another place"
                    )
                if status.st_dev != device:
                    _check_file_system(status, here)
                    device = status.st_dev
                _check_writers(status, here)
                folder, child = child, folder
                where = os.path.dirname(where) if name == ".." else here
            finally:
                os.close(child)
        return folder, where, "."  # noqa: TRY300  # an `else` would say nothing more
    except BaseException:
        os.close(folder)
        raise


def _enter(name: str, folder: int, *, make: bool) -> int:
    while True:
        try:
            return os.open(name, _LOOK, dir_fd=folder)
        except FileNotFoundError:
            if not make:
                raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=folder)


def _is_link(name: str, folder: int) -> bool:
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError:
        return False
    return stat.S_ISLNK(mode)


def _check_link(status: os.stat_result, where: str) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise UntrustedPath(
            f"{where} is a link that belongs to another user ({_user(status.st_uid)}); "
            f"name another place, or remove it: rm {_quoted(where)}"
        )


def _check_owner(status: os.stat_result, where: str) -> None:
    if status.st_uid != os.geteuid():
        raise UntrustedPath(
            f"{where}: it belongs to another user ({_user(status.st_uid)}), it is not this user's "
            f"own folder or file; name another place, or remove it: rm -r {_quoted(where)}"
        )


def _check_private(folder: int, whole: str, *, tighten: bool) -> None:
    status = os.fstat(folder)
    _check_owner(status, whole)
    _check_file_system(status, whole)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or (status.st_mode & _OTHERS and not tighten):
        raise UntrustedPath(
            f"{whole}: it is open to other users; close it: chmod -R go= {_quoted(whole)}"
        )
    if status.st_mode & _OTHERS:
        os.fchmod(folder, stat.S_IMODE(status.st_mode) & ~_OTHERS)


def _check_file_system(status: os.stat_result, where: str) -> None:
    """Check that a file is not on a FUSE file system that another user has mounted."""
    uid = _fuse_user(status.st_dev)
    if uid not in (None, 0, os.geteuid()):
        raise UntrustedPath(
            f"{where} is on a file system of another user ({_user(uid)}), who can replace files in "
            f"it; name another place, or unmount it: umount -l {_quoted(where)}"
        )


def _fuse_user(device: int) -> int | None:
    """The user who mounted a FUSE file system; None for other file systems.

    The kernel escapes spaces, tabs and line breaks in the fields, but no other white space (such as
    form feeds), so only spaces and line breaks end a field.
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    found = re.search(rf"^\d+ \d+ {number} .* - fuse[^ \n]* [^ \n]* {_FUSE_OPTIONS}", table, re.M)
    return int(found["user"]) if found else None


def _check_writers(status: os.stat_result, where: str, *, group_may: bool = True) -> None:
    """Check that only root and this user can replace what is in a folder."""
    if status.st_uid not in (0, os.geteuid()):
        raise UntrustedPath(
            f"{where} belongs to another user ({_user(status.st_uid)}), who can replace files in "
            f"{where}; name another place"
        )
    if status.st_mode & stat.S_ISVTX:
        return
    others = bool(status.st_mode & stat.S_IWOTH)
    group = bool(status.st_mode & stat.S_IWGRP)
    if others or (group and not (group_may and _nobody_else_in_group(status, where))):
        raise UntrustedPath(
            f"others can replace files in {where} (its mode is {stat.S_IMODE(status.st_mode):o}); "
            f"close it: chmod go-w {_quoted(where)}"
        )


def _nobody_else_in_group(status: os.stat_result, where: str) -> bool:
    """Whether a folder's group has no other member than its owner; for root's: no person."""
    with contextlib.suppress(OSError):
        if os.getxattr(where, "system.posix_acl_access"):
            return False
    try:
        group = grp.getgrgid(status.st_gid)
        named = {pwd.getpwnam(name).pw_uid for name in group.gr_mem}
        private = status.st_uid != 0 and group.gr_name == pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        return False
    members = named | {user.pw_uid for user in pwd.getpwall() if user.pw_gid == status.st_gid}
    if status.st_uid == 0:
        system = {status.st_gid, *members}
        return bool(members) and all(number < _FIRST_PERSON for number in system)
    return private and members == {status.st_uid}


def _given_descriptor(path: Path) -> int | None:
    text = os.fspath(path)
    found = _DESCRIPTOR.match(text)
    return int(found.group(1)) if found else _STANDARD.get(text)


def _read_all(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        text = file.read(_MAX_SECRET_BYTES + 1)
    if len(text) > _MAX_SECRET_BYTES:
        raise OSError(errno.EFBIG, "it is larger than 1 MiB")
    return text


def _read_pipe(descriptor: int) -> bytes:
    until = time.monotonic() + _SECRET_WAIT_S
    text = b""
    while len(text) <= _MAX_SECRET_BYTES:
        left = until - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise TimeoutError(errno.ETIMEDOUT, "it does not end")
        piece = os.read(descriptor, 65536)
        if not piece:
            return text
        text += piece
    raise OSError(errno.EFBIG, "it is larger than 1 MiB")


def _proc(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _quoted(path: str | Path) -> str:
    return shlex.quote(os.fspath(path))
