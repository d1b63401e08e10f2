# SPDX-License-Identifier: Apache-2.0
"""The values that the client and the workers exchange: arguments of tasks and their results.

Dask prints the arguments of a task that fails, on the worker, on the client and on the dashboard.
So each secret here is in a `Masked`. Results are values and never exceptions: an exception may
contain a secret, and an exception of another version of a package may not be unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from backlotfs.source.version import SourceVersion


class Masked:
    """A text that is never shown: a signed URL, or a proxy's address with its password."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "<not shown>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Masked) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


@dataclass(frozen=True, slots=True)
class Reach:
    """How source hosts are reached; each field as in `config.settings.Account`."""

    api_url: str
    allow_source_hosts: tuple[str, ...]
    ca_bundle: str | None
    proxy: Masked | None


@dataclass(frozen=True, slots=True)
class Source:
    """One version of an asset's source, and a URL for it.

    :ivar mtime_ns: modification time of the file, as a mount shows it.
    :ivar made_ns: when the client got the URL, on its clock. Of two URLs the later one is used.
    :ivar is_renewed: whether the URL replaces one that its host has refused.
    """

    reach: Reach
    version: SourceVersion
    mtime_ns: int
    url: Masked
    made_ns: int = 0
    is_renewed: bool = False


@dataclass(frozen=True, slots=True)
class FolderTask:
    """Copy a source into a part in the workspace of a folder.

    :ivar folder: DEST, which the client has claimed. :ivar name: the path of the file below DEST.
    """

    source: Source
    folder: str
    name: str


@dataclass(frozen=True, slots=True)
class ObjectTask:
    """Copy a source to an object, and read it back.

    :ivar url: the URL of DEST. :ivar name: the name of the object below it.
    """

    source: Source
    url: str
    name: str


@dataclass(frozen=True, slots=True)
class RangeTask:
    """Copy the bytes from ``start`` to ``stop`` to a part of a multipart upload.

    :ivar number: the number of the part, from 1.
    """

    source: Source
    url: str
    name: str
    upload_id: str
    number: int
    start: int
    stop: int


class WrittenRange(NamedTuple):
    """Bytes of the source that were written: one part of an upload, or a whole object.

    :ivar tag: the tag that the store gave to the part; empty for a whole object.
    """

    size_bytes: int
    sha256: str
    tag: str


@dataclass(frozen=True, slots=True)
class CheckTask:
    """Read an object back: each range must have the bytes of the source.

    :ivar ranges: in order, without gaps.
    """

    url: str
    name: str
    ranges: tuple[WrittenRange, ...]


class Made(NamedTuple):
    """A copy that was read back and has the bytes of its source.

    :ivar mtime_ns: what the folder or the store shows as the time of the copy.
    """

    sha256: str
    size_bytes: int
    mtime_ns: int


class Trouble(StrEnum):
    """What the client has to do about a task that failed.

    URL: send the task again with another URL. CHANGED: find out the version again. AGAIN: send the
    task again after a pause. ANEW: copy the whole asset again. FINAL: give the asset up.
    """

    URL = "url"
    CHANGED = "changed"
    AGAIN = "again"
    ANEW = "anew"
    FINAL = "final"


class Failed(NamedTuple):
    """A task that failed.

    :ivar reason: one sentence without secrets.
    """

    trouble: Trouble
    reason: str


class Checks(NamedTuple):
    """How a worker finds out whether it can write to DEST: either a store or a folder.

    :ivar url: the URL of an object store, or None. :ivar folder: the path of a folder, or None.
    :ivar proof: in a store, the beginning of the name of an object that the worker writes; in a
        folder, the name of a file that the client has put into the workspace.
    """

    url: str | None
    folder: str | None
    proof: str
