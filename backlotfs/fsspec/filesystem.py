# SPDX-License-Identifier: Apache-2.0
"""The file system: fsspec's interface to the library. Read-only; any thread may call it.

Names and folders come from the listing and cost no call of the API. A size that is not known yet
costs one call, so only `info`, `sizes`, `du`, `open` and reads wait for it. Listings show ``None``
for such a size.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NoReturn, cast

from fsspec import AbstractFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK, Callback
from fsspec.implementations.local import LocalFileSystem, make_path_posix, trailing_sep
from fsspec.utils import isfilelike, stringify_path, tokenize

from backlotfs.api.signing import Credentials
from backlotfs.byterange import ByteRange
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.concurrency.interruptible_wait import WouldWait, refuse_to_wait
from backlotfs.config.settings import MountSettings
from backlotfs.errors import BacklotError, NoSuchEntry, NotADirectory, ReadOnlyFilesystem
from backlotfs.fsspec.errors import as_exception, translated
from backlotfs.fsspec.file import BUFFER_BYTES, BacklotFile
from backlotfs.fsspec.libraries import opened_library
from backlotfs.fsspec.options import CREDENTIALS, Masked, checked, settings_of
from backlotfs.fsspec.ranges import STREAM_BYTES, Part, read_large, read_parts
from backlotfs.mount.unmounted import OpenedLibrary
from backlotfs.namespace.attributes import iso_utc
from backlotfs.namespace.namespace import Found
from backlotfs.namespace.tree import Folder, VirtualFile, VirtualFolder
from backlotfs.source.version import SourceVersion

_MAGIC = frozenset("*?[")


class _PathOfUrl(str):
    """The path of a URL that names a profile.

    fsspec makes one file system for a list of URLs, from the first URL. The profile is kept here,
    so that the file system can refuse the URLs of other profiles.

    :ivar profile: the name of the profile.
    """

    profile: str | None = None


class BacklotFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A Backlot library: ``backlot://PROFILE/PATH``. It is cheap to make and can be pickled.

    A pickle holds the options that the caller gave. It holds a secret only if the caller gave it as
    an option, and never a signed URL. The library is opened at its first use; see `libraries`.
    """

    protocol = "backlot"
    root_marker = "/"
    async_impl = False

    def __init__(self, profile: str | None = None, **options: Any) -> None:
        """Open nothing yet.

        :param profile: the name of the profile; None: the only one, or ``BACKLOT_API_URL``,
            ``BACKLOT_API_KEY`` and ``BACKLOT_API_SECRET``.
        :param options: see `options`.
        :raises ValueError: an option is unknown, or its value is invalid.
        """
        super().__init__()
        # fsspec calls the class method if there is no file system yet; this method checks profiles
        self._strip_protocol = self._strip_own  # type: ignore[method-assign]
        self._options = checked({"profile": profile, **options})
        self._settings: MountSettings | None = None
        self._library: OpenedLibrary | None = None

    # The library.

    @property
    def library(self) -> OpenedLibrary:
        """The library in this process; it is opened if necessary.

        :raises OSError: the library cannot be opened.
        :raises ValueError: the profile cannot be used.
        """
        library = self._library
        if library is None or not library.is_usable:
            with translated():
                library = self._library = opened_library(self._resolved())
        return library

    def _resolved(self) -> MountSettings:
        if self._settings is None:
            self._settings = settings_of(self._options)
        return self._settings

    @property
    def profile(self) -> str | None:
        """The name of the profile, if one was given."""
        profile: str | None = self._options.get("profile")
        return profile

    @property
    def fsid(self) -> str:
        """An id of the library: the same for all file systems of the library."""
        with translated():
            account = self._resolved().account
        public = Credentials(account.api_key, account.api_secret).account
        return f"backlot_{LibraryIdentity.of(account.api_url, public).digest}"

    def invalidate_cache(self, path: str | None = None) -> None:
        """Bring the listing up to date now, even if it is not older than ``metadata_ttl``."""
        if self._library is not None:
            with translated():
                self.library.refresh()
        super().invalidate_cache(path)

    # Options, tokens and URLs.

    @property
    def storage_options(self) -> dict[str, Any]:
        """The options that the caller gave; the `repr` of a secret among them does not show it."""
        return self._given

    @storage_options.setter
    def storage_options(self, given: dict[str, Any]) -> None:
        self._given = {
            name: Masked(value) if name in CREDENTIALS and isinstance(value, str) else value
            for name, value in given.items()
        }

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """The values for JSON, without secrets: the reader has them from environment or profile."""
        found: dict[str, Any] = super().to_dict(include_password=include_password)
        return {name: value for name, value in found.items() if name not in CREDENTIALS}

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in sorted(self._options.items())]
        return f"BacklotFileSystem({', '.join(given)})"

    def __dask_tokenize__(self) -> Any:
        """A token that is the same in each process and thread for the same options."""
        shown = {
            name: str(sorted(value) if isinstance(value, frozenset) else value)
            for name, value in self._options.items()
        }
        return tokenize(type(self).__name__, sorted(shown.items()))

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """``backlot://main/a/b`` → ``/a/b``. A path begins with a slash; only ``/`` ends so."""
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        path = stringify_path(path)
        profile = getattr(path, "profile", None)
        if path.startswith("backlot://"):
            profile, _, path = path.removeprefix("backlot://").partition("/")
        elif path.startswith("backlot::"):
            path = path.removeprefix("backlot::")
        found = _PathOfUrl("/" + "/".join(filter(None, path.split("/"))))
        found.profile = profile or None
        return found if profile else str(found)

    def _strip_own(self, path: Any) -> Any:
        """As `_strip_protocol`. :raises ValueError: a URL names another profile."""
        if isinstance(path, list):
            return [self._strip_own(one) for one in path]
        found = type(self)._strip_protocol(path)
        named = getattr(found, "profile", None)
        if named is not None:
            with translated():
                own = self.profile or self._resolved().account.profile
            if named != own:
                raise ValueError(
                    f"{found} is of the profile {named}, and this file system is of "
                    f"{own or 'another library'}; open each library by itself"
                )
        return str(found)

    def unstrip_protocol(self, name: str) -> str:
        """The path as a URL."""
        if name.startswith("backlot://"):
            return name
        return f"backlot://{self.profile or ''}{self._strip_protocol(name)}"

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        profile = path.removeprefix("backlot://").partition("/")[0]
        return {"profile": profile} if path.startswith("backlot://") and profile else {}

    # Names and attributes.

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """The entries of a folder, or the file itself. An unknown size is None: see `info`."""
        path = self._strip_protocol(path)
        library = self.library
        with translated(path):
            found = library.stack.namespace.find(path)
            if not isinstance(found, Folder | VirtualFolder):
                return [self._info(library, path, found)] if detail else [path]
            base = path.rstrip("/")
            entries = list(library.stack.namespace.entries(found))
            if not detail:
                return [f"{base}/{entry.name}" for entry in entries]
            known = library.stack.namespace.plain_files(entry.inode for entry in entries)
            lines = []
            for entry, plain in zip(entries, known, strict=True):
                name = f"{base}/{entry.name}"
                if entry.is_directory:
                    lines.append({"name": name, "size": 0, "type": "directory"})
                elif plain is not None and entry.in_tree:
                    lines.append(
                        {"name": name, "size": plain[0], "type": "file", "mtime": plain[1]}
                    )
                else:
                    with contextlib.suppress(NoSuchEntry):  # it was removed after `entries`
                        lines.append(self._line(library, name))
        return lines

    def _line(self, library: OpenedLibrary, path: str) -> dict[str, Any]:
        """One line of a listing; its size is None if that is not known yet."""
        namespace = library.stack.namespace
        found = namespace.find(path)
        try:
            attributes = namespace.attributes(found, refuse_to_wait)
        except WouldWait:  # a file without a source, whose content has to be generated first
            attributes = namespace.attributes(found, library.waiter)
        unknown = isinstance(found, AssetRow) and namespace.lacks_size(found)
        size = None if unknown else attributes.size
        return {"name": path, "size": size, "type": "file", "mtime": attributes.mtime_s}

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size, times and type of a file or folder. It waits for a size that is not known yet."""
        path = self._strip_protocol(path)
        library = self.library
        with translated(path):
            return self._info(library, path, library.stack.namespace.find(path))

    def _info(self, library: OpenedLibrary, path: str, found: Found) -> dict[str, Any]:
        namespace = library.stack.namespace
        attributes = namespace.attributes(found, library.waiter)
        is_folder = isinstance(found, Folder | VirtualFolder)
        info = {
            "name": path,
            "size": attributes.size,
            "type": "directory" if is_folder else "file",
            "mtime": attributes.mtime_s,
            "ino": attributes.inode,
            "nlink": attributes.nlink,
            "mode": attributes.mode,
        }
        if isinstance(found, AssetRow):
            info["embed_code"] = found.embed_code
            info["created"] = iso_utc(found.created_at_s)
            version = namespace.source(found.embed_code)
            if version is not None:
                info["version"] = _key_of(version)
        return info

    def _found(self, path: str) -> Found | None:
        """The file or folder at a path, without its size; None if there is none."""
        namespace = self.library.stack.namespace
        try:
            with translated():
                found = namespace.find(self._strip_protocol(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if isinstance(found, AssetRow) and not namespace.is_listed(found) else found

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is a file or folder. It does not wait for a size."""
        return self._found(path) is not None

    def isfile(self, path: str) -> bool:
        """Whether there is a file. It does not wait for a size."""
        return isinstance(self._found(path), AssetRow | VirtualFile)

    def isdir(self, path: str) -> bool:
        """Whether there is a folder."""
        return isinstance(self._found(path), Folder | VirtualFolder)

    def sizes(self, paths: Iterable[str]) -> list[int]:
        """The size of each file. All unknown sizes are asked for at the same time."""
        paths = [self._strip_protocol(path) for path in paths]
        self._begin_probes(paths)
        return [self.info(path)["size"] for path in paths]

    def du(
        self,
        path: str,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **options: Any,
    ) -> Any:
        """The size of all files below a path. It waits for sizes that are not known yet."""
        found = self.find(path, maxdepth, withdirs, detail=True, **options)
        missing = [name for name, info in found.items() if info["size"] is None]
        sizes = {name: info["size"] for name, info in found.items()}
        sizes.update(zip(missing, self.sizes(missing), strict=True))
        return sum(sizes.values()) if total else sizes

    def glob(self, path: str, maxdepth: int | None = None, **options: Any) -> Any:
        """All paths that match a pattern. The exact path of an entry matches even with ``[``."""
        literal = self._strip_protocol(path)
        if not _MAGIC.isdisjoint(literal) and self.exists(literal):
            return {literal: self.info(literal)} if options.get("detail") else [literal]
        return super().glob(path, maxdepth, **options)

    def created(self, path: str) -> datetime:
        """When the asset was made; of a folder, when its entries last changed."""
        path = self._strip_protocol(path)
        found = self._found(path)
        if isinstance(found, AssetRow):
            return datetime.fromtimestamp(found.created_at_s, UTC)
        return self.modified(path)

    def modified(self, path: str) -> datetime:
        """When the source was last modified; of a folder, when its entries last changed."""
        return datetime.fromtimestamp(self.info(path)["mtime"], UTC)

    def ukey(self, path: str) -> str:
        """A key of the version of a file. The key changes when the source is replaced."""
        path = self._strip_protocol(path)
        opened = self._version(path)
        return sha256(opened).hexdigest() if isinstance(opened, bytes) else _key_of(opened)

    def checksum(self, path: str) -> int:
        """`ukey` as a number."""
        return int(self.ukey(path), 16)

    # Bytes.

    def _version(self, path: str) -> SourceVersion | bytes:
        """The present version of a source; for a file without a source, all its bytes."""
        library = self.library
        with translated(path):
            found = library.stack.namespace.find(path)
            if isinstance(found, VirtualFile):
                return library.stack.namespace.content(found, library.waiter)
            return library.stack.namespace.open(found, library.waiter())

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        **_: Any,
    ) -> BacklotFile:
        if mode != "rb":
            self._refuse()
        buffer_bytes = min(block_size or BUFFER_BYTES, STREAM_BYTES)
        return BacklotFile(self, path, self._version(path), buffer_bytes)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """The bytes of a file, or a part of them; negative limits count from the end."""
        (found,) = self.cat_ranges([path], [start], [end], on_error="raise")
        return cast("bytes", found)

    def cat(
        self, path: Any, recursive: bool = False, on_error: str = "raise", **options: Any
    ) -> Any:
        """The bytes of a file, or of several files by their paths. Several are read in parallel."""
        paths = self.expand_path(path, recursive=recursive)
        if len(paths) == 1 and isinstance(path, str) and paths[0] == self._strip_protocol(path):
            return self.cat_file(paths[0], **options)
        files = [one for one in paths if not recursive or not self.isdir(one)]
        limits = options.get("start"), options.get("end")
        found = self.cat_ranges(
            files, *limits, on_error="raise" if on_error == "raise" else "return"
        )
        contents = dict(zip(files, found, strict=True))
        if on_error == "omit":
            return {one: data for one, data in contents.items() if isinstance(data, bytes)}
        return contents

    def cat_ranges(
        self,
        paths: list[str],
        starts: Sequence[int | None] | int | None,
        ends: Sequence[int | None] | int | None,
        max_gap: int | None = None,  # noqa: ARG002  # fsspec's signature
        on_error: str = "return",
        **_: Any,
    ) -> list[bytes | Exception]:
        """Parts of files, read in parallel.

        All parts of one file are of one version. If the file is replaced meanwhile, the parts that
        were not read yet fail with ESTALE.

        :param max_gap: ignored. Parts with small gaps between them are always read together.
        """
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        every = [
            list(limits) if isinstance(limits, Sequence) else [limits] * len(paths)
            for limits in (starts, ends)
        ]
        if any(len(limits) != len(paths) for limits in every):
            raise ValueError("paths, starts and ends must have the same length")
        library = self.library
        answers: list[bytes | Exception] = [b""] * len(paths)
        parts: list[Part] = []
        paths = [self._strip_protocol(path) for path in paths]
        opened = self._versions(paths)
        for number, (path, start, end) in enumerate(zip(paths, *every, strict=True)):
            found = opened[path]
            if isinstance(found, Exception):
                answers[number] = found
                continue
            size = len(found) if isinstance(found, bytes) else found.size
            first, stop, _step = slice(start, end).indices(size)
            if isinstance(found, bytes):
                answers[number] = found[first:stop]
            elif first < stop:
                parts.append(Part(number, found, ByteRange(first, stop)))
        if on_error == "raise":
            _raise_first(answers)
        for number, answer in read_parts(library, parts):
            answers[number] = as_exception(answer) if isinstance(answer, BacklotError) else answer
            if on_error == "raise":
                _raise_first([answers[number]])
        return answers

    def get_file(
        self,
        rpath: str,
        lpath: Any,
        callback: Callback = DEFAULT_CALLBACK,
        outfile: Any = None,
        **_: Any,
    ) -> None:
        """Copy a file. If it cannot be read to its end, the incomplete copy is removed."""
        rpath = self._strip_protocol(rpath)
        if outfile is None and isfilelike(lpath):
            outfile = lpath
        if outfile is not None:
            self._write(rpath, outfile, callback)
            return
        if self.isdir(rpath):
            os.makedirs(lpath, exist_ok=True)
            return
        opened = self._version(rpath)  # before the local folder and file are created
        os.makedirs(os.path.dirname(os.path.abspath(lpath)), exist_ok=True)
        with open(lpath, "wb") as file:
            try:
                self._write(rpath, file, callback, opened)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(lpath)
                raise

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Callback = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **options: Any,
    ) -> Any:
        """Copy files or folders; see `AbstractFileSystem.get`."""
        if isinstance(rpath, str) and isinstance(lpath, str) and not _MAGIC.isdisjoint(rpath):
            literal = self._strip_protocol(rpath)
            if self.isfile(literal):  # ``rpath`` is the exact path of a file, not a pattern
                lpath = make_path_posix(lpath)
                if trailing_sep(lpath) or LocalFileSystem().isdir(lpath):
                    lpath = os.path.join(lpath, os.path.basename(literal))
                rpath, lpath = [literal], [lpath]
        return super().get(rpath, lpath, recursive, callback, maxdepth, **options)

    def _write(
        self,
        path: str,
        file: Any,
        callback: Callback,
        opened: SourceVersion | bytes | None = None,
    ) -> None:
        opened = self._version(path) if opened is None else opened
        if isinstance(opened, bytes):
            pieces: Iterator[Any] = iter([opened])
            callback.set_size(len(opened))
        else:
            pieces = read_large(self.library, opened, ByteRange(0, opened.size))
            callback.set_size(opened.size)
        with translated(path):
            for piece in pieces:
                file.write(piece)
                callback.relative_update(len(piece))

    def _versions(self, paths: Sequence[str]) -> dict[str, SourceVersion | bytes | Exception]:
        """The version or the bytes at each path, or the error. Each path is looked up once."""
        self._begin_probes(paths)
        opened: dict[str, SourceVersion | bytes | Exception] = {}
        for path in dict.fromkeys(paths):
            try:
                opened[path] = self._version(path)
            except OSError as error:
                opened[path] = error
        return opened

    def _begin_probes(self, paths: Iterable[str]) -> None:
        """Request all versions that are not known, before the caller waits for the first."""
        stack = self.library.stack
        for path in dict.fromkeys(paths):
            with translated(path), contextlib.suppress(NoSuchEntry, NotADirectory):
                found = stack.namespace.find(path)
                if not isinstance(found, AssetRow) or stack.versions.failure(found.embed_code):
                    continue
                known = stack.versions.known(found.embed_code, found)
                if known is None or not known.verified:
                    stack.probes.request(found.embed_code)

    # Operations that a read-only library refuses.

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise as_exception(ReadOnlyFilesystem("the library is read-only"))

    mkdir = makedirs = rmdir = rm = rm_file = _rm = cp_file = copy = mv = _refuse
    pipe = pipe_file = put = put_file = touch = write_text = _refuse


def _key_of(version: SourceVersion) -> str:
    return sha256(f"{version.embed_code}\n{version.validator}".encode()).hexdigest()


def _raise_first(answers: Iterable[bytes | Exception]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
