"""Open files: what each was opened on, and how it is being read."""

from __future__ import annotations

import itertools
import threading

from backlotfs.errors import BadHandle
from backlotfs.open_files.page_cache_policy import OpenMode, PageCachePolicy
from backlotfs.prefetch.registry import Prefetcher
from backlotfs.source.version import SourceVersion


class FileHandle:
    """One open file, pinned to one version of its source.

    :ivar plan: shared with the other handles on this version.
    :ivar name: of the file, as it was opened.
    :ivar sparing: nothing is fetched ahead of what is read through it.
    :ivar changed: the source is known to be another version now; `flush` says so.
    :ivar outgrown: that version is larger, and the kernel may have been told its size.
    """

    __slots__ = ("changed", "fh", "identity", "name", "outgrown", "plan", "sparing")

    def __init__(
        self, fh: int, identity: SourceVersion, plan: Prefetcher, name: str, *, sparing: bool
    ) -> None:
        self.fh = fh
        self.identity = identity
        self.plan = plan
        self.name = name
        self.sparing = sparing
        self.changed = False
        self.outgrown = False


class HandleTable:
    """File handles by number. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._handles: dict[int, FileHandle] = {}
        self._pages = PageCachePolicy()

    def __len__(self) -> int:
        return len(self._handles)

    def open(
        self,
        identity: SourceVersion,
        plan: Prefetcher,
        name: str = "",
        *,
        settling: bool = False,
        sparing: bool = False,
    ) -> tuple[FileHandle, OpenMode]:
        """A new handle on this version, and how the kernel is to treat it.

        :param sparing: the kernel, too, is to read nothing ahead: it goes past its page cache.
        """
        past_pages = settling or sparing
        with self._lock:
            handle = FileHandle(next(self._numbers), identity, plan, name, sparing=sparing)
            self._handles[handle.fh] = handle
            mode = self._pages.open(identity.embed_code, identity.validator, settling=past_pages)
            return handle, mode

    def get(self, fh: int) -> FileHandle:
        """:raises BadHandle: when it is not open."""
        handle = self._handles.get(fh)
        if handle is None:
            raise BadHandle(f"file handle {fh} is not open")
        return handle

    def names(self) -> list[str]:
        """Of the open files, one for each handle."""
        with self._lock:
            return [handle.name for handle in self._handles.values()]

    def release(self, fh: int) -> FileHandle:
        """Close it. :raises BadHandle: when it is not open."""
        with self._lock:
            handle = self._handles.pop(fh, None)
            if handle is None:
                raise BadHandle(f"file handle {fh} is not open")
            self._pages.release(handle.identity.embed_code, handle.identity.validator)
        return handle

    def mark_changed(self, embed_code: str, current: SourceVersion | None) -> None:
        """Tell every handle on another version than ``current`` (None: on any) that it is old."""
        with self._lock:
            for handle in self._handles.values():
                version = handle.identity
                if version.embed_code != embed_code:
                    continue
                if current is None:
                    handle.changed = True
                elif version.validator != current.validator:
                    handle.changed = True
                    handle.outgrown |= version.size < current.size

    def mark_replaced(self, identity: SourceVersion) -> None:
        """Tell every handle on this very version that it is old.

        Also one that was opened while its version was found to be replaced: it came too late for
        `mark_changed`.
        """
        with self._lock:
            for handle in self._handles.values():
                handle.changed |= handle.identity == identity
