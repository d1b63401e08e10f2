# SPDX-License-Identifier: Apache-2.0
"""A plain folder in the place of the mount, so that the tour's checks can be seen to fail."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from backlotfs.demo.sample_library import SampleLibrary, build_library
from backlotfs.demo.terminal import Interruption, Narrator
from backlotfs.demo.tour import Tour
from backlotfs.emulator import Emulator, EmulatorSettings, SyntheticContent

URL_LIFETIME_S = 0.05


def tiny_media(folder: Path) -> list[Path]:
    """Eleven files of a few bytes, no two equal."""
    paths = [folder / f"{number}.bin" for number in range(11)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * (100 + number))
    return paths


class FolderTour:
    """A tour through a folder whose files are named for their embed codes.

    :ivar tour: it; its ``paths`` are what a listing gives.
    :ivar emulator: not started; only its request log is used.
    """

    def __init__(self, folder: Path) -> None:
        for name in ("media", "library", "copies"):
            (folder / name).mkdir()
        self.sample: SampleLibrary = build_library(tiny_media(folder / "media"))
        self.emulator = Emulator(self.sample.library, EmulatorSettings(cdn=False))
        self.tour = Tour(
            mountpoint=folder / "library",
            copies=folder / "copies",
            sample=self.sample,
            emulator=self.emulator,
            url_lifetime_s=URL_LIFETIME_S,
            narrator=Narrator(),
            interruption=Interruption(),
        )
        for embed_code, file in self.sample.files.items():
            shutil.copy2(file, folder / "library" / embed_code)
        self.endless_path = folder / "library" / self.sample.endless
        self.write_endless(self.sample.endless_content)

    @property
    def paths(self) -> dict[str, Path]:
        """What the listing gives when all is well."""
        return {path.name: path for path in self.tour.mountpoint.iterdir()}

    def write_endless(self, content: SyntheticContent) -> None:
        """The computed file: its true size, but bytes only at its two ends."""
        ends = 16 * 1024 * 1024
        with self.endless_path.open("wb") as file:
            file.write(content.read(0, ends))
            file.seek(content.size - ends)
            file.write(content.read(content.size - ends, ends))


def name_as_attribute(path: str | os.PathLike[str], _attribute: str) -> bytes:
    """In the place of ``os.getxattr``: not every file system of a tester has attributes."""
    return os.fsencode(Path(path).name)
