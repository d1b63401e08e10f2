# SPDX-License-Identifier: Apache-2.0
"""The messages of ``/dev/fuse`` (<linux/fuse.h>, protocol 7): parses requests, makes answers.

The functions are pure; `Device` is the descriptor that the messages go through. A request is a
header of `HEADER_BYTES` and the arguments of its operation. All numbers are in the machine's byte
order. A message that is too short, or a name without its end, raises `MalformedRequest`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from backlotfs.namespace.attributes import STAT_BLOCK_BYTES

# Operation codes.
LOOKUP: Final = 1
FORGET: Final = 2
GETATTR: Final = 3
READLINK: Final = 5
OPEN: Final = 14
READ: Final = 15
STATFS: Final = 17
RELEASE: Final = 18
FSYNC: Final = 20
GETXATTR: Final = 22
LISTXATTR: Final = 23
FLUSH: Final = 25
INIT: Final = 26
OPENDIR: Final = 27
READDIR: Final = 28
RELEASEDIR: Final = 29
FSYNCDIR: Final = 30
ACCESS: Final = 34
INTERRUPT: Final = 36
DESTROY: Final = 38
IOCTL: Final = 39
NOTIFY_REPLY: Final = 41
BATCH_FORGET: Final = 42
READDIRPLUS: Final = 44
STATX: Final = 52
#: Operations that change something: SETATTR, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK,
#: WRITE, SETXATTR, REMOVEXATTR, CREATE, FALLOCATE, RENAME2, TMPFILE.
WRITING: Final = frozenset({4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 51})

#: Our version of the protocol; an older kernel offers fewer features.
MAJOR, MINOR = 7, 45
#: The node of the root.
ROOT_NODE: Final = 1
HEADER_BYTES: Final = 40
#: Size of the buffer for one request; the longest are BATCH_FORGETs, which fill it.
REQUEST_BYTES: Final = 64 * 1024
#: Most pages of one read (1 MiB), the maximum of Linux 6 without tuning.
READ_PAGES: Final = 256
#: Most bytes of a WRITE: the smallest number that the kernel accepts. No WRITE is ever served.
_MAX_WRITE: Final = 4096

# Features that INIT negotiates, by their bit.
ASYNC_READ: Final = 1 << 0
DO_READDIRPLUS: Final = 1 << 13
PARALLEL_DIROPS: Final = 1 << 18
MAX_PAGES: Final = 1 << 22
EXPLICIT_INVAL_DATA: Final = 1 << 25
INIT_EXT: Final = 1 << 30
HAS_EXPIRE_ONLY: Final = 1 << 35
DIRECT_IO_ALLOW_MMAP: Final = 1 << 36
PASSTHROUGH: Final = 1 << 37
#: What is asked for where the kernel offers it.
WANTED: Final = (
    ASYNC_READ
    | DO_READDIRPLUS
    | PARALLEL_DIROPS
    | MAX_PAGES
    | EXPLICIT_INVAL_DATA
    | INIT_EXT
    | HAS_EXPIRE_ONLY
    | DIRECT_IO_ALLOW_MMAP
)

# Flags of an open file.
FOPEN_DIRECT_IO: Final = 1 << 0
FOPEN_KEEP_CACHE: Final = 1 << 1
FOPEN_PASSTHROUGH: Final = 1 << 7

_IN_HEADER = struct.Struct("=IIQQIII4x")  # length, opcode, unique, node, uid, gid, pid
_OUT_HEADER = struct.Struct("=IiQ")  # length, -errno or notification code, unique
_INIT_IN = struct.Struct("=IIII")  # major, minor, readahead, flags; flags2 follows
_FLAGS2 = struct.Struct("=I")
_INIT_OUT = struct.Struct("=IIIIHHIIHHIIH22x")
_READ_IN = struct.Struct("=QQI20x")  # handle, offset, size; flags follow
_FORGET_ONE = struct.Struct("=QQ")  # node, number of look-ups
_NUMBER_32 = struct.Struct("=I4x")
_NUMBER_64 = struct.Struct("=Q")
_GETATTR_IN = struct.Struct("=I4xQ")  # flags, handle
_OPEN_OUT = struct.Struct("=QIi")
_STATFS_OUT = struct.Struct("=QQQQQIII4x24x")
_ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
_ATTR_OUT_HEAD = struct.Struct("=QI4x")  # validity in seconds and nanoseconds
_ENTRY_OUT_HEAD = struct.Struct("=QQQQII")
_DIRENT = struct.Struct("=QQII")  # inode, offset of the next, length of the name, type
_STATX_OUT = struct.Struct("=QI4x16xIIQIIIH2xQQQQqI4xqI4xqI4xqI4x16x112x")
#: ``STATX_BASIC_STATS`` and ``STATX_BTIME``.
_STATX_BASIC, _STATX_BTIME = 0x7FF, 0x800


class MalformedRequest(ValueError):
    """A message that is not in the format of the protocol."""


class Header(NamedTuple):
    """The header of a request; the answer repeats ``unique``.

    :ivar node: the node that the operation is about. :ivar pid: id of the calling thread; 0 where
        this process cannot see it, and for requests of the kernel itself.
    """

    length: int
    opcode: int
    unique: int
    node: int
    uid: int
    gid: int
    pid: int


class InitRequest(NamedTuple):
    """The version and features that the kernel offers. ``features``: both words as one number."""

    major: int
    minor: int
    readahead_bytes: int
    features: int


class ReadRequest(NamedTuple):
    """The arguments of a READ, READDIR or READDIRPLUS.

    :ivar pid: id of the thread that reads; 0 where this process cannot see it.
    """

    fh: int
    offset: int
    size: int
    pid: int = 0


def _unpack(
    form: struct.Struct, message: bytes | bytearray, at: int = HEADER_BYTES
) -> tuple[int, ...]:
    try:
        return form.unpack_from(message, at)
    except struct.error as error:
        raise MalformedRequest(str(error)) from None


def parse_header(message: bytes | bytearray) -> Header:
    """Parse the header of a message."""
    return Header._make(_unpack(_IN_HEADER, message, 0))


def parse_init(message: bytes | bytearray) -> InitRequest:
    """Parse an INIT; kernels before 5.17 have one word of features."""
    major, minor, readahead, features = _unpack(_INIT_IN, message)
    at = HEADER_BYTES + _INIT_IN.size
    if features & INIT_EXT and len(message) >= at + _FLAGS2.size:
        features |= _unpack(_FLAGS2, message, at)[0] << 32
    return InitRequest(major, minor, readahead, features)


def parse_read(message: bytes | bytearray, pid: int = 0) -> ReadRequest:
    """Parse a READ, READDIR or READDIRPLUS."""
    fh, offset, size = _unpack(_READ_IN, message)
    return ReadRequest(fh, offset, size, pid)


def parse_name(message: bytes | bytearray, after: int = 0) -> bytes:
    """The name at the end of a message. ``after``: number of bytes of arguments before it."""
    at = HEADER_BYTES + after
    end = message.find(b"\0", at)
    if end < 0:
        raise MalformedRequest("a name has no end")
    return bytes(message[at:end])


def parse_number(message: bytes | bytearray) -> int:
    """The first argument, of 32 bits: the flags of an OPEN, the mask of an ACCESS, the room for an
    extended attribute.
    """
    return _unpack(_NUMBER_32, message)[0]


def parse_handle(message: bytes | bytearray) -> int:
    """The first argument, of 64 bits: the handle of a FLUSH or RELEASE, the request that an
    INTERRUPT is about, the number of a FORGET.
    """
    return _unpack(_NUMBER_64, message)[0]


def check_getattr(message: bytes | bytearray) -> None:
    """Check that a GETATTR or STATX is complete. Its arguments are not used, only its node."""
    _unpack(_GETATTR_IN, message)


def parse_forgets(message: bytes | bytearray) -> list[tuple[int, int]]:
    """The nodes of a BATCH_FORGET, each with the number of look-ups that are forgotten."""
    (count,) = _unpack(_NUMBER_32, message)
    at = HEADER_BYTES + _NUMBER_32.size
    stop = at + count * _FORGET_ONE.size
    if stop > len(message):
        raise MalformedRequest(f"{count} nodes do not fit into {len(message)} bytes")
    return list(_FORGET_ONE.iter_unpack(memoryview(message)[at:stop]))


class Attr(NamedTuple):
    """The attributes of a node, in the kernel's terms. Times are in seconds since the epoch.

    :ivar born_s: when it was made; only `statx_out` shows it.
    """

    inode: int
    size: int
    mtime_s: int
    mode: int
    nlink: int
    uid: int
    gid: int
    block_bytes: int
    born_s: int = 0


def _packed(attr: Attr) -> tuple[int, ...]:
    inode, size, mtime_s, mode, nlink, uid, gid, block_bytes, _ = attr
    blocks = -(-size // STAT_BLOCK_BYTES)
    return (
        inode, size, blocks, mtime_s, mtime_s, mtime_s,
        0, 0, 0, mode, nlink, uid, gid, 0, block_bytes, 0,
    )  # fmt: skip


def init_out(minor: int, readahead_bytes: int, features: int, background: int) -> bytes:
    """The answer to INIT.

    :param features: those that both sides have.
    :param background: most asynchronous requests of the kernel.
    """
    depth = int(bool(features & PASSTHROUGH))
    return _INIT_OUT.pack(
        MAJOR, min(MINOR, minor), readahead_bytes, features & 0xFFFF_FFFF,
        background, background * 3 // 4, _MAX_WRITE, 1, READ_PAGES, 0,
        features >> 32, depth, 0,
    )  # fmt: skip


def version_out() -> bytes:
    """The answer to an INIT of a newer major version: the kernel then sends another INIT."""
    return _INIT_OUT.pack(MAJOR, MINOR, *(11 * [0]))


def attr_out(attr: Attr, valid_s: int) -> bytes:
    """The answer to GETATTR. :param valid_s: how long the kernel may use the attributes."""
    return _ATTR_OUT_HEAD.pack(valid_s, 0) + _ATTR.pack(*_packed(attr))


def statx_out(attr: Attr, valid_s: int) -> bytes:
    """The answer to STATX: with the time of birth, if there is one."""
    inode, size, mtime_s, mode, nlink, uid, gid, block_bytes, born_s = attr
    mask = _STATX_BASIC | (_STATX_BTIME if born_s else 0)
    blocks = -(-size // STAT_BLOCK_BYTES)
    return _STATX_OUT.pack(
        valid_s, 0, mask, block_bytes, 0, nlink, uid, gid, mode, inode, size, blocks, 0,
        mtime_s, 0, born_s, 0, mtime_s, 0, mtime_s, 0,
    )  # fmt: skip


def entry_out(node: int, attr: Attr, entry_valid_s: int, attr_valid_s: int) -> bytes:
    """The answer to LOOKUP. It gives the kernel one reference to the node."""
    head = _ENTRY_OUT_HEAD.pack(node, 0, entry_valid_s, attr_valid_s, 0, 0)
    return head + _ATTR.pack(*_packed(attr))


def absent_out(valid_s: int) -> bytes:
    """The answer to LOOKUP for a name that the kernel may remember as absent."""
    return _ENTRY_OUT_HEAD.pack(0, 0, valid_s, 0, 0, 0) + bytes(_ATTR.size)


#: An entry of READDIRPLUS before its name: ``_ENTRY_OUT_HEAD``, ``_ATTR`` and ``_DIRENT``.
_PLUS = struct.Struct("=QQQQIIQQQQQQIIIIIIIIIIQQII")
_PADDING = tuple(bytes(count) for count in range(8))
_DIRECTORY, _FILE = stat.S_IFDIR >> 12, stat.S_IFREG >> 12


def dirent_bytes(name: bytes, *, plus: bool) -> int:
    """The room that an entry takes in an answer to READDIR or READDIRPLUS."""
    return (_PLUS.size if plus else _DIRENT.size) + (len(name) + 7) // 8 * 8


def dirent(inode: int, name: bytes, offset: int, *, is_directory: bool) -> bytes:
    """An entry of READDIR. :param offset: where a listing continues after this entry."""
    kind = _DIRECTORY if is_directory else _FILE
    return _DIRENT.pack(inode, offset, len(name), kind) + name + _PADDING[-len(name) % 8]


def direntplus(
    node: int, attr: Attr, name: bytes, offset: int, entry_valid_s: int, attr_valid_s: int
) -> bytes:
    """An entry of READDIRPLUS. It gives the kernel one reference to the node, unless that is 0."""
    inode, size, mtime_s, mode, nlink, uid, gid, block_bytes, _ = attr
    # In one piece, because a listing of 100 000 files makes 100 000 of these.
    return _PLUS.pack(
        node, 0, entry_valid_s, attr_valid_s, 0, 0,
        inode, size, -(-size // STAT_BLOCK_BYTES), mtime_s, mtime_s, mtime_s,
        0, 0, 0, mode, nlink, uid, gid, 0, block_bytes, 0,
        inode, offset, len(name), mode >> 12,
    ) + name + _PADDING[-len(name) % 8]  # fmt: skip


#: The same, where fields that are equal for all files of a mount are bytes: those between the node
#: and the inode, those between the times and the number of links, and those after the number of
#: links up to the second inode.
_PLUS_FILE = struct.Struct("=Q32sQQQQQQ16sI20sQQII")

#: Makes the entry of a file; called with node, inode, size, time, links, name and offset.
FilePlus = Callable[[int, int, int, int, int, bytes, int], bytes]


def file_plus(mode: int, uid: int, gid: int, block_bytes: int, valid_s: int) -> FilePlus:
    """Make a function that is `direntplus` for the files of a mount, in half the time.

    :param valid_s: how long the kernel may use names and attributes.
    """
    pack = _PLUS_FILE.pack
    valid = struct.pack("=QQQII", 0, valid_s, valid_s, 0, 0)
    before_links = struct.pack("=IIII", 0, 0, 0, mode)
    after_links = struct.pack("=IIIII", uid, gid, 0, block_bytes, 0)

    def make(
        node: int, inode: int, size: int, mtime_s: int, nlink: int, name: bytes, offset: int
    ) -> bytes:
        return pack(
            node, valid, inode, size, -(-size // STAT_BLOCK_BYTES), mtime_s, mtime_s, mtime_s,
            before_links, nlink, after_links, inode, offset, len(name), _FILE,
        ) + name + _PADDING[-len(name) % 8]  # fmt: skip

    return make


def open_out(fh: int, flags: int = 0, backing_id: int = 0) -> bytes:
    """The answer to OPEN and OPENDIR."""
    return _OPEN_OUT.pack(fh, flags, backing_id)


def statfs_out(size: int, files: int, block_bytes: int, name_bytes: int) -> bytes:
    """The answer to STATFS: the size of the library in bytes, and no free space."""
    blocks = -(-size // block_bytes)
    return _STATFS_OUT.pack(blocks, 0, 0, files, 0, block_bytes, name_bytes, block_bytes)


def xattr_out(value: bytes, room: int) -> bytes:
    """The answer to GETXATTR or LISTXATTR: the value, or its length if ``room`` is 0.

    :raises OSError: ERANGE, there is not enough room.
    """
    if not room:
        return _NUMBER_32.pack(len(value))
    if len(value) > room:
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
    return value


# Notifications: their code stands in the place of the errno, and ``unique`` is 0.
_INVAL_INODE, _INVAL_ENTRY, _INC_EPOCH = 2, 3, 8
_OF_INODE = struct.Struct("=IiQQqq")
_OF_ENTRY = struct.Struct("=IiQQII")
#: Only lets the entry expire, and does not unmount or detach what is at or below it.
_EXPIRE_ONLY = 1
#: Protocol versions (minor) that have `inc_epoch`, and flags of `inval_entry`.
HAS_INC_EPOCH = 44


def inval_attributes(node: int) -> bytes:
    """The notification that the attributes of a node have changed; its pages stay."""
    return _OF_INODE.pack(_OF_INODE.size, _INVAL_INODE, 0, node, -1, 0)


def inval_entry(parent: int, name: bytes, *, expire_only: bool = False) -> bytes:
    """The notification that a name in a folder, or its absence, is not valid any more."""
    length = _OF_ENTRY.size + len(name) + 1
    flags = _EXPIRE_ONLY if expire_only else 0
    return _OF_ENTRY.pack(length, _INVAL_ENTRY, 0, parent, len(name), flags) + name + b"\0"


def inc_epoch() -> bytes:
    """The notification that every name has to be looked up again."""
    return _OUT_HEADER.pack(_OUT_HEADER.size, _INC_EPOCH, 0)


class Device:
    """A descriptor of ``/dev/fuse``. Any thread may receive and answer."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        """Use this descriptor from now on."""
        self.descriptor = descriptor

    def close(self) -> None:
        """Close the device. A late answer goes to ``/dev/null``, never to a file that got the
        number of the descriptor.
        """
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, self.descriptor, inheritable=False)
        os.close(null)

    def receive(self, message: bytearray) -> int:
        """Wait for a request and write it into ``message``; return its length, 0 if unmounted.

        :raises OSError: the descriptor is invalid.
        """
        while True:
            try:
                return os.readv(self.descriptor, (message,))
            except OSError as error:
                # ECONNABORTED: unmounted, and the kernel is closing the connection.
                if error.errno in (errno.ENODEV, errno.ECONNABORTED):
                    return 0
                # ENOENT: the request was interrupted before it could be read.
                if error.errno not in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    raise

    def answer(self, unique: int, views: Sequence[memoryview], length: int) -> None:
        """Answer a READ with ``length`` bytes, without copying them."""
        head = _OUT_HEADER.pack(_OUT_HEADER.size + length, 0, unique)
        self._write((head, *views))

    def reply(self, unique: int, parts: Iterable[bytes]) -> bool:
        """Answer any other request; False if the kernel did not take the answer.

        The kernel takes no answer if the caller was killed meanwhile, or after an unmount.
        """
        body = b"".join(parts)
        return self._write((_OUT_HEADER.pack(_OUT_HEADER.size + len(body), 0, unique), body))

    def refuse(self, unique: int, number: int) -> None:
        """Answer any request with this errno (positive)."""
        self._write((_OUT_HEADER.pack(_OUT_HEADER.size, -number, unique),))

    def notify(self, message: bytes) -> None:
        """Send a notification. :raises OSError: ENOENT, the kernel has not cached it."""
        os.write(self.descriptor, message)

    def _write(self, parts: Sequence[bytes | memoryview]) -> bool:
        # ENOENT: the request was interrupted; ENODEV: unmounted. No caller waits for this answer.
        with contextlib.suppress(OSError):
            os.writev(self.descriptor, parts)
            return True
        return False
