# SPDX-License-Identifier: Apache-2.0
"""Exports into a folder: sealed parts by workers, names and manifest by the client."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from backlotfs.cluster.folder import FolderTarget
from backlotfs.cluster.tasks import Checks
from backlotfs.cluster.worker import destination_problem
from backlotfs.emulator import Fault
from backlotfs.export.destination import MANIFEST, WORKSPACE, Destination
from backlotfs.export.exporter import State
from backlotfs.export.file_copy import PART, part_key
from tests.conftest import Serve
from tests.support.expected_bytes import assert_same_bytes, origin_bytes
from tests.support.made_assets import MIB, video
from tests.support.request_log import ended_requests
from tests.unit.cluster.conftest import Opened
from tests.unit.cluster.local_workers import states

REEL, CLIP, EMPTY = video("reel.mov", 5 * MIB + 7), video("clip.mov", 1000), video("empty.mov", 0)
NAMES = {"clip.mov", "empty.mov", "reel.mov"}


def manifest_of(folder: Path) -> dict[str, str]:
    """Name to digest."""
    lines = (folder / MANIFEST).read_text().splitlines()
    return {line[66:]: line[:64] for line in lines}


def test_a_library_is_copied_with_times_and_a_manifest(
    serve: Serve, exports: Opened, tmp_path: Path
) -> None:
    """As one machine's export leaves it: no workspace, and digests that sha256sum computes."""
    found = exports(serve(REEL, CLIP, EMPTY))
    assert states(found.into_folder(tmp_path)) == dict.fromkeys(NAMES, State.COPIED)
    for asset in (REEL, CLIP, EMPTY):
        name = str(asset.original_file_name)
        assert_same_bytes(tmp_path / name, asset)
        assert manifest_of(tmp_path)[name] == hashlib.sha256(origin_bytes(asset)).hexdigest()
        size = found.library.stack.namespace.attributes(
            found.library.stack.namespace.find(f"/{name}"), found.library.waiter
        )
        assert int((tmp_path / name).stat().st_mtime) == size.mtime_s
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, *NAMES}
    assert found.moved_bytes == 5 * MIB + 1007


def test_a_second_export_copies_nothing_and_asks_nothing(
    serve: Serve, exports: Opened, tmp_path: Path
) -> None:
    """Neither the API nor the source host hears of a file that is there."""
    emulator = serve(REEL, CLIP, EMPTY)
    found = exports(emulator)
    found.into_folder(tmp_path)
    before = len(ended_requests(emulator)), len(found.workers.arguments)
    assert states(found.into_folder(tmp_path)) == dict.fromkeys(NAMES, State.UNCHANGED)
    assert (len(ended_requests(emulator)), len(found.workers.arguments)) == before


def test_each_asset_costs_one_call(serve: Serve, exports: Opened, tmp_path: Path) -> None:
    """Version and URL come by one call of the API, and the workers make none."""
    emulator = serve(REEL, CLIP)
    library = exports(emulator)
    library.into_folder(tmp_path)
    assert [library.library.url_requests(asset) for asset in (REEL, CLIP)] == [1, 1]


def test_an_expired_url_is_renewed_by_the_client(
    serve: Serve, exports: Opened, tmp_path: Path
) -> None:
    """The worker says that it is refused, and gets another in a second task."""
    emulator = serve(REEL)
    library = exports(emulator)
    expired = Fault.status(403, body="<Error><Message>Request has expired</Message></Error>")
    emulator.faults.add(expired, route="source", skip=1, times=1)  # the first is the probe's
    assert states(library.into_folder(tmp_path)) == {"reel.mov": State.COPIED}
    assert_same_bytes(tmp_path / "reel.mov", REEL)
    assert len(library.workers.arguments) == 2
    assert library.library.url_requests(REEL) == 2


