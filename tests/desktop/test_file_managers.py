# SPDX-License-Identifier: Apache-2.0
"""A file manager over two hundred videos: what it shows, and what that costs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from backlotfs.emulator import EmulatedAsset, Emulator
from tests.conftest import Serve
from tests.support import commands
from tests.support.clips import COUNT, MARK, make_clips
from tests.support.commands import ROOT
from tests.support.deadlines import wait_until
from tests.support.file_managers import FILE_MANAGERS, FileManager
from tests.support.made_assets import MIB
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests
from tests.support.screen import Screen, screen

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.timeout(500),
    pytest.mark.desktop("ffmpeg", "Xvfb", "xdotool", "dbus-daemon", "import", "xfconf-query"),
]

#: Where `make test-desktop` leaves what was seen.
PICTURES = ROOT / "build" / "screenshots"
#: A preview of a file may cost this much of it.
PREVIEW_BYTES = MIB
#: For two hundred previews, on a slow machine.
PREVIEWS_S = 300.0
#: Longer than any of these tests takes.
LIFE_S = 480.0


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[EmulatedAsset]:
    """The videos, made once."""
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def library(
    clips: list[EmulatedAsset], serve: Serve, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Mount]:
    """All of them mounted, their sizes known and paid for; with the options of the parameter."""
    options: tuple[str, ...] = getattr(request, "param", ())
    folder = tmp_path / "mount"
    folder.mkdir(mode=0o700)
    emulator = serve(*clips)
    with Mount(emulator, folder, *options, life_s=LIFE_S) as mount:
        assert len([path.stat() for path in mount.path.iterdir()]) == COUNT
        _wait_for_quiet(emulator)
        emulator.requests.clear()
        yield mount


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Screen]:
    """A screen, and a user who was never here before."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with screen(home) as shown:
        yield shown


@pytest.mark.parametrize("manager", FILE_MANAGERS, ids=str)
def test_previews_cost_little(
    manager: FileManager, library: Mount, desktop: Screen, clips: list[EmulatedAsset]
) -> None:
    """It makes previews down to the last file; none costs more than a MiB of its file."""
    last = library.file_of(clips[-1])
    with desktop.running(manager.program, library.path):
        _show(desktop, library)
        _look_through(desktop)
        _look_again_until(desktop, lambda: bool(_thumbnails_of(desktop, last)), "the last preview")
        desktop.settle()
        _wait_for_quiet(library.emulator)
        desktop.picture(PICTURES / f"{manager}-previews.png")
    costs = _fetched(library.emulator)
    assert len(costs) > COUNT // 4
    assert max(costs.values()) <= PREVIEW_BYTES


@pytest.mark.parametrize("manager", FILE_MANAGERS, ids=str)
def test_without_previews_nothing_is_read(
    manager: FileManager, library: Mount, desktop: Screen
) -> None:
    """With its previews off it shows all the files, and not one byte of one is fetched."""
    manager.previews_off(desktop)
    with desktop.running(manager.program, library.path):
        _show(desktop, library)
        desktop.settle()
        _look_through(desktop)
        desktop.picture(PICTURES / f"{manager}-no-previews.png")
        _wait_for_quiet(library.emulator)
    assert _fetched(library.emulator) == {}
    assert not list(desktop.thumbnails.rglob("*.png"))


