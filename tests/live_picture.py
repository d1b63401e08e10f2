# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.live_picture``: draw what ``status --watch`` shows of a real mount, for docs.

Three programs read from a mount for a minute; the picture is the last one of that minute. Only the
place of the mount is another. ``make screenshot`` is the same with what it needs.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
import time
from pathlib import Path

from rich.console import Console

from backlotfs.cli.live_status import frame
from backlotfs.cli.read_rates import Watched
from backlotfs.emulator import Emulator, EmulatorSettings, Library
from backlotfs.mount.control.client import ask
from tests.support.commands import ROOT
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount
from tests.support.terminal_svg import svg_of

PICTURE = ROOT / "docs" / "images" / "status-watch.svg"
_SECONDS, _COLUMNS, _ROWS = 58, 90, 27
_CALLS_A_MINUTE = 60
_PLACE = {"source": "backlot:main", "mountpoint": "/home/you/library"}


def watched(folder: Path) -> Watched:
    """The answers of a mount from which programs read for `_SECONDS`."""
    clips = [video(f"clip {number:04}.mov", 8 * MIB + number) for number in range(300)]
    reel = video("reel.mxf", 2048 * MIB)
    settings = EmulatorSettings(rate_limit=_CALLS_A_MINUTE, cdn=False)
    options = ("--bwlimit=12M", "--cache-size=2G", f"--cache-dir={folder / 'cache'}")
    seen = Watched()
    with (
        Emulator(Library([reel, *clips]), settings) as emulator,
        Mount(emulator, folder, *options) as mount,
    ):
        mount.expect_log(".")
        mount.file_of(reel).stat()
        copies = [
            subprocess.Popen(
                ["rsync", "-a", f"{mount.path}/", folder / "rsync"], stderr=subprocess.DEVNULL
            ),
            subprocess.Popen(["cp", mount.file_of(reel), folder / "reel.mxf"]),
            subprocess.Popen(
                ["md5sum", *map(mount.file_of, clips)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ),
        ]
        try:
            for _ in range(_SECONDS):
                seen.add(time.monotonic(), ask(mount.path, "status") | _PLACE)
                time.sleep(1)
        finally:
            for copy in copies:
                copy.terminate()
                copy.wait()
    return seen


def drawn(seen: Watched) -> str:
    """The last picture, as SVG."""
    console = Console(
        record=True, width=_COLUMNS, height=_ROWS, file=io.TextIOWrapper(io.BytesIO(), "utf-8"),
        force_terminal=True, color_system="truecolor",
    )  # fmt: skip
    console.print(frame(seen, console))
    return svg_of(console, "backlotfs status --watch", "status-watch")


def main() -> None:
    """Draw it anew."""
    with tempfile.TemporaryDirectory() as folder:
        PICTURE.write_text(drawn(watched(Path(folder))), "utf-8")


if __name__ == "__main__":
    main()