def test_a_source_that_is_gone_is_named_and_the_others_are_copied(
    serve: Serve, exports: Opened, tmp_path: Path
) -> None:
    """Nothing of it is in the destination or the manifest."""
    emulator = serve(REEL, CLIP)
    emulator.faults.add(Fault.status(404), route="source", embed_code=CLIP.embed_code)
    outcomes = exports(emulator).into_folder(tmp_path)
    assert states(outcomes) == {"clip.mov": State.FAILED, "reel.mov": State.COPIED}
    assert outcomes["clip.mov"].reason
    assert set(manifest_of(tmp_path)) == {"reel.mov"}


def test_a_lost_worker_costs_its_task_only(serve: Serve, exports: Opened, tmp_path: Path) -> None:
    """The task is done again; the other files have one each."""
    library = exports(serve(REEL, CLIP, EMPTY))
    library.workers.dying = {2}
    assert states(library.into_folder(tmp_path)) == dict.fromkeys(NAMES, State.COPIED)
    assert len(library.workers.arguments) == 4


def test_a_part_that_another_process_still_writes_is_left_to_it(
    serve: Serve, exports: Opened, tmp_path: Path
) -> None:
    """A worker that was given up has the file open: what it writes later reaches no copy."""
    library = exports(serve(REEL))
    with Destination.open(tmp_path, make=True) as place, place.claim() as workspace:
        descriptor = workspace.open_alone(part_key("reel.mov") + PART)
        os.write(descriptor, b"old")
    assert states(library.into_folder(tmp_path)) == {"reel.mov": State.COPIED}
    os.pwrite(descriptor, b"late", 0)
    os.close(descriptor)
    assert_same_bytes(tmp_path / "reel.mov", REEL)


def test_files_of_others_are_not_replaced(serve: Serve, exports: Opened, tmp_path: Path) -> None:
    """Unless that is asked for."""
    (tmp_path / "clip.mov").write_bytes(b"precious")
    library = exports(serve(CLIP))
    assert states(library.into_folder(tmp_path)) == {"clip.mov": State.FAILED}
    assert (tmp_path / "clip.mov").read_bytes() == b"precious"
    assert states(library.into_folder(tmp_path, overwrite=True)) == {"clip.mov": State.COPIED}


def test_a_worker_that_sees_another_folder_says_so(tmp_path: Path) -> None:
    """Else it would fill a disk of its own, where nobody looks."""
    with Destination.open(tmp_path, make=True) as place, place.claim() as workspace:
        target = FolderTarget(place, workspace, overwrite=False)
        assert destination_problem(target.checks) == ""
        elsewhere = Checks(None, str(tmp_path), "probe-another")
        assert "sees another folder" in destination_problem(elsewhere)
        missing = Checks(None, str(tmp_path / "missing"), target.checks.proof)
        assert "sees another folder" in destination_problem(missing)
        target.close()
    assert not (tmp_path / WORKSPACE).exists()


def test_no_argument_of_a_task_shows_its_url(serve: Serve, exports: Opened, tmp_path: Path) -> None:
    """Dask prints arguments on its dashboard and in its logs."""
    library = exports(serve(REEL, CLIP))
    library.into_folder(tmp_path)
    assert len(library.workers.arguments) == 2
    for shown in library.workers.arguments:
        assert "Signature" not in shown
        assert "Expires" not in shown
        assert library.library.account.api_secret not in shown


def test_what_a_worker_left_of_a_large_file_is_kept(
    serve: Serve, exports: Opened, tmp_path: Path
) -> None:
    """A task that ends in the middle leaves a part with a checkpoint; the next one continues."""
    large = video("large.mov", 24 * MIB)
    emulator = serve(large)
    library = exports(emulator)
    emulator.faults.add(Fault.status(404), route="source", offsets=(16 * MIB, 24 * MIB))
    assert states(library.into_folder(tmp_path)) == {"large.mov": State.FAILED}
    emulator.faults.clear()
    before = len(library.library.gets(large))
    assert states(library.into_folder(tmp_path)) == {"large.mov": State.COPIED}
    assert_same_bytes(tmp_path / "large.mov", large)
    asked = [str(asked) for asked, _ in library.library.gets(large)[before:]]
    assert asked
    assert all(int(one.removeprefix("bytes=").partition("-")[0]) > 0 for one in asked)
