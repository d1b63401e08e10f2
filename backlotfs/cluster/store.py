# SPDX-License-Identifier: Apache-2.0
"""An object store as DEST: one object for each asset, verified by reading it back.

On S3 a large object is a multipart upload, whose parts come from several workers. The manifest and
the times are objects with the same names as in a folder. A store cannot append, so the journal is
many small objects in the workspace's folder. At the end the manifest is written, and then the
journal is removed. Lines of the journal are JSON:

- ``["begun", name, …]``: no object had these names; an object that has one later is of an export
- ``["copied", name, digest, size, time of the copy, time of the source]``
- ``["gone", name]``: an object that was exported before is about to be replaced
- ``["upload", name, id]``: an upload in parts was begun; ``["ended", id]``: it was ended or aborted

The names of a journal's objects contain a number: the highest number in the store, plus one. So
journals are read in the right order, even if the clocks of machines differ.

The time of a copy is the time that the store shows. A store has no locks: if two exports write to
the same place at the same time, this is not noticed.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from backlotfs.cluster.exporter import Send, TaskFailed
from backlotfs.cluster.library import Asset
from backlotfs.cluster.objects import Objects, ObjectState, reason_of
from backlotfs.cluster.pool import MOST_TASKS
from backlotfs.cluster.tasks import (
    Checks,
    CheckTask,
    Failed,
    Made,
    ObjectTask,
    RangeTask,
    Source,
    Trouble,
    WrittenRange,
)
from backlotfs.cluster.worker import check_object, copy_range, copy_to_object
from backlotfs.config.settings import MIB
from backlotfs.errors import SettingsError
from backlotfs.export.destination import (
    MANIFEST,
    PROBE,
    TIMES,
    WORKSPACE,
    is_reserved,
    reserved_reason,
)
from backlotfs.export.exporter import Outcome, Settled, State
from backlotfs.export.items import Item
from backlotfs.export.manifest import Records, format_line, parse_lines
from backlotfs.export.times import TimePair

T = TypeVar("T")

#: Bytes of one part of an upload, unless that makes more parts than S3 allows.
RANGE_BYTES, MOST_RANGES = 64 * MIB, 10_000
#: The lines are written after so many lines, or after this time. If the client is killed before,
#: the assets of the unwritten lines are copied again.
FLUSH_LINES, FLUSH_S = 1000, 30.0
#: The most requests of the client for the state of objects at the same time.
LOOKS_AT_ONCE = 32
#: The most attempts at a request of the client, and the pause after the first. Pauses get longer.
ATTEMPTS, RETRY_PAUSE_S = 5, 0.5
_JOURNAL = re.compile(rf"{re.escape(WORKSPACE)}/journal-(\d{{1,20}})-")


class Patience:
    """Calls a function that asks a store, and calls it again if it fails."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        """:param stop: if it is set, try again without pauses."""
        self._url = url
        self._stop = stop

    def __call__(self, ask: Callable[[], T]) -> T:
        """The result of ``ask``.

        :raises SettingsError: all attempts failed, the store refused access, or ``ask`` raised it.
        """
        failure: Exception | None = None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return ask()
            except SettingsError:
                raise
            except PermissionError as error:
                failure = error
                break
            except Exception as error:  # noqa: BLE001  # each store has errors of its own
                failure = error
            self._stop.wait(RETRY_PAUSE_S * attempt)
        raise SettingsError(
            f"the destination {self._url} cannot be used: {reason_of(failure)}; "
            "check its address and your rights, then run this again"
        )


def settled_object(
    item: Item, found: ObjectState | None, manifest: StoreManifest, *, overwrite: bool
) -> Settled:
    """Decide whether an item has to be copied. :param found: the object that has its name."""
    if is_reserved(item.name):
        return Settled(_failed(item, reserved_reason()))
    if found is None or item.name in manifest.begun:
        return Settled(None)
    records = manifest.records
    if item.name not in records.digests:
        if overwrite:
            return Settled(None)
        return Settled(_failed(item, "is there, but not from an export; --overwrite replaces it"))
    same = found.size_bytes == item.size_bytes
    if same and records.times.get(item.name) == TimePair(found.mtime_ns, item.mtime_ns):
        return Settled(Outcome(item.name, State.UNCHANGED, item.size_bytes))
    return Settled(None)


def planned_objects(objects: Objects, items: Sequence[Item], *, overwrite: bool) -> list[Outcome]:
    """The outcomes that an export would have; write nothing.

    :raises SettingsError: the store does not answer.
    """
    patiently = Patience(objects.url, threading.Event())
    manifest = StoreManifest(objects, patiently)

    def plan(item: Item) -> Outcome:
        found = None if is_reserved(item.name) else patiently(lambda: objects.look(item.name))
        outcome = settled_object(item, found, manifest, overwrite=overwrite).outcome
        return outcome or Outcome(item.name, State.PLANNED, item.size_bytes)

    with ThreadPoolExecutor(LOOKS_AT_ONCE, "look") as threads:
        return list(threads.map(plan, items))


class StoreTarget:
    """An object store as DEST. Any thread may call it; call `close` at the end."""

    def __init__(self, objects: Objects, *, overwrite: bool, stop: threading.Event) -> None:
        """Read the manifest and the journal of earlier exports.

        :raises SettingsError: the manifest is damaged, or the store cannot be used.
        """
        self._objects = objects
        self._overwrite = overwrite
        self._patiently = Patience(objects.url, stop)
        self._manifest = StoreManifest(objects, self._patiently)
        for upload_id, name in list(self._manifest.uploads.items()):
            self._abort_upload(name, upload_id)  # an unfinished upload of an earlier export
        self._found: dict[str, ObjectState | None] = {}
        self._looking = ThreadPoolExecutor(LOOKS_AT_ONCE, "look")
        self._threads = ThreadPoolExecutor(MOST_TASKS, "ranges")  # each thread waits for a task
        self.checks = Checks(objects.url, None, f"{PROBE}{secrets.token_hex(8)}")

    def admit(self, assets: Sequence[Asset]) -> None:
        """Get the objects that have the names of these assets; note the names that no object has.

        :raises SettingsError: the store does not answer.
        """
        names = [asset.name for asset in assets if not is_reserved(asset.name)]
        found = list(self._looking.map(self._look, names))
        self._found.update(zip(names, found, strict=True))
        free = [name for name, state in zip(names, found, strict=True) if state is None]
        self._manifest.begin(free)

    def settled(self, item: Item) -> Settled:
        """Decide whether an item has to be copied."""
        found = self._found.get(item.name)
        return settled_object(item, found, self._manifest, overwrite=self._overwrite)

    def copy(self, item: Item, source: Source, _before: Settled, send: Send) -> Made:
        """Let workers make the object and read it back. :raises TaskFailed: it is not there."""
        self._manifest.replace(item.name)
        url = self._objects.url
        if source.version.size <= RANGE_BYTES or not self._objects.multipart:
            made: Made = send("copy", copy_to_object, lambda now: ObjectTask(now, url, item.name))
        else:
            made = self._copy_ranges(item, source, send)
        self._manifest.record(item.name, made, source.mtime_ns)
        return made

    def _copy_ranges(self, item: Item, source: Source, send: Send) -> Made:
        name, url = item.name, self._objects.url
        upload_id: str = self._tried(lambda: self._objects.begin_upload(name))
        try:
            self._manifest.begin_upload(name, upload_id)
        except BaseException:
            self._abort_upload(name, upload_id)
            raise

        def one(number: int, start: int, stop: int) -> WrittenRange:
            written: WrittenRange = send(
                "range",
                copy_range,
                lambda now: RangeTask(now, url, name, upload_id, number, start, stop),
            )
            return written

        jobs = [
            self._threads.submit(one, number, *place)
            for number, place in enumerate(ranges_of(source.version.size), start=1)
        ]
        try:
            ranges = tuple(job.result() for job in jobs)
            tags = [one.tag for one in ranges]
            self._tried(lambda: self._end_upload(name, upload_id, tags, source.version.size))
        except BaseException:
            for job in jobs:
                job.cancel()
            for job in jobs:  # wait: a part that comes after the abort would never be removed
                with contextlib.suppress(BaseException):
                    job.result()
            self._abort_upload(name, upload_id)
            raise
        self._manifest.end_upload(upload_id)
        made: Made = send("check", check_object, lambda _now: CheckTask(url, name, ranges))
        return made

    def _abort_upload(self, name: str, upload_id: str) -> None:
        """Abort an upload. If this fails, the next export aborts it."""
        with contextlib.suppress(Exception):
            self._patiently(lambda: self._objects.abort_upload(name, upload_id))
            self._manifest.end_upload(upload_id)

    def _end_upload(self, name: str, upload_id: str, tags: list[str], size_bytes: int) -> None:
        """End an upload.

        If only the answer to an earlier attempt was lost, the store does not know the upload any
        more, but the object is there.
        """
        try:
            self._objects.end_upload(name, upload_id, tags)
        except FileNotFoundError:
            found = self._objects.look(name)
            if found is None or found.size_bytes != size_bytes:
                raise

    def _look(self, name: str) -> ObjectState | None:
        return self._patiently(lambda: self._objects.look(name))

    def _tried(self, ask: Callable[[], T]) -> T:
        """As `_patiently`, for one asset. :raises TaskFailed: all attempts failed."""
        try:
            return self._patiently(ask)
        except SettingsError as error:
            raise TaskFailed(Failed(Trouble.AGAIN, str(error))) from None

    def close(self) -> None:
        """Write the manifest. :raises SettingsError: the manifest cannot be written."""
        self._threads.shutdown(cancel_futures=True)
        self._looking.shutdown(cancel_futures=True)
        self._manifest.close()


def ranges_of(size_bytes: int) -> Iterator[tuple[int, int]]:
    """The start and the end of each part of an upload."""
    least = -(-size_bytes // MOST_RANGES)
    range_bytes = max(RANGE_BYTES, -(-least // MIB) * MIB)
    for start in range(0, size_bytes, range_bytes):
        yield start, min(start + range_bytes, size_bytes)


class StoreManifest:
    """The manifest, the times and the journal of the objects below one URL. Any thread may call it.

    :ivar records: digests and times, as in a folder.
    :ivar begun: names whose objects an export may have begun, but has not completed.
    :ivar uploads: the uploads in parts that were begun and not ended: id to name.
    """

    def __init__(self, objects: Objects, patiently: Patience) -> None:
        """Read all of them. :raises SettingsError: they cannot be read, or are damaged."""
        self._objects = objects
        self._patiently = patiently
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._lines: list[list[str | int]] = []
        self._since_s = 0.0
        self._written: list[str] = []
        self._prefix = ""
        self.begun: set[str] = set()
        self.uploads: dict[str, str] = {}
        self.records = Records({}, {})
        patiently(self._read)

    def _read(self) -> None:
        records = Records({}, {})
        begun: set[str] = set()
        uploads: dict[str, str] = {}
        manifest = self._objects.get(MANIFEST)
        if manifest is not None:
            what = f"{self._objects.url}/{MANIFEST}"
            records.digests.update(parse_lines(io.BytesIO(manifest), what))
        for line in _json_lines(self._objects.get(TIMES) or b""):
            match line:
                case [str(name), int(copy_ns), int(source_ns)]:
                    records.times[name] = TimePair(copy_ns, source_ns)
        found = filter(None, map(_JOURNAL.match, self._objects.names(WORKSPACE)))
        numbered = sorted((int(match[1]), match.string) for match in found)
        for _, journal in numbered:
            for line in _json_lines(self._objects.get(journal) or b""):
                match line:
                    case ["begun", *names]:
                        begun.update(map(str, names))
                    case ["gone", str(name)]:
                        _forget(records, name)
                        begun.add(name)
                    case ["copied", str(name), str(digest), int(), int(copy_ns), int(source_ns)]:
                        records.digests[name] = digest
                        records.times[name] = TimePair(copy_ns, source_ns)
                        begun.discard(name)
                    case ["upload", str(name), str(upload_id)]:
                        uploads[upload_id] = name
                    case ["ended", str(upload_id)]:
                        uploads.pop(upload_id, None)
        self.records, self.begun, self.uploads = records, begun, uploads
        self._written = [journal for _, journal in numbered]
        last = max((number for number, _ in numbered), default=0)
        self._prefix = f"{WORKSPACE}/journal-{last + 1:08d}-{secrets.token_hex(2)}"

    def begin(self, names: Sequence[str]) -> None:
        """Write names that no object has to the journal. :raises SettingsError: it failed."""
        with self._lock:
            fresh = [name for name in names if name not in self.begun]
            self.begun.update(fresh)
            if fresh:
                self._lines.append(["begun", *fresh])
        self.flush()

    def replace(self, name: str) -> None:
        """Write to the journal that an exported object is about to be replaced.

        :raises SettingsError: the journal cannot be written.
        """
        with self._lock:
            if name not in self.records.digests:
                return
            _forget(self.records, name)
            self.begun.add(name)
            self._lines.append(["gone", name])
        self.flush()

    def begin_upload(self, name: str, upload_id: str) -> None:
        """Write an upload in parts to the journal. :raises SettingsError: it failed."""
        with self._lock:
            self.uploads[upload_id] = name
            self._lines.append(["upload", name, upload_id])
        self.flush()

    def end_upload(self, upload_id: str) -> None:
        """Note that an upload was ended or aborted; a later `flush` writes this line."""
        with self._lock:
            if self.uploads.pop(upload_id, None) is not None:
                self._lines.append(["ended", upload_id])

    def record(self, name: str, made: Made, source_ns: int) -> None:
        """Record an object that was read back. The line is written now or later."""
        with self._lock:
            self.records.digests[name] = made.sha256
            self.records.times[name] = TimePair(made.mtime_ns, source_ns)
            self._lines.append(
                ["copied", name, made.sha256, made.size_bytes, made.mtime_ns, source_ns]
            )
            late = time.monotonic() - self._since_s > FLUSH_S
            due = late or len(self._lines) >= FLUSH_LINES
        if due:
            with contextlib.suppress(SettingsError):  # the lines are kept for the next flush
                self.flush()

    def flush(self) -> None:
        """Write all lines to the journal. :raises SettingsError: they are not written."""
        with self._writing:
            with self._lock:
                lines, self._lines = self._lines, []
                self._since_s = time.monotonic()
            if not lines:
                return
            name = f"{self._prefix}-{len(self._written):08d}"
            data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            try:
                self._patiently(lambda: self._objects.put(name, data))
            except BaseException:
                with self._lock:
                    self._lines = lines + self._lines
                raise
            self._written.append(name)

    def _is_there(self, name: str) -> bool:
        return self._patiently(lambda: self._objects.look(name)) is not None

    def close(self) -> None:
        """Write the manifest and the times, then remove the journal.

        The names and uploads that are not complete go into a new journal.

        :raises SettingsError: they cannot be written.
        """
        self.flush()
        digests, times = self.records
        if digests:
            rows = (json.dumps([name, *pair]).encode() for name, pair in sorted(times.items()))
            text = b"".join(row + b"\n" for row in rows)
            self._patiently(lambda: self._objects.put(TIMES, text))
            lines = b"".join(format_line(*entry) for entry in sorted(digests.items()))
            self._patiently(lambda: self._objects.put(MANIFEST, lines))
        # only names that objects have: another program may use the other names later
        begun = sorted(self.begun - digests.keys())
        left = [name for name in begun if self._is_there(name)]
        # else the next export would take these objects for another program's, and not abort uploads
        if left or self.uploads:
            self._prefix += "-end"
            with self._lock:
                self._lines.append(["begun", *left])
                self._lines += [["upload", name, one] for one, name in self.uploads.items()]
            old, self._written = self._written, []
            self.flush()
        else:
            old = self._written
        for name in old:
            with contextlib.suppress(Exception):
                self._objects.remove(name)


def _forget(records: Records, name: str) -> None:
    records.digests.pop(name, None)
    records.times.pop(name, None)


def _json_lines(data: bytes) -> Iterator[list[object]]:
    for line in data.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            values = json.loads(line)
            if isinstance(values, list):
                yield values


def _failed(item: Item, reason: str) -> Outcome:
    return Outcome(item.name, State.FAILED, item.size_bytes, reason=reason)
