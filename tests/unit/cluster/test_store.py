# SPDX-License-Identifier: Apache-2.0
"""Exports into an object store: verified by reading back, continued by a journal of objects."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from fsspec import register_implementation
from fsspec.implementations.memory import MemoryFileSystem

from backlotfs.cluster import store, worker
from backlotfs.cluster.objects import Objects, objects_at
from backlotfs.cluster.store import Patience, StoreManifest, planned_objects, ranges_of
from backlotfs.cluster.tasks import Masked
from backlotfs.cluster.verifying import StoredCopy
from backlotfs.config.settings import MIB
from backlotfs.errors import SettingsError
from backlotfs.export.destination import MANIFEST, TIMES, WORKSPACE
from backlotfs.export.exporter import State
from backlotfs.export.items import Item
from backlotfs.export.verifying import check_files
from tests.conftest import Serve
from tests.support.expected_bytes import origin_bytes
from tests.support.made_assets import video
from tests.unit.cluster.conftest import Opened
from tests.unit.cluster.local_workers import states

REEL, CLIP, EMPTY = video("reel.mov", 5 * MIB + 7), video("clip.mov", 1000), video("empty.mov", 0)
NAMES = {"clip.mov", "empty.mov", "reel.mov"}


def manifest_of(objects: Objects) -> dict[str, str]:
    """Name to digest."""
    lines = (objects.get(MANIFEST) or b"").decode().splitlines()
    return {line[66:]: line[:64] for line in lines}


def test_a_library_is_copied_with_a_manifest(
    serve: Serve, exports: Opened, memory: Objects
) -> None:
    """Nothing else is left there."""
    outcomes = exports(serve(REEL, CLIP, EMPTY)).into_store(memory)
    assert states(outcomes) == dict.fromkeys(NAMES, State.COPIED)
    for asset in (REEL, CLIP, EMPTY):
        name, data = str(asset.original_file_name), origin_bytes(asset)
        assert memory.get(name) == data
        assert manifest_of(memory)[name] == hashlib.sha256(data).hexdigest()
    left = {path.rpartition("/")[2] for path in memory.fs.find(memory.root)}
    assert left == {MANIFEST, TIMES, *NAMES}


def test_a_second_export_copies_nothing(serve: Serve, exports: Opened, memory: Objects) -> None:
    """The time that the store shows and that of the source are those of the first export."""
    library = exports(serve(REEL, CLIP, EMPTY))
    library.into_store(memory)
    tasks = len(library.workers.arguments)
    assert states(library.into_store(memory)) == dict.fromkeys(NAMES, State.UNCHANGED)
    assert len(library.workers.arguments) == tasks


def test_objects_of_others_are_not_replaced(serve: Serve, exports: Opened, memory: Objects) -> None:
    """Unless that is asked for."""
    memory.put("clip.mov", b"precious")
    library = exports(serve(CLIP))
    assert states(library.into_store(memory)) == {"clip.mov": State.FAILED}
    assert memory.get("clip.mov") == b"precious"
    assert manifest_of(memory) == {}
    assert states(library.into_store(memory, overwrite=True)) == {"clip.mov": State.COPIED}


class ForgetfulFileSystem(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store that keeps other bytes than it was given, so often."""

    protocol = "memory"
    cachable = False
    wrong: int = 0

    def cat_file(self, path: str, start: Any = None, end: Any = None, **more: Any) -> Any:
        """Read; the first byte of a clip is wrong."""
        data = super().cat_file(path, start, end, **more)
        if path.endswith("clip.mov") and ForgetfulFileSystem.wrong > 0:
            ForgetfulFileSystem.wrong -= 1
            return bytes([data[0] ^ 1]) + data[1:]
        return data


