# SPDX-License-Identifier: Apache-2.0
"""What ``stat``, ``statfs`` and ``getxattr`` say of a file or folder."""

from __future__ import annotations

import stat
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backlotfs.api.records import Asset
from backlotfs.catalog.db.captions import Caption
from backlotfs.config.settings import NameMode
from backlotfs.errors import NoAttribute, NotSupported
from backlotfs.namespace.attributes import (
    MAX_VALUE_BYTES,
    CacheState,
    directory_attributes,
    extended_attributes,
    file_attributes,
    listed,
    value_of,
)
from backlotfs.namespace.namespace import Namespace, ReadState, TreeOptions
from backlotfs.namespace.providers.sidecars import CaptionSidecars, JsonSidecars
from backlotfs.namespace.providers.thumbnails import Thumbnails
from tests.fakes.records import asset, row
from tests.fakes.workers import waiter
from tests.unit.namespace.around import Around


def test_a_file() -> None:
    """A source in one place."""
    found = file_attributes(9, 513, mtime_s=5, umask=0o022)
    assert (found.inode, found.size, found.mtime_s, found.nlink) == (9, 513, 5, 1)


@pytest.mark.parametrize(
    ("umask", "file_mode", "dir_mode"),
    [(0o022, 0o644, 0o755), (0, 0o666, 0o777), (0o077, 0o600, 0o700), (0o777, 0, 0)],
)
def test_modes(umask: int, file_mode: int, dir_mode: int) -> None:
    """Those of new files and folders, from which the umask takes bits; nothing is executable."""
    as_file = file_attributes(1, 1000, mtime_s=0, umask=umask)
    as_dir = directory_attributes(1, mtime_s=0, umask=umask)
    assert as_file.mode == stat.S_IFREG | file_mode
    assert as_dir.mode == stat.S_IFDIR | dir_mode


def test_links_of_a_folder() -> None:
    """2 and one per sub-folder, as ``find`` expects."""
    assert directory_attributes(1, mtime_s=0, umask=0).nlink == 2
    assert directory_attributes(1, mtime_s=0, umask=0, subdirs=3).nlink == 5


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (-11_644_473_600, 0),  # 1601, where Windows begins
        (-1, 0),
        (0, 0),
        (1, 1),
        (2**31 - 1, 2**31 - 1),  # 2038-01-19
        (2**31, 2**31),
        (2**32 - 1, 2**32 - 1),  # 2106-02-07
        (2**32, 2**32 - 1),
        (253_402_300_799, 2**32 - 1),  # the end of 9999
        (2**63, 2**32 - 1),
    ],
)
def test_times_that_disks_can_hold(said: int, shown: int) -> None:
    """Any other time is the nearest of these, for files and folders alike."""
    assert file_attributes(9, 1, mtime_s=said, umask=0).mtime_s == shown
    assert directory_attributes(9, mtime_s=said, umask=0).mtime_s == shown


FULL = replace(
    asset("E1", "clip.mov", title="Harbour, take 2", created_at_s=1_456_868_592),
    updated_at_s=1_456_868_965,
    duration_ms=61583,
    description="dés",
    external_id="x-1",
)
HERE = CacheState(65536, True, "EIO: source host h answers 503", 1_456_868_592.5, True)


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
        "user.backlotfs.passthrough": b"1",
        "user.backlotfs.pinned": b"1",
        "user.mime_type": b"video/mp4",
    }


def test_what_is_not_known_is_left_out() -> None:
    """No empty values, and no date where none can be told."""
    bare = asset("E1", None, asset_type="", status="", created_at_s=0, updated_at_s=10**15)
    assert extended_attributes(bare, "clip", CacheState()) == {
        "user.backlot.embed_code": b"E1",
        "user.backlotfs.cached": b"0",
        "user.backlotfs.passthrough": b"0",
        "user.backlotfs.pinned": b"0",
    }


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        # what the library says, the same on every host: a copy keeps it
        ("user.backlot.embed_code", True),
        ("user.backlot.name", True),
        ("user.backlot.description", True),
        ("user.backlot.original_file_name", True),
        ("user.backlot.asset_type", True),
        ("user.backlot.status", True),
        ("user.backlot.external_id", True),
        ("user.backlot.duration_ms", True),
        ("user.backlot.created_at", True),
        ("user.backlot.updated_at", True),
        ("user.mime_type", True),  # by the name of the file
        # what this mount knows, which changes as files are read: only getxattr tells
        ("user.backlotfs.cached", False),
        ("user.backlotfs.last_error", False),
        ("user.backlotfs.passthrough", False),
        ("user.backlotfs.pinned", False),
    ],
)
def test_which_attributes_are_listed(name: str, shown: bool) -> None:
    """Every attribute that there is, and whether listxattr(2) names it."""
    found = extended_attributes(FULL, "clip.mp4", HERE)
    assert name in found
    assert (name in listed(found)) == shown


def test_no_attribute_is_without_a_decision() -> None:
    """The table above has them all."""
    (marker,) = test_which_attributes_are_listed.pytestmark  # type: ignore[attr-defined]
    assert {name for name, _ in marker.args[1]} == set(extended_attributes(FULL, "a.mp4", HERE))


class Described(Around):
    """An `Around` whose asset ``A`` has a value for every attribute, as long as there can be."""

    def record(self, embed_code: str) -> Asset | None:
        text = "字" * 70_000
        full = replace(FULL, title=text, description=text, external_id=text)
        return replace(full, preview_image_url="https://i/a.jpg") if embed_code == "A" else None


