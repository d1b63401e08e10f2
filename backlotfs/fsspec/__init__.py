# SPDX-License-Identifier: Apache-2.0
"""The library as an fsspec file system: ``backlot://PROFILE/PATH``, without a mount.

It needs the extra ``fsspec``, whose entry point ``fsspec.specs`` names `BacklotFileSystem`.

::

    with fsspec.open("backlot://main/report.mov") as file:
        head = file.read(64)

`options` checks the options of a file system and loads the account. `libraries` opens each library
once in a process. `ranges` reads many parts at once. `file` has the class of open files.
"""

from backlotfs.fsspec.filesystem import BacklotFileSystem

__all__ = ["BacklotFileSystem"]
