# SPDX-License-Identifier: Apache-2.0
"""File managers of today, and how each is told to make no previews."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.screen import Screen


@dataclass(frozen=True, slots=True)
class FileManager:
    """A file manager.

    :ivar program: takes a folder. :ivar needs: programs that it is not complete without.
    :ivar previews_off: as its user would, once and for all.
    :ivar reads_shared: whether it takes pictures from a folder's ``.sh_thumbnails``.
    """

    program: str
    needs: tuple[str, ...]
    previews_off: Callable[[Screen], None]
    reads_shared: bool

    def __str__(self) -> str:
        return self.program


def _thunar_previews_off(screen: Screen) -> None:
    screen.run(
        *("xfconf-query", "--channel", "thunar", "--property", "/misc-thumbnail-mode"),
        *("--create", "--type", "string", "--set", "THUNAR_THUMBNAIL_MODE_NEVER"),
    )


def _pcmanfm_previews_off(screen: Screen) -> None:
    settings = screen.home / ".config" / "libfm" / "libfm.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text("[ui]\nshow_thumbnail=0\n")


#: By way of tumblerd, which reads the video itself; and by starting ffmpegthumbnailer for each.
FILE_MANAGERS = (
    FileManager("thunar", ("xfconf-query",), _thunar_previews_off, reads_shared=True),
    FileManager("pcmanfm", ("ffmpegthumbnailer",), _pcmanfm_previews_off, reads_shared=False),
)