OF_A_SIDECAR = {"user.backlot.embed_code", "user.mime_type"}


@pytest.mark.parametrize(
    ("path", "shown", "by_name"),
    [
        ("/", set(), set()),
        ("/flat", set(), set()),
        ("/dates/2016/03", set(), set()),
        ("/flat/.sh_thumbnails", set(), set()),
        ("/flat/.sh_thumbnails/large", set(), set()),
        *[
            (
                f"{folder}/clip.mov",
                {*OF_A_SIDECAR, "user.backlot.name", "user.backlot.description",
                 "user.backlot.original_file_name", "user.backlot.asset_type",
                 "user.backlot.status", "user.backlot.external_id", "user.backlot.duration_ms",
                 "user.backlot.created_at", "user.backlot.updated_at"},
                {f"user.backlotfs.{name}" for name in ("cached", "passthrough", "pinned")},
            )
            for folder in ("/flat", "/dates/2016/03")
        ],
        ("/flat/deleted.mov", set(), set()),  # still listed; its record has gone
        ("/flat/clip.mov.json", OF_A_SIDECAR, set()),
        ("/flat/clip.mov.vtt", OF_A_SIDECAR, set()),
        ("/flat/.sh_thumbnails/large/clip.mov.png", set(), set()),
    ],
)  # fmt: skip
def test_what_has_which_attributes(path: str, shown: set[str], by_name: set[str]) -> None:
    """Every kind of folder and file: what listxattr(2) names, and what getxattr(2) knows beside."""
    march_s = FULL.created_at_s
    around = Described(
        row("A", created_at_s=march_s), row("B", "deleted.mov", created_at_s=march_s)
    )
    captions: Any = SimpleNamespace(
        version=0, known=lambda code: Caption("vtt", 7, 1500) if code == "A" else None
    )
    pictures: Any = SimpleNamespace(
        sizes=("large",),
        named=lambda name: {f"{name}.png": f"./{name}"},
        png=lambda _wanted, _waiter: b"",
    )
    parts = around.parts
    namespace = around.shown(
        JsonSidecars(parts, parts),
        CaptionSidecars(captions),
        Thumbnails(parts, parts, pictures, listed=False),
        layouts=("flat", "dates"),
    )
    namespace.attributes(namespace.find(path), waiter)  # it is there
    found = namespace.xattrs(namespace.find(path))
    assert set(listed(found)) == shown
    own_left_out = namespace.xattrs(namespace.find(path), own=False)
    assert own_left_out == {name: found[name] for name in shown}
    for name in shown | by_name:
        assert namespace.xattr(namespace.find(path), name) == found[name]
        assert 0 < len(found[name]) <= MAX_VALUE_BYTES
    every = extended_attributes(FULL, "clip.mov", HERE)
    for name in every.keys() - shown - by_name:
        with pytest.raises(NoAttribute):
            namespace.xattr(namespace.find(path), name)
    assert ext4_bytes({name: found[name] for name in shown}) <= 4096


def test_a_copy_of_attributes_does_not_ask_what_is_cached() -> None:
    """It takes a scan of the cache: only who asks for one of the mount's own attributes waits."""
    asked: list[str] = []

    def cached(code: str) -> CacheState:
        asked.append(code)
        return HERE

    around = Around(row("A"))
    parts = around.parts
    namespace = Namespace(
        parts, parts, parts, TreeOptions(("flat",), NameMode.ORIGINAL, 0o022, False),
        read_state=ReadState(cached),
    )  # fmt: skip
    found = namespace.find("/clip.mov")
    for name in listed(namespace.xattrs(found, own=False)):
        namespace.xattr(found, name)
    assert asked == []
    assert namespace.xattr(found, "user.backlotfs.cached") == b"65536"
    assert asked == ["A"]


def ext4_bytes(values: dict[str, bytes]) -> int:
    """What a block of ext4 needs for them: entries of 16 bytes, names and values by fours."""
    names = (name.removeprefix("user.") for name in values)
    four = [-(-len(part) // 4) * 4 for part in (*names, *values.values())]
    return 32 + sum(four) + 16 * len(values) + 4


@pytest.mark.parametrize("letter", ["x", "é", "字", "😀"])
@pytest.mark.parametrize("chars", [200, 2048, 2049, 6000, 70_000])
@pytest.mark.parametrize(
    "long",
    [
        {"description"}, {"title"}, {"original_file_name"}, {"external_id"},
        {"description", "title", "original_file_name", "external_id", "status", "asset_type"},
    ],
)  # fmt: skip
def test_values_have_room_on_any_disk(letter: str, chars: int, long: set[str]) -> None:
    """Cut between two characters where they are too long; the others are whole."""
    text = letter * chars
    fields: dict[str, Any] = dict.fromkeys(long, text)
    record = replace(FULL, **fields)
    found = extended_attributes(record, "clip.mp4", HERE)
    plain = extended_attributes(FULL, "clip.mp4", HERE)
    values = {name: found[name] for name in listed(found)}
    assert found.keys() == plain.keys()
    assert ext4_bytes(values) <= 4096
    cut = {"user.backlot." + {"title": "name"}.get(field, field) for field in long}
    assert {name: found[name] for name in found.keys() - cut} == {
        name: plain[name] for name in plain.keys() - cut
    }
    for name in cut:
        assert text.startswith(found[name].decode())
        assert len(found[name]) <= MAX_VALUE_BYTES
        if len(long) == 1:
            assert len(found[name]) > min(len(text.encode()), MAX_VALUE_BYTES) - len("😀".encode())


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