@pytest.mark.parametrize("manager", FILE_MANAGERS, ids=str)
def test_pictures_without_a_byte_of_a_source(
    manager: FileManager, library: Mount, desktop: Screen, clips: list[EmulatedAsset]
) -> None:
    """After ``backlotfs thumbnails`` it has a picture of each file, and reads none."""
    made = commands.run(
        *("thumbnails", "--json", library.path),
        home=library.folder,
        extra={"XDG_CACHE_HOME": str(desktop.thumbnails.parent)},
        timeout_s=PREVIEWS_S,
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["made"] == COUNT
    ours = {path: path.read_bytes() for path in desktop.thumbnails.rglob("*.png")}
    with desktop.running(manager.program, library.path):
        _show(desktop, library)
        desktop.settle()
        _look_through(desktop)
        _wait_for_quiet(library.emulator)
        seen = PICTURES / f"{manager}-thumbnails.png"
        desktop.picture(seen)

    assert _fetched(library.emulator) == {}
    assert {path: path.read_bytes() for path in desktop.thumbnails.rglob("*.png")} == ours
    assert _marked_pixels(seen) > 500  # of a picture of about 64 by 36


@pytest.mark.parametrize("library", [("--shared-thumbnails", "hidden")], indirect=True)
@pytest.mark.parametrize("manager", FILE_MANAGERS, ids=str)
def test_pictures_that_come_with_the_folder(
    manager: FileManager, library: Mount, desktop: Screen, clips: list[EmulatedAsset]
) -> None:
    """Who reads a shared repository shows it and reads no source; the other does not look at it."""
    last = clips[-1]
    images = library.emulator.requests

    def done() -> bool:
        if manager.reads_shared:
            return images.count(route="preview_image", embed_code=last.embed_code) > 0
        return bool(_thumbnails_of(desktop, library.file_of(last)))

    with desktop.running(manager.program, library.path):
        _show(desktop, library)
        _look_through(desktop)
        _look_again_until(desktop, done, "the last picture")
        desktop.settle()
        _wait_for_quiet(library.emulator)
        seen = PICTURES / f"{manager}-shared-thumbnails.png"
        desktop.picture(seen)

    if manager.reads_shared:
        assert _fetched(library.emulator) == {}
        assert not list(desktop.thumbnails.rglob("*.png"))
        assert _marked_pixels(seen) > 500
    else:
        assert _fetched(library.emulator)
        assert ended_requests(library.emulator, route="preview_image") == []


def _marked_pixels(seen: Path) -> int:
    with Image.open(seen) as picture:
        colours = picture.convert("RGB").getcolors(1 << 24) or []
    return sum(count for count, colour in colours if colour == MARK)


def _show(desktop: Screen, library: Mount) -> None:
    desktop.fill_with(desktop.window(library.path.name))


def _look_through(desktop: Screen) -> None:
    """Down to the last file."""
    for _ in range(5):
        desktop.scroll(20)
        desktop.settle()


def _look_again_until(desktop: Screen, condition: Callable[[], bool], what: str) -> None:
    """At the end of the folder, turn the wheel back and forth until the condition holds.

    Thunar 4.18 asks for the previews of what is shown when the wheel is turned, but not while those
    of an earlier view are being made (``thunar_standard_view_request_thumbnails_real``). On a slow
    machine it forgets the last view in this way, until the wheel is turned again.
    """

    def holds() -> bool:
        if condition():
            return True
        desktop.scroll(-2)
        desktop.scroll(2)
        return False

    wait_until(holds, what, timeout_s=PREVIEWS_S, every_s=2.0)


def _thumbnails_of(desktop: Screen, path: Path) -> list[Path]:
    name = hashlib.md5(path.as_uri().encode(), usedforsecurity=False).hexdigest()
    return list(desktop.thumbnails.glob(f"*/{name}.png"))


def _fetched(emulator: Emulator) -> dict[str, int]:
    """Embed code → bytes of that source sent since the library was mounted and its sizes known."""
    costs: dict[str, int] = {}
    for entry in ended_requests(emulator, route="source"):
        if entry.bytes_sent:
            code = str(entry.embed_code)
            costs[code] = costs.get(code, 0) + entry.bytes_sent
    return costs


def _wait_for_quiet(emulator: Emulator) -> None:
    """Until no request is under way and none has come between two looks."""
    seen = -1

    def quiet() -> bool:
        nonlocal seen
        before, seen = seen, len(ended_requests(emulator))
        return seen == before

    wait_until(quiet, "the emulator to have nothing to do", timeout_s=60.0, every_s=1.0)
