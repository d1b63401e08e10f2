# SPDX-License-Identifier: Apache-2.0
"""The messages of /dev/fuse byte for byte, against the layouts of <linux/fuse.h>."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.kernel import protocol
from backlotfs.kernel.protocol import Attr, Device, Header, MalformedRequest, ReadRequest
from tests.unit.kernel.kernel_end import init_body, lines_of, read_body, request

FILE = Attr(
    inode=1 << 62,
    size=(5 << 40) + 1,
    mtime_s=1 << 31,
    mode=stat.S_IFREG | 0o444,
    nlink=2,
    uid=11,
    gid=12,
    block_bytes=128 << 10,
    born_s=77,
)
#: ``struct fuse_attr`` of it.
FILE_BYTES = struct.pack(
    "=QQQQQQIIIIIIIIII",
    *(1 << 62, (5 << 40) + 1, (5 << 31) + 1),
    *(1 << 31, 1 << 31, 1 << 31, 0, 0, 0),
    *(stat.S_IFREG | 0o444, 2, 11, 12, 0, 128 << 10, 0),
)


@pytest.fixture
def ends() -> Iterator[tuple[Device, socket.socket]]:
    """A device, and the kernel's end of it."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernels:
        yield Device(ours.fileno()), kernels


def test_a_read_is_received(ends: tuple[Device, socket.socket]) -> None:
    """Head and arguments."""
    device, kernel = ends
    kernel.send(request(protocol.READ, 2**63 + 5, 9, read_body(9, 5 << 40, 4096)))
    message = bytearray(200)
    assert device.receive(message) == 80
    assert protocol.parse_header(message) == Header(80, protocol.READ, 2**63 + 5, 9, 5, 6, 77)
    assert protocol.parse_read(message, 77) == ReadRequest(9, 5 << 40, 4096, pid=77)


def test_arguments() -> None:
    """Of each form."""
    message = request(protocol.INTERRUPT, 4, body=struct.pack("=Q", 2**63 + 7))
    assert protocol.parse_handle(message) == 2**63 + 7
    message = request(protocol.OPEN, 4, body=struct.pack("=II", os.O_RDWR, 0))
    assert protocol.parse_number(message) == os.O_RDWR
    message = request(protocol.LOOKUP, 4, body=b"\xff a.mov\0")
    assert protocol.parse_name(message) == b"\xff a.mov"
    message = request(protocol.GETXATTR, 4, body=struct.pack("=II", 100, 0) + b"user.a\0")
    assert (protocol.parse_number(message), protocol.parse_name(message, 8)) == (100, b"user.a")


@given(nodes=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=50))
def test_forgets(nodes: list[tuple[int, int]]) -> None:
    """All of a batch; one that says more than it holds is refused."""
    body = b"".join(struct.pack("=QQ", *node) for node in nodes)
    message = request(protocol.BATCH_FORGET, 2, body=struct.pack("=II", len(nodes), 0) + body)
    assert protocol.parse_forgets(message) == nodes
    message = request(protocol.BATCH_FORGET, 2, body=struct.pack("=II", len(nodes) + 1, 0) + body)
    with pytest.raises(MalformedRequest):
        protocol.parse_forgets(message)


@pytest.mark.parametrize(
    ("body", "features"),
    [
        (init_body(protocol.INIT_EXT | 1 << 36), protocol.INIT_EXT | 1 << 36),
        (init_body(1 << 36), 0),
        (init_body(protocol.INIT_EXT)[:16], protocol.INIT_EXT),
        (init_body(0x11), 0x11),
    ],
)
def test_what_a_kernel_offers(body: bytes, features: int) -> None:
    """The second word counts only where the first says that there is one."""
    offer = protocol.parse_init(request(protocol.INIT, 2, body=body))
    assert offer == (7, 45, 128 << 10, features)


PARSERS: list[Callable[[bytes | bytearray], object]] = [
    protocol.parse_header,
    protocol.parse_init,
    protocol.parse_read,
    protocol.parse_name,
    lambda message: protocol.parse_name(message, after=8),
    protocol.parse_number,
    protocol.parse_handle,
    protocol.check_getattr,
    lambda message: protocol.parse_forgets(message),
]


