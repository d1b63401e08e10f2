"""The file that says that a folder's listing is not complete yet.

Programs that only look at a folder are not made to wait for sizes: files of unknown size are left
out. A user may drag such a folder to another disk, so the listing holds one more file, whose name
says that and how much is missing. What is in it follows from its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backlotfs.namespace.attributes import Attributes, file_attributes
from backlotfs.namespace.tree import StartWait, VirtualFile, hashed_inode

_NAME = re.compile(r"NOT ALL FILES ARE LISTED YET \(\d{1,9} to come(, [0-9a-z ]{1,20})?\)\.txt")
_TEXT = """{name}

This folder holds more files than are listed here. backlotfs does not know their sizes yet, and asks
the library for them, as fast as the API allows. Look again later: more files will be listed.

Do not copy this folder with a file manager before this note is gone. Command-line programs (cp,
rsync, tar, find) see all files now and wait for the sizes they need.
"""


@dataclass(frozen=True, slots=True)
class Notice(VirtualFile):
    """One such file.

    :ivar folder_inode: of the folder that it is in. :ivar mtime_s, umask: for `attributes`.
    """

    name: str
    folder_inode: int
    mtime_s: int = 0
    umask: int = 0

    @classmethod
    def of(cls, folder_inode: int, missing: int, seconds: float | None) -> Notice:
        """The notice for a folder in which so many files are missing for so many seconds."""
        when = "" if seconds is None else f", {about(seconds)}"
        return cls(f"NOT ALL FILES ARE LISTED YET ({missing} to come{when}).txt", folder_inode)

    @staticmethod
    def is_name(name: str) -> bool:
        """Whether a notice can have this name."""
        return _NAME.fullmatch(name) is not None

    @property
    def inode(self) -> int:
        """The same for the same name in the same folder."""
        return hashed_inode(f"{self.folder_inode}/{self.name}".encode(), b"backlotfs notice")

    def content(self, start_wait: StartWait) -> bytes:  # noqa: ARG002  # nothing waits
        """The same for the same name."""
        return self.text

    def attributes(self, start_wait: StartWait) -> Attributes:  # noqa: ARG002  # nothing waits
        """As a file of its own."""
        size = len(self.text)
        return file_attributes(self.inode, size, mtime_s=self.mtime_s, umask=self.umask)

    @property
    def text(self) -> bytes:
        """All that is in the file, in UTF-8."""
        return _TEXT.format(name=self.name.removesuffix(".txt")).encode()


def about(seconds: float) -> str:
    """A duration for people, in one or two units: ``40 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
