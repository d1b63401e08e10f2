"""The messages of ``/dev/fuse`` that this package parses and writes (<linux/fuse.h>, protocol 7).

libfuse handles most requests. Reads are handled here, because libfuse 2 would copy every byte once
more and block a thread for each read that waits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

#: Operation codes.
LOOKUP: Final = 1
READ: Final = 15
INIT: Final = 26
INTERRUPT: Final = 36

_IN_HEADER = struct.Struct("=IIQ8x")  # length, opcode, unique; node, uid, gid, pid, padding follow
_HEADER_BYTES: Final = 40
_PID = struct.Struct("=I")
_PID_AT: Final = 32
_READ_IN = struct.Struct("=QQI")  # handle, offset, size; flags follow
_INTERRUPT_IN = struct.Struct("=Q")
_OUT_HEADER = struct.Struct("=IiQ")  # length, -errno, unique
_INIT_OUT_FLAGS_AT: Final = _OUT_HEADER.size + 12
_INIT_OUT_PAGES_AT: Final = _OUT_HEADER.size + 28
_INIT_OUT_BYTES: Final = _OUT_HEADER.size + 64
#: In the answer to a LOOKUP: how long the attributes are valid, in seconds and in nanoseconds.
_ATTR_VALID_AT: Final = _OUT_HEADER.size + 24
_ATTR_VALID_NSEC_AT: Final = _OUT_HEADER.size + 36
_ENTRY_OUT_BYTES: Final = _OUT_HEADER.size + 40
_SECONDS = struct.Struct("=Q")
_FLAGS = struct.Struct("=I")
_PAGES = struct.Struct("=H")
#: Allows parallel lookups in one folder; otherwise one that waits blocks the others.
_PARALLEL_DIROPS: Final = 1 << 18
#: Allows reads larger than 128 KiB, up to a number of pages.
_MAX_PAGES: Final = 1 << 22

#: Most pages of one read (1 MiB), the maximum of Linux 6 without tuning.
READ_PAGES: Final = 256


class Request(NamedTuple):
    """The header of a request; the answer repeats ``unique``."""

    opcode: int
    unique: int


class ReadRequest(NamedTuple):
    """The arguments of a READ.

    :ivar pid: id of the thread that reads; 0 where this process cannot see it.
    """

    fh: int
    offset: int
    size: int
    pid: int = 0


def parse_request(message: bytearray) -> Request:
    """Parse the header of a message."""
    _, opcode, unique = _IN_HEADER.unpack_from(message)
    return Request(opcode, unique)


def parse_read(message: bytearray) -> ReadRequest:
    """Parse a message with the opcode READ."""
    fh, offset, size = _READ_IN.unpack_from(message, _HEADER_BYTES)
    return ReadRequest(fh, offset, size, _PID.unpack_from(message, _PID_AT)[0])


def parse_interrupt(message: bytearray) -> int:
    """Parse a message with the opcode INTERRUPT: the ``unique`` of the interrupted request."""
    return int(_INTERRUPT_IN.unpack_from(message, _HEADER_BYTES)[0])


def improve_init(answer: bytes) -> bytes:
    """Add features of newer kernels to libfuse 2's answer to INIT.

    An answer that refuses the session, or is not in the format of libfuse 2.9, is unchanged.
    """
    if len(answer) < _INIT_OUT_FLAGS_AT + _FLAGS.size or _OUT_HEADER.unpack_from(answer)[1]:
        return answer
    improved = bytearray(answer.ljust(_INIT_OUT_BYTES, b"\0"))
    (flags,) = _FLAGS.unpack_from(improved, _INIT_OUT_FLAGS_AT)
    _FLAGS.pack_into(improved, _INIT_OUT_FLAGS_AT, flags | _PARALLEL_DIROPS | _MAX_PAGES)
    _PAGES.pack_into(improved, _INIT_OUT_PAGES_AT, READ_PAGES)
    _, error, unique = _OUT_HEADER.unpack_from(improved)
    _OUT_HEADER.pack_into(improved, 0, len(improved), error, unique)
    return bytes(improved)


def unsettle_lookup(answer: bytes) -> bytes:
    """libfuse 2's answer to LOOKUP, with attributes that the kernel must ask for before it uses
    them: their size is not known yet.

    Unchanged when it is an error.
    """
    if len(answer) < _ENTRY_OUT_BYTES or _OUT_HEADER.unpack_from(answer)[1]:
        return answer
    changed = bytearray(answer)
    _SECONDS.pack_into(changed, _ATTR_VALID_AT, 0)
    _FLAGS.pack_into(changed, _ATTR_VALID_NSEC_AT, 0)
    return bytes(changed)


class Device:
    """A descriptor of ``/dev/fuse``. Any thread may receive and answer."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        """Use this descriptor; its owner closes it."""
        self._descriptor = descriptor

    def receive(self, message: bytearray) -> int:
        """Wait for a request and write it into ``message``; return its length, 0 if unmounted.

        :raises OSError: the descriptor is invalid.
        """
        while True:
            try:
                return os.readv(self._descriptor, (message,))
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

    def refuse(self, unique: int, number: int) -> None:
        """Answer any request with this errno (positive)."""
        self._write((_OUT_HEADER.pack(_OUT_HEADER.size, -number, unique),))

    def send(self, message: bytes) -> None:
        """Send a complete answer."""
        self._write((message,))

    def _write(self, parts: Sequence[bytes | memoryview]) -> None:
        # ENOENT: the request was interrupted; ENODEV: unmounted. No caller waits for this answer.
        with contextlib.suppress(FileNotFoundError, OSError):
            os.writev(self._descriptor, parts)
