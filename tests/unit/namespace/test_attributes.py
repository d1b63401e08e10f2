"""What ``stat``, ``statfs`` and ``getxattr`` say of a file or folder."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from backlotfs.errors import NoAttribute, NotSupported
from backlotfs.namespace.attributes import (
    CacheState,
    directory_attributes,
    extended_attributes,
    file_attributes,
    value_of,
)
from tests.unit.fakes import asset


def test_a_file() -> None:
    """A source in one place."""
    found = file_attributes(9, 513, mtime_s=5, umask=0o022)
    assert (found.inode, found.size, found.mtime_s, found.nlink) == (9, 513, 5, 1)


@pytest.mark.parametrize(
    ("umask", "file_mode", "dir_mode"),
    [(0o022, 0o444, 0o555), (0, 0o444, 0o555), (0o077, 0o400, 0o500), (0o777, 0, 0)],
)
def test_modes(umask: int, file_mode: int, dir_mode: int) -> None:
    """Nothing is ever writable; the umask takes the rest."""
    as_file = file_attributes(1, 1000, mtime_s=0, umask=umask)
    as_dir = directory_attributes(1, mtime_s=0, umask=umask)
    assert as_file.mode == stat.S_IFREG | file_mode
    assert as_dir.mode == stat.S_IFDIR | dir_mode


def test_links_of_a_folder() -> None:
    """2 and one per sub-folder, as ``find`` expects."""
    assert directory_attributes(1, mtime_s=0, umask=0).nlink == 2
    assert directory_attributes(1, mtime_s=0, umask=0, subdirs=3).nlink == 5


FULL = replace(
    asset("E1", "clip.mov", title="Harbour, take 2", created_at_s=1_456_868_592),
    updated_at_s=1_456_868_965,
    duration_ms=61583,
    description="dés",
    external_id="x-1",
)
HERE = CacheState(65536, True, "EIO: source host h answers 503", 1_456_868_592.5)


def test_all_of_them() -> None:
    """What the library says, as UTF-8 text."""
    assert extended_attributes(FULL, "clip.mp4", HERE) == {
        "user.backlot.embed_code": b"E1",
        "user.backlot.name": b"Harbour, take 2",
        "user.backlot.description": "dés".encode(),
        "user.backlot.original_file_name": b"clip.mov",
        "user.backlot.asset_type": b"video",
        "user.backlot.status": b"live",
        "user.backlot.external_id": b"x-1",
        "user.backlot.duration_ms": b"61583",
        "user.backlot.created_at": b"2016-03-01T21:43:12Z",
        "user.backlot.updated_at": b"2016-03-01T21:49:25Z",
        "user.backlotfs.cached": b"65536",
        "user.backlotfs.last_error": b"2016-03-01T21:43:12Z EIO: source host h answers 503",
        "user.backlotfs.pinned": b"1",
        "user.mime_type": b"video/mp4",
    }


def test_what_is_not_known_is_left_out() -> None:
    """No empty values, and no date where none can be told."""
    bare = asset("E1", None, asset_type="", status="", created_at_s=0, updated_at_s=10**15)
    assert extended_attributes(bare, "clip", CacheState()) == {
        "user.backlot.embed_code": b"E1",
        "user.backlotfs.cached": b"0",
        "user.backlotfs.pinned": b"0",
    }


def test_half_characters() -> None:
    """A title with a surrogate still has a value."""
    half = asset("E1", title="a\ud800")
    assert extended_attributes(half, "x", CacheState())["user.backlot.name"] == b"a?"


@pytest.mark.parametrize(
    "name", ["security.capability", "system.posix_acl_access", "trusted.x", "user", "", "User.x"]
)
def test_outside_user(name: str) -> None:
    """ENOTSUP: with ENODATA, ``ls -l`` would ask for each file four times."""
    with pytest.raises(NotSupported):
        value_of({}, name)


def test_values() -> None:
    """What is there, and ENODATA for what is not."""
    assert value_of({"user.a": b"1"}, "user.a") == b"1"
    with pytest.raises(NoAttribute, match=r"user\.b"):
        value_of({"user.a": b"1"}, "user.b")
