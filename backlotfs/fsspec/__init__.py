# SPDX-License-Identifier: Apache-2.0
"""The library as an fsspec file system: ``backlot://PROFILE/PATH``, without a mount.

It needs the extra ``fsspec``, whose entry point ``fsspec.specs`` names `BacklotFileSystem`.

::

    with fsspec.open("backlot://main/report.mov") as file:
        head = file.read(64)

`options` checks the options of a file system and loads the account, `libraries` opens the library
once in each process, `ranges` reads many parts at once, and `file` is an open file.
"""

from backlotfs.fsspec.filesystem import BacklotFileSystem

__all__ = ["BacklotFileSystem"]
