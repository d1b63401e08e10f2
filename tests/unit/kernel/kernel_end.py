# SPDX-License-Identifier: Apache-2.0
"""The kernel's end of a session: requests and answers as <linux/fuse.h> lays them out.

The layouts are written down here once more, so that a mistake in `backlotfs.kernel.protocol` does
not cancel itself out.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from backlotfs.concurrency.clock import SystemClock
from backlotfs.config.time_limits import TimeLimits
from backlotfs.kernel import protocol
from backlotfs.kernel.deadlines import OperationDeadlines
from backlotfs.kernel.mounting import MountOptions
from backlotfs.kernel.operations import Operations, Owner
from backlotfs.kernel.read_requests import ReadContext, ReadCounts, ReadLimits
from backlotfs.kernel.session import FuseSession
from backlotfs.namespace.namespace import Namespace
from tests.fakes.workers import PATIENCE_S
from tests.unit.open_files.stack import ReadingStack

#: All that Linux 6.18 offers, in both words.
EVERYTHING = (1 << 64) - 1
_ATTR = "QQQQQQIIIIIIIIII"
ATTR, ENTRY, DIRENT = (struct.Struct(f"={form}") for form in (_ATTR, "QQQQII", "QQII"))
ROOT = 1


class Attr(NamedTuple):
    """``struct fuse_attr``, without nanoseconds and flags."""

    ino: int
    size: int
    blocks: int
    atime: int
    mtime: int
    ctime: int
    mode: int
    nlink: int
    uid: int
    gid: int
    blksize: int

    @classmethod
    def of(cls, raw: bytes) -> Attr:
        """Parse it; what is not kept is 0."""
        assert len(raw) == 88
        fields = ATTR.unpack(raw)
        assert not any((*fields[6:9], fields[13], fields[15]))
        return cls._make((*fields[:6], *fields[9:13], fields[14]))


class Entry(NamedTuple):
    """``struct fuse_entry_out``; times in seconds."""

    node: int
    entry_s: int
    attr_s: int
    attr: bytes

    @classmethod
    def of(cls, raw: bytes) -> Entry:
        """Parse it; the generation is always 0."""
        assert len(raw) == 128
        node, generation, entry_s, attr_s, entry_ns, attr_ns = ENTRY.unpack_from(raw)
        assert (generation, entry_ns, attr_ns) == (0, 0, 0)
        return cls(node, entry_s, attr_s, raw[40:])

    @property
    def attributes(self) -> Attr:
        """The attributes of an entry that is there."""
        return Attr.of(self.attr)


class Line(NamedTuple):
    """``struct fuse_dirent``, and for READDIRPLUS its ``struct fuse_entry_out``."""

    ino: int
    offset: int
    kind: int
    name: str
    entry: Entry | None = None


class Answer(NamedTuple):
    """An answer; ``error`` is a positive errno or 0."""

    unique: int
    error: int
    body: bytes


def request(opcode: int, unique: int, node: int = ROOT, body: bytes = b"", pid: int = 77) -> bytes:
    """``struct fuse_in_header`` and what follows."""
    return struct.pack("=IIQQIIIHH", 40 + len(body), opcode, unique, node, 5, 6, pid, 0, 0) + body


def init_body(features: int = EVERYTHING, major: int = 7, minor: int = 45) -> bytes:
    """``struct fuse_init_in``."""
    low, high = features & 0xFFFF_FFFF, features >> 32
    return struct.pack("=IIIII44x", major, minor, 128 << 10, low, high)


def read_body(fh: int, offset: int, size: int) -> bytes:
    """``struct fuse_read_in``."""
    return struct.pack("=QQIIQII", fh, offset, size, 0, 0, 0, 0)


def lines_of(body: bytes, *, plus: bool) -> list[Line]:
    """Parse the answer to READDIR or READDIRPLUS."""
    found: list[Line] = []
    at = 0
    while at < len(body):
        entry = Entry.of(body[at : at + 128]) if plus else None
        at += 128 if plus else 0
        ino, offset, length, kind = DIRENT.unpack_from(body, at)
        at += DIRENT.size
        found.append(Line(ino, offset, kind, body[at : at + length].decode(), entry))
        padding = -length % 8
        assert body[at + length : at + length + padding] == bytes(padding)
        at += length + padding
    assert at == len(body)
    return found


class Kernel:
    """The other end of the device.

    :ivar notes: the notifications that have come, as code and bytes.
    """

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.end.settimeout(PATIENCE_S)
        self.notes: list[tuple[int, bytes]] = []
        self._uniques = itertools.count(2, 2)
        self._early: dict[int, Answer] = {}

    def send(self, opcode: int, node: int = ROOT, body: bytes = b"", *, pid: int = 77) -> int:
        """Send a request; return its number."""
        unique = next(self._uniques)
        self.end.send(request(opcode, unique, node, body, pid))
        return unique

    def _receive(self) -> Answer | None:
        message = self.end.recv(1 << 20)
        assert message, "the session has ended"
        length, error, unique = struct.unpack_from("=IiQ", message)
        assert length == len(message)
        if not unique:
            self.notes.append((error, message[16:]))
            return None
        assert unique not in self._early, "answered twice"
        assert error <= 0
        return Answer(unique, -error, message[16:])

    def answer(self, unique: int) -> Answer:
        """The answer to a request."""
        while unique not in self._early:
            answer = self._receive()
            if answer is not None:
                self._early[answer.unique] = answer
        return self._early.pop(unique)

    def ask(self, opcode: int, node: int = ROOT, body: bytes = b"", *, pid: int = 77) -> Answer:
        """Send a request and wait for its answer."""
        return self.answer(self.send(opcode, node, body, pid=pid))

    def note(self) -> tuple[int, bytes]:
        """The next notification."""
        while not self.notes:
            answer = self._receive()
            if answer is not None:
                self._early[answer.unique] = answer
        return self.notes.pop(0)

    def unanswered(self) -> list[int]:
        """The answers that came and were not asked for."""
        return sorted(self._early)

    # what succeeds

    def _done(self, opcode: int, node: int, body: bytes) -> bytes:
        answer = self.ask(opcode, node, body)
        assert not answer.error, f"errno {answer.error} for opcode {opcode}"
        return answer.body

    def init(self, features: int = EVERYTHING) -> bytes:
        """Begin."""
        return self._done(protocol.INIT, 0, init_body(features))

    def lookup(self, parent: int, name: str) -> Entry:
        """A name in a folder."""
        raw = name.encode("utf-8", "surrogateescape") + b"\0"
        return Entry.of(self._done(protocol.LOOKUP, parent, raw))

    def walk(self, path: str) -> int:
        """The node at a path."""
        node = ROOT
        for name in path.strip("/").split("/"):
            node = self.lookup(node, name).node
        return node

    def getattr(self, node: int, fh: int | None = None) -> tuple[int, Attr]:
        """The attributes, and how many seconds they are valid."""
        body = struct.pack("=IIQ", int(fh is not None), 0, fh or 0)
        raw = self._done(protocol.GETATTR, node, body)
        valid_s, valid_ns, dummy = struct.unpack_from("=QII", raw)
        assert (valid_ns, dummy) == (0, 0)
        return valid_s, Attr.of(raw[16:])

    def open(self, node: int, opcode: int = protocol.OPEN, flags: int = 0) -> tuple[int, int]:
        """Handle and flags of an open."""
        raw = self._done(opcode, node, struct.pack("=II", flags, 0))
        fh, how, backing = struct.unpack("=QIi", raw)
        assert not backing
        return fh, how

    def read(self, fh: int, offset: int, size: int, node: int = ROOT) -> bytes:
        """The bytes of a file."""
        return self._done(protocol.READ, node, read_body(fh, offset, size))

    def list(self, fh: int, offset: int, size: int, *, plus: bool, node: int = ROOT) -> list[Line]:
        """One piece of a listing."""
        opcode = protocol.READDIRPLUS if plus else protocol.READDIR
        body = self._done(opcode, node, read_body(fh, offset, size))
        assert len(body) <= size
        return lines_of(body, plus=plus)

    def close(self, fh: int, node: int, opcode: int = protocol.RELEASE) -> None:
        """The last close."""
        assert self._done(opcode, node, struct.pack("=QIIQ", fh, 0, 0, 0)) == b""

    def forget(self, node: int, count: int = 1) -> None:
        """Take references back; there is no answer."""
        self.send(protocol.FORGET, node, struct.pack("=Q", count))

    def forget_all(self, counts: dict[int, int]) -> None:
        """Take references back by one message."""
        body = struct.pack("=II", len(counts), 0)
        body += b"".join(struct.pack("=QQ", *item) for item in counts.items())
        self.send(protocol.BATCH_FORGET, 0, body)


class Served(NamedTuple):
    """A session that serves, and the kernel's end of it."""

    kernel: Kernel
    session: FuseSession
    operations: Operations
    reading: ReadingStack
    counts: ReadCounts


