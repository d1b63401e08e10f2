# SPDX-License-Identifier: Apache-2.0
"""A screen that nobody looks at, with a session of its own: Xvfb, a bus, a home folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.programs import find_program, run_program

_SIZE = "1280x800x24"
#: For a window to come and for the screen to come to rest, on a slow machine.
PATIENCE_S = 60.0
#: Nothing blinks, so that a picture that stays the same means that nothing is going on.
_CALM = {
    ".config/gtk-3.0/settings.ini": "[Settings]\ngtk-cursor-blink=0\ngtk-enable-animations=0\n",
    ".gtkrc-2.0": "gtk-cursor-blink = 0\n",
}
#: Programs that must look the same on all machines, and must not mount anything themselves.
_VARIABLES = {
    "GDK_BACKEND": "x11",
    "GVFS_DISABLE_FUSE": "1",
    "LC_ALL": "C.UTF-8",
    "LIBGL_ALWAYS_SOFTWARE": "1",
    "NO_AT_BRIDGE": "1",
}


class Screen:
    """An X server and a session bus. Everything started on it ends with it."""

    def __init__(self, home: Path, display: str, bus_address: str) -> None:
        """``home``: of the user who sits before it; see `screen`."""
        self.home = home
        self.environment = {
            **commands.environment(home),
            **_VARIABLES,
            "DISPLAY": display,
            "DBUS_SESSION_BUS_ADDRESS": bus_address,
            "XDG_RUNTIME_DIR": str(home / "run"),
        }

    @property
    def thumbnails(self) -> Path:
        """The user's own cache of thumbnails."""
        return self.home / ".cache" / "thumbnails"

    def run(self, name: str, *arguments: str | Path) -> str:
        """Run a program to its end; what it printed."""
        return run_program(name, *arguments, environment=self.environment)

    @contextlib.contextmanager
    def running(self, name: str, *arguments: str | Path) -> Iterator[None]:
        """Run a program beside; what it says goes to a file of its name below the home."""
        program = find_program(name)
        assert program is not None, f"this test needs {name}"
        with (
            (self.home / f"{name}.log").open("w") as log,
            _ended(
                subprocess.Popen(
                    [program, *arguments],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            ),
        ):
            yield

    def window(self, title: str) -> str:
        """The id of the window whose title has ``title`` in it, once it is shown.

        :raises AssertionError: it does not come.
        """
        found: list[str] = []

        def look() -> bool:
            done = subprocess.run(
                ["xdotool", "search", "--onlyvisible", "--name", title],
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            found[:] = done.stdout.split()
            return bool(found)

        wait_until(look, f"a window called {title}", timeout_s=PATIENCE_S)
        return found[-1]

    def fill_with(self, window: str) -> None:
        """Make a window as large as the screen, the pointer in its middle."""
        self.run("xdotool", "windowmove", window, "0", "0")
        self.run("xdotool", "windowsize", window, "1280", "800")
        self.run("xdotool", "mousemove", "760", "420")

    def scroll(self, notches: int) -> None:
        """Turn the wheel of the mouse downwards; a negative number, upwards."""
        button = "5" if notches > 0 else "4"
        self.run("xdotool", "click", "--repeat", str(abs(notches)), button)

    def settle(self) -> None:
        """Return when nothing has moved on it between two looks.

        :raises AssertionError: it does not come to rest.
        """
        last = b""

        def rests() -> bool:
            nonlocal last
            before, last = last, self._pixels()
            return before == last

        wait_until(rests, "the screen to rest", timeout_s=PATIENCE_S, every_s=0.5)

    def picture(self, path: Path) -> None:
        """Keep what is shown now, as a file of the kind that its name says."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.run("import", "-window", "root", path)

    def _pixels(self) -> bytes:
        picture = self.home / "now.ppm"
        self.picture(picture)
        return picture.read_bytes()


@contextlib.contextmanager
def screen(home: Path) -> Iterator[Screen]:
    """A screen with the session of a user whose home is ``home``, an empty folder."""
    (home / "run").mkdir(mode=0o700)
    for name, text in _CALM.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    reading, writing = os.pipe()
    server = subprocess.Popen(
        # -noreset: it would start anew, deaf for a moment, each time that its last client leaves.
        [
            *("Xvfb", "-displayfd", str(writing), "-screen", "0", _SIZE),
            *("-noreset", "-nolisten", "tcp"),
        ],
        pass_fds=[writing],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(writing)
    with _ended(server), os.fdopen(reading) as number:
        display = f":{number.readline().strip()}"
        with (home / "bus.log").open("w") as log:
            bus = subprocess.Popen(
                ["dbus-daemon", "--session", "--nofork", "--print-address=1"],
                env=Screen(home, display, "").environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        with _ended(bus):
            assert bus.stdout is not None
            yield Screen(home, display, bus.stdout.readline().strip())
            bus.stdout.close()


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Iterator[None]:
    """End it and what it started, which is in its process group."""
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(5)
