# SPDX-License-Identifier: Apache-2.0
"""The notice: a file that says that a folder's listing is not complete yet.

Listings for programs that do not wait for sizes leave out files of unknown size. A user may copy
such a folder to another disk, so the listing has one more file, whose name says how many files are
missing. Its content follows from its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backlotfs.catalog.db.rows import hashed_inode
from backlotfs.log.terminal import about
from backlotfs.namespace.attributes import Attributes, file_attributes
from backlotfs.namespace.tree import StartWait, VirtualFile

_NAME = re.compile(r"NOT ALL FILES ARE LISTED YET \(\d{1,9} to come(, [0-9a-z ]{1,20})?\)\.txt")
_TEXT = """{name}

This folder holds more files than are listed here. backlotfs does not know their sizes yet, and asks
the library for them, as fast as the API allows. Look again later: more files will be listed.

Do not copy this folder with a file manager before this note is gone. Command-line programs (cp,
rsync, tar, find) see all files now and wait for the sizes they need.
"""


@dataclass(frozen=True, slots=True)
class Notice(VirtualFile):
    """A notice in one folder.

    :ivar folder_inode: inode of its folder. :ivar mtime_s, umask: used by `attributes`.
    """

    name: str
    folder_inode: int
    mtime_s: int = 0
    umask: int = 0

    @classmethod
    def of(cls, folder_inode: int, missing: int, seconds: float | None) -> Notice:
        """Make the notice for a folder from the number of missing files and the seconds to wait."""
        when = "" if seconds is None else f", {about(seconds)}"
        return cls(f"NOT ALL FILES ARE LISTED YET ({missing} to come{when}).txt", folder_inode)

    @staticmethod
    def is_name(name: str) -> bool:
        """Whether this can be the name of a notice."""
        return _NAME.fullmatch(name) is not None

    @property
    def inode(self) -> int:
        """The inode, which depends only on the name and the folder."""
        return hashed_inode(f"{self.folder_inode}/{self.name}".encode(), b"backlotfs notice")

    def content(self, start_wait: StartWait) -> bytes:  # noqa: ARG002  # nothing waits
        """The bytes, which depend only on the name."""
        return self.text

    def attributes(self, start_wait: StartWait) -> Attributes:  # noqa: ARG002  # nothing waits
        """The attributes of a file without other links."""
        size = len(self.text)
        return file_attributes(self.inode, size, mtime_s=self.mtime_s, umask=self.umask)

    @property
    def text(self) -> bytes:
        """The content of the file in UTF-8."""
        return _TEXT.format(name=self.name.removesuffix(".txt")).encode()