@contextlib.contextmanager
def served(
    namespace: Namespace,
    reading: ReadingStack | None = None,
    *,
    no_prefetch: Callable[[], bool] = lambda: False,
    init: bool = True,
) -> Iterator[Served]:
    """Serve a namespace through a socket in the place of ``/dev/fuse``."""
    session = FuseSession()
    reading = reading or ReadingStack()
    clock = SystemClock()
    limits = TimeLimits(asked_stat_s=PATIENCE_S, asked_read_s=PATIENCE_S)
    deadlines = OperationDeadlines(clock, session.interrupted, session.caller, limits)
    operations = Operations(
        namespace,
        reading.reader,
        deadlines,
        Owner(11, 12),
        no_prefetch=no_prefetch,
        reads_whole=lambda: False,
        program=str,
    )
    counts = ReadCounts(str, SystemClock())
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mounted = threading.Event()

    def serve() -> None:
        session.serve(
            Path("/mnt/x"),
            MountOptions("backlot:x"),
            operations,
            ReadContext(clock, counts, ReadLimits(PATIENCE_S)),
            mounted.set,
        )

    with mock.patch("backlotfs.kernel.session.mounting.mount", return_value=ours.detach()):
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert mounted.wait(PATIENCE_S)
    kernel = Kernel(kernels)
    try:
        if init:
            kernel.init()
        yield Served(kernel, session, operations, reading, counts)
    finally:
        session.end()
        kernels.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the session has not ended"
