"""Which programs read a file for its picture only: they are given what they ask for, no more.

A file manager has a preview made of every video it shows. The program that makes it reads the
head, the index and one picture, here and there; whoever fetches ahead of it, as is right for a
player, fetches ten times as much, two hundred times a folder. So a file that such a program opens
is read without anything ahead, neither ours nor the kernel's.
"""

from __future__ import annotations

from collections.abc import Callable

#: What the kernel keeps of a process's name.
_NAME_BYTES = 15
#: Programs by name. KDE's are not among them: one program (``kioworker``) makes its previews and
#: its copies, and copies must be fast.
_PROGRAMS = (
    "tumblerd",  # Xfce, and others by D-Bus
    "ffmpegthumbnailer",  # PCManFM, Nautilus, Caja, Nemo by its .thumbnailer file
    "totem-video-thumbnailer",  # GNOME, until 48
    "gst-video-thumbnailer",  # GNOME since
    "gst-thumbnailer",
    "tracker-extract-3",  # GNOME's index, until 47
    "localsearch-extractor-3",  # GNOME's index since
    "baloo_file_extractor",  # KDE's index
)
NAMES = frozenset(name.encode()[:_NAME_BYTES].decode() for name in _PROGRAMS)


class ThumbnailerDetector:
    """Any thread may call it."""

    def __init__(self, name_of: Callable[[int], str], caller: Callable[[], int]) -> None:
        """Put it together.

        :param name_of: the name of a process by its id, as ``ps -o comm`` shows it.
        :param caller: the process id of the operation on this thread.
        """
        self._name_of = name_of
        self._caller = caller

    def is_caller(self) -> bool:
        """Whether the operation on this thread comes from one of them."""
        return self._name_of(self._caller()) in NAMES
