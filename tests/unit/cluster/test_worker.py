# SPDX-License-Identifier: Apache-2.0
"""What runs on workers, one piece at a time: URLs, parts, and objects that are read back."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backlotfs.cluster import worker
from backlotfs.cluster.objects import Objects
from backlotfs.cluster.pool import SchedulerLost
from backlotfs.cluster.tasks import CheckTask, Failed, Masked, Reach, Source, Trouble, WrittenRange
from backlotfs.cluster.worker import TaskUrls, UrlNeeded
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.export.destination import Destination, UnsafeDestination, Workspace
from backlotfs.export.file_copy import PART, MadePart, Part, Version, part_key, publish_part
from backlotfs.export.manifest import ManifestWriter
from backlotfs.source.version import SourceVersion
from tests.conftest import Serve
from tests.support.made_assets import video
from tests.unit.cluster.conftest import Opened
from tests.unit.cluster.local_workers import WINDOW

CODE = "a" * 32
REACH = Reach("http://api", (), None, None)


def source(url: str, made_ns: int, *, is_renewed: bool = False) -> Source:
    """A source with this URL, which the client got at this time."""
    return Source(REACH, SourceVersion(CODE, 10, "tag", None), 0, Masked(url), made_ns, is_renewed)


def test_a_queued_task_does_not_bring_its_old_url_back() -> None:
    """Of the tasks of one asset the one with the latest URL counts."""
    urls, clock = TaskUrls(SystemClock()), SystemClock()
    old, new = "http://host/old?Signature=1", "http://host/new?Signature=2"
    urls.put(source(old, 1))
    urls.invalidate(CODE, urls.resolve(CODE, Deadline(1, clock)))
    with pytest.raises(UrlNeeded):
        urls.resolve(CODE, Deadline(1, clock))
    urls.put(source(new, 2, is_renewed=True))
    urls.put(source(old, 1))
    assert urls.resolve(CODE, Deadline(1, clock)).url == new


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Of an empty folder."""
    with Destination.open(tmp_path / "dest", make=True) as opened, opened.claim() as claimed:
        yield claimed


def unfinished(workspace: Workspace, validator: str | None) -> int:
    """The length of the part of a file that an earlier worker left of the version."""
    part = Part(workspace, "reel.mov", Version(100, 5), lambda: None, validator)
    length_bytes = part.length_bytes
    if not length_bytes:
        part.write(memoryview(b"x" * 50))
    part.keep()
    part.close()
    return length_bytes


def test_a_part_of_another_version_is_not_continued(workspace: Workspace) -> None:
    """Also if size and time are the same; where nobody knows the validator, these count."""
    assert [unfinished(workspace, one) for one in ("first", "first", None)] == [0, 50, 50]
    assert unfinished(workspace, "second") == 0


def test_a_part_that_is_written_to_is_not_published(tmp_path: Path) -> None:
    """A worker that was given up would change it after it was recorded."""
    with Destination.open(tmp_path / "dest", make=True) as opened, opened.claim() as workspace:
        manifest = ManifestWriter(opened, workspace)
        part = Part(workspace, "reel.mov", Version(4, 10**9), lambda: None)
        part.write(memoryview(b"reel"))
        sealed = part.seal()
        part.leave()
        part.close()
        made = MadePart(part.digest, sealed.st_size, sealed.st_mtime_ns)
        file = workspace.open_for_reading(part_key("reel.mov") + PART)
        assert file is not None

        def publish() -> None:
            publish_part("reel.mov", made, 10**9, opened, workspace, manifest, expected=None)

        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.raises(UnsafeDestination, match="as its worker left it"):
                publish()
        assert manifest.records.digests == {}
        publish()
        manifest.close()
    assert (tmp_path / "dest" / "reel.mov").read_bytes() == b"reel"


def test_an_object_of_several_ranges_that_differs_is_copied_anew(memory: Objects) -> None:
    """It is removed: reading it again would not help."""
    memory.put("reel.mov", b"damaged")
    written = WrittenRange(7, hashlib.sha256(b"as sent").hexdigest(), "tag")
    found = worker.check_object(CheckTask(memory.url, "reel.mov", (written,)))
    assert isinstance(found, Failed)
    assert found.trouble is Trouble.ANEW
    assert memory.get("reel.mov") is None


def test_a_lost_scheduler_ends_the_export(
    serve: Serve, exports: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: no other asset can be copied either."""
    library = exports(serve(*(video(f"{number}.mov", 10) for number in range(20))))
    calls: list[str] = []

    def run(kind: str, *_: Any) -> None:
        calls.append(kind)
        raise SchedulerLost("the scheduler cannot be reached any more")

    monkeypatch.setattr(library.workers, "run", run)
    with pytest.raises(SchedulerLost):
        library.into_folder(tmp_path / "copy")
    assert len(calls) <= WINDOW