@pytest.fixture
def forgetful(memory: Objects, monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    """Tasks and the client use such a store."""
    register_implementation("memory", ForgetfulFileSystem, clobber=True)
    found = Objects(memory.url)
    monkeypatch.setattr(worker, "objects_at", lambda _url: found)
    yield found
    register_implementation("memory", MemoryFileSystem, clobber=True)


def test_other_bytes_than_were_written_are_noticed(
    serve: Serve, exports: Opened, forgetful: Objects
) -> None:
    """The object is written again."""
    ForgetfulFileSystem.wrong = 1
    library = exports(serve(CLIP))
    assert states(library.into_store(forgetful)) == {"clip.mov": State.COPIED}
    assert len(library.workers.arguments) == 2


def test_what_never_reads_back_is_not_declared(
    serve: Serve, exports: Opened, forgetful: Objects
) -> None:
    """It is named, and is neither in the store nor in the manifest."""
    ForgetfulFileSystem.wrong = 1000
    outcomes = exports(serve(CLIP, REEL)).into_store(forgetful)
    assert states(outcomes) == {"clip.mov": State.FAILED, "reel.mov": State.COPIED}
    assert "other bytes" in str(outcomes["clip.mov"].reason)
    assert not forgetful.fs.exists("/archive/lib/clip.mov")
    assert set(manifest_of(forgetful)) == {"reel.mov"}


def _patience(objects: Objects) -> Patience:
    return Patience(objects.url, threading.Event())


def test_an_export_that_was_killed_is_continued(
    serve: Serve, exports: Opened, memory: Objects
) -> None:
    """What its journal says was verified is kept; what it had begun is its own to replace."""
    library = exports(serve(CLIP, REEL))
    library.into_store(memory)
    before = memory.get(TIMES)
    memory.remove(MANIFEST)
    memory.remove(TIMES)
    first, second = (before or b"").splitlines()
    assert b"clip.mov" in first
    digest = hashlib.sha256(origin_bytes(CLIP)).hexdigest()
    manifest = StoreManifest(memory, _patience(memory))
    manifest.begin(["clip.mov", "reel.mov"])
    times = [int(part) for part in first.decode().strip("[]").split(",")[1:]]
    memory.put(
        f"{WORKSPACE}/journal-00000009-x-0",
        f'["copied", "clip.mov", "{digest}", 1000, {times[0]}, {times[1]}]\n'.encode(),
    )
    assert second
    outcomes = library.into_store(memory)
    assert states(outcomes) == {"clip.mov": State.UNCHANGED, "reel.mov": State.COPIED}
    assert set(manifest_of(memory)) == {"clip.mov", "reel.mov"}


def test_journals_are_read_in_the_order_of_their_exports(memory: Objects) -> None:
    """The later one counts; its number is higher than all that are there, also of nine digits."""
    for number, line in ((99_999_999, b'["copied", "a", "d1", 1, 1, 1]'), (2, b'["gone", "a"]')):
        memory.put(f"{WORKSPACE}/journal-{number:08d}-x-0", line)
    first = StoreManifest(memory, _patience(memory))
    assert first.records.digests == {"a": "d1"}
    first.replace("a")
    second = StoreManifest(memory, _patience(memory))
    assert (second.records.digests, second.begun) == ({}, {"a"})
    assert any(
        name.startswith(f"{WORKSPACE}/journal-100000000-") for name in memory.names(WORKSPACE)
    )


def test_a_copy_in_a_store_is_verified(serve: Serve, exports: Opened, memory: Objects) -> None:
    """An object that is gone, one with other bytes, and one of somebody else are named."""
    exports(serve(REEL, CLIP, EMPTY)).into_store(memory)
    assert _problems(memory) == {}
    memory.put("clip.mov", b"x" * 1000)
    memory.remove("empty.mov")
    memory.put("sub/other.txt", b"x")
    found = _problems(memory)
    assert found == {
        "clip.mov": "does not have the bytes of the manifest; remove it from the store, then "
        "export it again",
        "empty.mov": "is missing; export it again",
    }
    assert StoredCopy(memory).strangers() == ["sub/other.txt"]


def test_a_copy_with_another_size_than_its_source_is_a_problem(
    serve: Serve, exports: Opened, memory: Objects
) -> None:
    """It is not read for that."""
    exports(serve(CLIP)).into_store(memory)
    copy = StoredCopy(memory)
    problem = copy.check("clip.mov", copy.entries["clip.mov"], 1001, lambda _count: None)
    assert problem is not None
    assert problem.reason == "has 1000 bytes, its source 1001; export it again"


def _problems(objects: Objects) -> dict[str, str]:
    """Name to what is wrong with it."""
    copy = StoredCopy(objects)
    found = check_files(copy.check, copy.entries, {}, jobs=2, moved=lambda _count: None)
    return {name: problem.reason for name, problem in found if problem is not None}


def test_a_plan_writes_nothing(memory: Objects) -> None:
    """A foreign object is named, and nothing is put into the store."""
    memory.put("a.mov", b"x")
    plan = planned_objects(
        memory, [Item("a.mov", "a.mov", 1, 0), Item("b.mov", "b.mov", 2, 0)], overwrite=False
    )
    assert [outcome.state for outcome in plan] == [State.FAILED, State.PLANNED]
    assert memory.fs.find(memory.root) == ["/archive/lib/a.mov"]


@pytest.mark.parametrize(
    "size_bytes", [1, 64 * MIB, 64 * MIB + 1, 10_000 * 64 * MIB, 10_000 * 64 * MIB + 1, 5 * 2**40]
)
def test_ranges_cover_an_object_in_few_parts(size_bytes: int) -> None:
    """In order, without gaps; at most as many as S3 allows, and all but the last of whole MiB."""
    ranges = list(ranges_of(size_bytes))
    assert ranges[0][0] == 0
    assert ranges[-1][1] == size_bytes
    assert all(one[1] == other[0] for one, other in pairwise(ranges))
    assert len(ranges) <= store.MOST_RANGES
    assert all((stop - start) % MIB == 0 for start, stop in ranges[:-1])


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "://x"])
def test_an_unknown_scheme_is_one_sentence(url: str) -> None:
    """It says what can be written instead."""
    with pytest.raises(SettingsError, match="s3://"):
        objects_at(url)


def test_a_masked_text_is_shown_nowhere() -> None:
    """Neither alone nor inside something else."""
    masked = Masked("https://host/a?Signature=abc")
    assert "Signature" not in f"{masked} {masked!r} {[masked]} { {masked: 1} }"
