"""Names in the root, taken back from the kernel."""

from __future__ import annotations

import socket

import pytest

from backlotfs.kernel import fuse_library, invalidation
from backlotfs.kernel.invalidation import EntryInvalidator
from tests.fakes.workers import PATIENCE_S
from tests.unit.kernel.made_fuse import Function, made_fuse


def message(name: bytes) -> bytes:
    """`struct fuse_out_header` and `struct fuse_notify_inval_entry_out`, written out."""
    body = (1).to_bytes(8, "little") + len(name).to_bytes(4, "little") + bytes(4) + name + b"\0"
    return (16 + len(body)).to_bytes(4, "little") + (3).to_bytes(4, "little") + bytes(8) + body


#: `struct fuse_out_header` and `struct fuse_notify_inval_inode_out`: the root, its attributes only.
ROOT = (
    *((40).to_bytes(4, "little"), (2).to_bytes(4, "little"), bytes(8)),
    *((1).to_bytes(8, "little"), (-1).to_bytes(8, "little", signed=True), bytes(8)),
)


def test_names_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, as bytes, with the root's time; before the device is known and at its end, not."""
    fuse = made_fuse()
    device, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with device, kernel:
        kernel.settimeout(PATIENCE_S)
        fuse._libfuse.fuse_chan_fd = Function(device.fileno())
        monkeypatch.setattr(invalidation, "load_fuse", lambda: fuse)
        invalidator = EntryInvalidator()
        invalidator.invalidate(["too early"])
        invalidator.connect()
        invalidator.invalidate(["a.mov", "日.mov"])
        invalidator.invalidate(["b\udcff"])
        for name in (b"a.mov", "日.mov".encode(), None, b"b\xff", None):
            assert kernel.recv(1000) == (message(name) if name else b"".join(ROOT))
        device.close()
        invalidator.disconnect()
        invalidator.invalidate(["too late"])
        assert kernel.recv(1000) == b"", "our own descriptor is closed"
    assert fuse._libfuse.fuse_get_session.calls == [(77,)]
    assert fuse._libfuse.fuse_chan_fd.calls == [(99,)]


def test_interruption_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """As libfuse says, on each call."""
    fuse = made_fuse()
    monkeypatch.setattr(fuse_library, "load_fuse", lambda: fuse)
    interrupted = fuse_library.interruption_check()
    assert not interrupted()
    fuse._libfuse.fuse_interrupted.answer = 1
    assert interrupted()