@given(message=st.binary(max_size=200))
def test_any_bytes_are_parsed_or_malformed(message: bytes) -> None:
    """No other exception, which the session would not expect."""
    for parse in PARSERS:
        for given_message in (message, bytearray(message), request(1, 2, body=message)):
            with contextlib.suppress(MalformedRequest):
                parse(given_message)


def test_init_out() -> None:
    """64 bytes; the second word of features stands apart, and no more than both can."""
    features = protocol.INIT_EXT | protocol.ASYNC_READ | protocol.HAS_EXPIRE_ONLY
    low = protocol.INIT_EXT | protocol.ASYNC_READ
    assert protocol.init_out(38, 131072, features, 256) == struct.pack(
        "=IIIIHHIIHHIIHH20x",
        *(7, 38, 131072, low, 256, 192, 4096, 1, 256, 0, protocol.HAS_EXPIRE_ONLY >> 32, 0, 0, 0),
    )
    newer = protocol.init_out(99, 0, protocol.PASSTHROUGH, 256)
    assert len(newer) == 64
    assert struct.unpack_from("=II", newer) == (7, 45)
    (depth,) = struct.unpack_from("=I", newer, 36)
    assert depth == 1, "files of the cache may be passed through"
    assert protocol.version_out() == struct.pack("=II", 7, 45) + bytes(56)


def test_attr_out() -> None:
    """``struct fuse_attr_out``."""
    assert protocol.attr_out(FILE, 3600) == struct.pack("=QII", 3600, 0, 0) + FILE_BYTES


@pytest.mark.parametrize("born_s", [0, 77])
def test_statx_out(born_s: int) -> None:
    """``struct fuse_statx_out``; the time of birth is marked where there is one."""
    stamp = (1 << 31, 0, 0)
    expected = struct.pack("=QIIQQ", 1, 0, 0, 0, 0)
    expected += struct.pack("=IIQ", 0xFFF if born_s else 0x7FF, 128 << 10, 0)
    expected += struct.pack("=IIIHH", 2, 11, 12, stat.S_IFREG | 0o444, 0)
    expected += struct.pack("=QQQQ", 1 << 62, (5 << 40) + 1, (5 << 31) + 1, 0)
    expected += struct.pack("=qIiqIiqIiqIi", *stamp, born_s, 0, 0, *stamp, *stamp)
    expected += struct.pack("=IIII14Q", *[0] * 18)
    assert protocol.statx_out(FILE._replace(born_s=born_s), 1) == expected
    assert len(expected) == 288


def test_entry_out() -> None:
    """``struct fuse_entry_out``, of a name that is there and of one that is not."""
    head = struct.pack("=QQQQII", 2**63 + 1, 0, 3600, 0, 0, 0)
    assert protocol.entry_out(2**63 + 1, FILE, 3600, 0) == head + FILE_BYTES
    assert protocol.absent_out(3600) == struct.pack("=QQQQII", 0, 0, 3600, 0, 0, 0) + bytes(88)


@given(name=st.binary(min_size=1, max_size=255), inode=st.integers(0, 2**64 - 1))
def test_directory_entries(name: bytes, inode: int) -> None:
    """``struct fuse_dirent`` and ``fuse_direntplus``, padded to 8 bytes, of the size told."""
    folder = struct.pack("=QQII", inode, 7, len(name), 4)
    padded = name + bytes(-len(name) % 8)
    plain = protocol.dirent(inode, name, 7, is_directory=True)
    assert plain == folder + padded
    assert len(plain) == protocol.dirent_bytes(name, plus=False)
    plus = protocol.direntplus(9, FILE._replace(inode=inode), name, 7, 3600, 1)
    head = struct.pack("=QQQQII", 9, 0, 3600, 1, 0, 0)
    attr = struct.pack("=Q", inode) + FILE_BYTES[8:]
    assert plus == head + attr + struct.pack("=QQII", inode, 7, len(name), 8) + padded
    assert len(plus) == protocol.dirent_bytes(name, plus=True)


def test_direntplus_is_an_entry_and_a_dirent() -> None:
    """It is made in one piece, which must not differ."""
    one = protocol.direntplus(9, FILE, b"a", 3, 3600, 0)
    assert one == protocol.entry_out(9, FILE, 3600, 0) + protocol.dirent(
        FILE.inode, b"a", 3, is_directory=False
    )
    (line,) = lines_of(one, plus=True)
    assert line.entry is not None
    assert (line.name, line.entry.node) == ("a", 9)


