"""The few messages of /dev/fuse that we speak ourselves, byte for byte."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from backlotfs.kernel import device as protocol
from backlotfs.kernel.device import Device, ReadRequest, Request, improve_init, unsettle_lookup


@pytest.fixture
def ends() -> Iterator[tuple[Device, socket.socket]]:
    """A device, and the kernel's end of it."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernels:
        yield Device(ours.fileno()), kernels


def request(opcode: int, unique: int, body: bytes = b"") -> bytes:
    """``struct fuse_in_header`` and what follows."""
    return struct.pack("=IIQQIIII", 40 + len(body), opcode, unique, 1, 0, 0, 77, 0) + body


def test_a_read_is_received(ends: tuple[Device, socket.socket]) -> None:
    """Head and arguments, as <linux/fuse.h> lays them out."""
    device, kernel = ends
    kernel.send(
        request(protocol.READ, 2**63 + 5, struct.pack("=QQIIQII", 9, 5 << 40, 4096, *[0] * 4))
    )
    message = bytearray(200)
    assert device.receive(message) == 80
    assert protocol.parse_request(message) == Request(protocol.READ, 2**63 + 5)
    assert protocol.parse_read(message) == ReadRequest(9, 5 << 40, 4096, pid=77)


def test_an_interrupt_names_a_request() -> None:
    """The one that nobody waits for any more."""
    message = bytearray(request(protocol.INTERRUPT, 4, struct.pack("=Q", 2**63 + 7)))
    assert protocol.parse_interrupt(message) == 2**63 + 7


def test_answers(ends: tuple[Device, socket.socket]) -> None:
    """Bytes from several places in one message, an errno as a negative number."""
    device, kernel = ends
    device.answer(7, [memoryview(b"ab"), memoryview(b"cde")], 5)
    assert kernel.recv(100) == struct.pack("=IiQ", 21, 0, 7) + b"abcde"
    device.refuse(8, errno.ESTALE)
    assert kernel.recv(100) == struct.pack("=IiQ", 16, -errno.ESTALE, 8)
    device.send(b"whole")
    assert kernel.recv(100) == b"whole"


def test_nobody_is_left_to_answer() -> None:
    """The request was interrupted or the mount is gone: that is no error of ours."""
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    Device(writing).refuse(1, errno.EIO)


def test_init_is_improved() -> None:
    """Parallel look-ups and reads of a megabyte; all else stays as libfuse said it."""
    body = struct.pack("=IIIIHHI", 7, 19, 131072, 0x11, 256, 192, 131072)
    answer = struct.pack("=IiQ", 40, 0, 3) + body
    improved = improve_init(answer)
    length, error, unique = struct.unpack_from("=IiQ", improved)
    assert (length, error, unique) == (len(improved), 0, 3) == (80, 0, 3)
    fields = struct.unpack_from("=IIIIHHIIH", improved, 16)
    assert fields == (7, 19, 131072, 0x11 | 1 << 18 | 1 << 22, 256, 192, 131072, 0, 256)
    assert not any(improved[46:])


@pytest.mark.parametrize("answer", [b"", b"x" * 20, struct.pack("=IiQ", 40, -71, 3) + bytes(24)])
def test_a_refused_or_foreign_init_is_left_alone(answer: bytes) -> None:
    """What is not as libfuse 2.9 writes it is not ours to change."""
    assert improve_init(answer) == answer


def entry_out(error: int = 0) -> bytes:
    """libfuse's answer to LOOKUP: ``struct fuse_out_header`` and ``struct fuse_entry_out``."""
    if error:
        return struct.pack("=IiQ", 16, -error, 7)
    body = struct.pack("=QQQQII", 5, 1, 3600, 3600, 1, 2) + bytes(range(88))
    return struct.pack("=IiQ", 16 + len(body), 0, 7) + body


def test_a_look_up_whose_attributes_the_kernel_has_to_ask_for() -> None:
    """They are valid for no time; the name stays valid, and nothing else changes."""
    before, after = entry_out(), unsettle_lookup(entry_out())
    assert struct.unpack_from("=QQQQII", after, 16) == (5, 1, 3600, 0, 1, 0)
    assert (after[:16], after[56:]) == (before[:16], before[56:])


def test_an_error_stays_an_error() -> None:
    """There is nothing to ask for."""
    assert unsettle_lookup(entry_out(errno.ENOENT)) == entry_out(errno.ENOENT)
    assert unsettle_lookup(b"short") == b"short"
