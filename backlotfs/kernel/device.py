"""The messages of ``/dev/fuse`` that we read and write ourselves (<linux/fuse.h>, protocol 7).

Most requests go through libfuse untouched. Reads do not: libfuse 2 would copy every byte once more
and hold a thread for each read that waits.
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
#: Several look-ups in one folder at a time: else one that waits for the network stops the others.
_PARALLEL_DIROPS: Final = 1 << 18
#: Reads larger than 128 KiB, of as many pages as we say.
_MAX_PAGES: Final = 1 << 22

#: One read is at most this many pages (1 MiB), which is the most that Linux 6 allows untuned.
READ_PAGES: Final = 256


class Request(NamedTuple):
    """The head of a request. ``unique`` names it in its answer."""

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
    """The head of what was received."""
    _, opcode, unique = _IN_HEADER.unpack_from(message)
    return Request(opcode, unique)


def parse_read(message: bytearray) -> ReadRequest:
    """Of a message whose opcode is READ."""
    fh, offset, size = _READ_IN.unpack_from(message, _HEADER_BYTES)
    return ReadRequest(fh, offset, size, _PID.unpack_from(message, _PID_AT)[0])


def parse_interrupt(message: bytearray) -> int:
    """The ``unique`` of the request whose caller is gone; of a message with opcode INTERRUPT."""
    return int(_INTERRUPT_IN.unpack_from(message, _HEADER_BYTES)[0])


def improve_init(answer: bytes) -> bytes:
    """libfuse 2's answer to INIT, with what younger kernels offer beyond it.

    Unchanged when it refuses the session, or is not as libfuse 2.9 writes it.
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
        """The descriptor stays its owner's."""
        self._descriptor = descriptor

    def receive(self, message: bytearray) -> int:
        """Wait for a request and put it into ``message``; its length, 0 when unmounted.

        :raises OSError: what cannot happen to a sane descriptor.
        """
        while True:
            try:
                return os.readv(self._descriptor, (message,))
            except OSError as error:
                # ECONNABORTED: unmounted, and the kernel is still taking the connection down.
                if error.errno in (errno.ENODEV, errno.ECONNABORTED):
                    return 0
                # ENOENT: the request was interrupted before it could be read.
                if error.errno not in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    raise

    def answer(self, unique: int, views: Sequence[memoryview], length: int) -> None:
        """Answer a READ with ``length`` bytes, straight from where they lie."""
        head = _OUT_HEADER.pack(_OUT_HEADER.size + length, 0, unique)
        self._write((head, *views))

    def refuse(self, unique: int, number: int) -> None:
        """Answer any request with this errno (positive)."""
        self._write((_OUT_HEADER.pack(_OUT_HEADER.size, -number, unique),))

    def send(self, message: bytes) -> None:
        """Write an answer that is complete."""
        self._write((message,))

    def _write(self, parts: Sequence[bytes | memoryview]) -> None:
        # ENOENT: the request was interrupted meanwhile; ENODEV: unmounted. Nobody is left to tell.
        with contextlib.suppress(FileNotFoundError, OSError):
            os.writev(self._descriptor, parts)