@given(
    node=st.integers(1, 2**64 - 1),
    size=st.integers(0, 2**63 - 1),
    nlink=st.integers(1, 2**32 - 1),
    name=st.binary(min_size=1, max_size=255),
)
def test_the_entry_of_a_file(node: int, size: int, nlink: int, name: bytes) -> None:
    """The faster way to make it gives the same bytes."""
    make = protocol.file_plus(FILE.mode, FILE.uid, FILE.gid, FILE.block_bytes, 3600)
    attr = FILE._replace(size=size, nlink=nlink)
    expected = protocol.direntplus(node, attr, name, 7, 3600, 3600)
    assert make(node, FILE.inode, size, FILE.mtime_s, nlink, name, 7) == expected


def test_small_answers() -> None:
    """OPEN and STATFS."""
    assert protocol.open_out(5, 2, 3) == struct.pack("=QIi", 5, 2, 3)
    statfs = struct.pack("=QQQQQIIII6I", 2, 0, 0, 3, 0, 4096, 255, 4096, 0, *[0] * 6)
    assert protocol.statfs_out(4097, 3, 4096, 255) == statfs


@given(value=st.binary(max_size=20), room=st.integers(0, 30))
def test_xattr_out(value: bytes, room: int) -> None:
    """The length if it is asked for, else the value or ERANGE."""
    if not room:
        assert protocol.xattr_out(value, room) == struct.pack("=II", len(value), 0)
    elif room >= len(value):
        assert protocol.xattr_out(value, room) == value
    else:
        with pytest.raises(OSError) as caught:  # noqa: PT011  # its errno is the answer
            protocol.xattr_out(value, room)
        assert caught.value.errno == errno.ERANGE


def test_notifications() -> None:
    """Their code stands in the place of the errno; names end with a zero."""
    inode = struct.pack("=IiQ", 40, 2, 0) + struct.pack("=Qqq", 9, -1, 0)
    assert protocol.inval_attributes(9) == inode
    for expire in (False, True):
        entry = struct.pack("=IiQ", 16 + 16 + 6, 3, 0) + struct.pack("=QII", 9, 5, int(expire))
        assert protocol.inval_entry(9, b"a.mov", expire_only=expire) == entry + b"a.mov\0"
    assert protocol.inc_epoch() == struct.pack("=IiQ", 16, 8, 0)


def test_answers(ends: tuple[Device, socket.socket]) -> None:
    """Bytes from several places in one message, an errno as a negative number."""
    device, kernel = ends
    device.answer(7, [memoryview(b"ab"), memoryview(b"cde")], 5)
    assert kernel.recv(100) == struct.pack("=IiQ", 21, 0, 7) + b"abcde"
    device.refuse(8, errno.ESTALE)
    assert kernel.recv(100) == struct.pack("=IiQ", 16, -errno.ESTALE, 8)
    assert device.reply(9, (b"whole", b"", b"!"))
    assert kernel.recv(100) == struct.pack("=IiQ", 22, 0, 9) + b"whole!"
    device.notify(b"note")
    assert kernel.recv(100) == b"note"


def test_nobody_is_left_to_answer() -> None:
    """The request was interrupted or the mount is gone: that is no error, but it is told."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernels:
        kernels.shutdown(socket.SHUT_RD)
        device = Device(ours.fileno())
        device.refuse(1, errno.EIO)
        device.answer(1, [memoryview(b"ab")], 2)
        assert not device.reply(1, (b"x",))
        with pytest.raises(OSError, match="Broken pipe"):
            device.notify(protocol.inc_epoch())


@pytest.mark.parametrize(
    ("number", "ends"),
    [
        (errno.ENODEV, 0),
        (errno.ECONNABORTED, 0),
        (errno.EBADF, None),
        (errno.ENOENT, 8),
        (errno.EINTR, 8),
        (errno.EAGAIN, 8),
    ],
)
def test_receiving_fails(number: int, ends: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the mount is an end; a request that was interrupted is passed over."""
    failures = [OSError(number, os.strerror(number))]

    def readv(_descriptor: int, _buffers: object) -> int:
        if failures:
            raise failures.pop()
        return 8

    monkeypatch.setattr(os, "readv", readv)
    device = Device(-1)
    if ends is None:
        with pytest.raises(OSError, match="Bad file"):
            device.receive(bytearray(8))
    else:
        assert device.receive(bytearray(8)) == ends
