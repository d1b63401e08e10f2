# SPDX-License-Identifier: Apache-2.0
"""What travels between the client and the workers: arguments of tasks and their results.

Dask prints the arguments of a task that fails, on the worker, on the client and on the dashboard.
So everything here that holds a secret is `Masked`. Results are values and never exceptions: an
exception may hold what it was raised about, and one of another version cannot be unpickled.
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
    :ivar made_ns: when the client got the URL, on its clock: of two the later one is to be used.
    :ivar is_renewed: the URL takes the place of one that its host refused.
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

    :ivar folder: DEST, which the client has claimed. :ivar name: of the file below it.
    """

    source: Source
    folder: str
    name: str


@dataclass(frozen=True, slots=True)
class ObjectTask:
    """Copy a source to an object, and read it back.

    :ivar url: of DEST. :ivar name: of the object below it.
    """

    source: Source
    url: str
    name: str


@dataclass(frozen=True, slots=True)
class RangeTask:
    """Copy the bytes from ``start`` to ``stop`` to a part of a multipart upload.

    :ivar number: of the part, from 1.
    """

    source: Source
    url: str
    name: str
    upload_id: str
    number: int
    start: int
    stop: int


class WrittenRange(NamedTuple):
    """The bytes of one part of an upload, as they came from the source.

    :ivar tag: by which the store knows the part.
    """

    size_bytes: int
    sha256: str
    tag: str


@dataclass(frozen=True, slots=True)
class CheckTask:
    """Read an object back: each range must be what came from the source.

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
    """What is to be done about a task that failed.

    URL: send it again with another URL. CHANGED: find out the version anew. AGAIN: send it again
    after a pause. ANEW: copy the whole asset again. FINAL: nothing helps.
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
    """How a worker finds out whether it can write to DEST.

    :ivar url: of an object store. :ivar folder: or a folder.
    :ivar proof: a name: of an object that it may write, or of a file that the client put into the
        workspace of the folder.
    """

    url: str | None
    folder: str | None
    proof: str
