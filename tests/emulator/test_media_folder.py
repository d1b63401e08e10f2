# SPDX-License-Identifier: Apache-2.0
"""What a media folder may hold besides files: links, FIFOs, devices, sockets, hard links, depth."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from pathlib import Path

import pytest

from backlotfs.emulator import EmulatedAsset, Emulator, Library
from backlotfs.emulator.assets import FileContent
from backlotfs.emulator.folder_library import read_folder
from backlotfs.emulator.media_folder import MOST_LEVELS
from backlotfs.emulator.watching import following
from tests.emulator.probe import call, get
from tests.support.deadlines import wait_until

SECRET = b"outside of the folder"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the media, with a file that nobody may be served."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.mov").write_bytes(SECRET)
    return folder


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Two files, one of them in a folder."""
    folder = tmp_path / "media"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.mov").write_bytes(b"first")
    (folder / "inner" / "secret.mov").write_bytes(b"inner")
    return folder


def names(library: Library) -> list[str]:
    """The file names of all assets."""
    return sorted(one.original_file_name or "" for one in library.ordered())


def asset(library: Library, name: str) -> EmulatedAsset:
    """The asset of this file name."""
    return next(one for one in library.ordered() if one.original_file_name == name)


def test_links_are_left_out_and_named(media: Path, outside: Path) -> None:
    """To files and folders, inside and outside, absolute and relative, dangling ones too."""
    (media / "absolute.mov").symlink_to(outside / "secret.mov")
    (media / "relative.mov").symlink_to("../outside/secret.mov")
    (media / "inside.mov").symlink_to("a.mov")
    (media / "dangling.mov").symlink_to("nowhere")
    (media / "folder").symlink_to(outside)
    (media / "inner" / "up").symlink_to("..")
    found = read_folder(media)
    assert sorted(one.original_file_name or "" for one in found.assets) == ["a.mov", "secret.mov"]
    assert sorted(found.scan.links) == [
        *("absolute.mov", "dangling.mov", "folder", "inner/up", "inside.mov", "relative.mov"),
    ]


def test_links_are_served_to_who_wants_them(media: Path, outside: Path) -> None:
    """With ``follow_links``, those to folders too; a circle of them ends."""
    (media / "link.mov").symlink_to(outside / "secret.mov")
    (media / "folder").symlink_to(outside)
    (media / "inner" / "up").symlink_to("..")
    (media / "dangling.mov").symlink_to("nowhere")
    library = Library.from_folder(media, follow_links=True)
    assert names(library) == ["a.mov", "link.mov", "secret.mov", "secret.mov"]
    content = asset(library, "link.mov").content
    assert content is not None
    assert content.read(0, 100) == SECRET


@pytest.mark.parametrize("follow_links", [False, True])
def test_a_folder_named_by_a_link(tmp_path: Path, media: Path, follow_links: bool) -> None:
    """Whoever starts the emulator may name the folder as they like."""
    (tmp_path / "link").symlink_to(media)
    library = Library.from_folder(tmp_path / "link", follow_links=follow_links)
    with Emulator(library) as emulator:
        url = emulator.source_url(asset(library, "a.mov").embed_code)
        assert get(url).body == b"first"


def swap_file(media: Path, outside: Path) -> None:
    """The file becomes a link."""
    (media / "inner" / "secret.mov").unlink()
    (media / "inner" / "secret.mov").symlink_to(outside / "secret.mov")


def swap_folder(media: Path, outside: Path) -> None:
    """The folder that it lies in becomes a link."""
    shutil.rmtree(media / "inner")
    (media / "inner").symlink_to(outside)


def swap_media(media: Path, outside: Path) -> None:
    """The media folder itself becomes a link."""
    media.rename(media.with_name("old"))
    (outside / "inner").mkdir()
    (outside / "inner" / "secret.mov").write_bytes(SECRET)
    media.symlink_to(outside)


@pytest.mark.parametrize("swap", [swap_file, swap_folder, swap_media])
def test_a_link_put_in_while_it_runs(media: Path, outside: Path, swap: object) -> None:
    """404 for what was served before; its size and image are not told either."""
    assert callable(swap)
    with Emulator(Library.from_folder(media)) as emulator:
        code = asset(emulator.library, "secret.mov").embed_code
        url = emulator.source_url(code)
        assert get(url).body == b"inner"
        swap(media, outside)
        assert get(url).status == 404
        fresh = call(emulator, f"/v2/assets/{code}/source_file_info").json
        assert fresh["file_size"] == 0
        assert get(fresh["source_file_url"]).status == 404
        image = call(emulator, f"/v2/assets/{code}").json["preview_image_url"]
        assert get(image).body.startswith(b"\x89PNG")  # a plain colour
        assert call(emulator, "/v2/assets").status == 200


def make_fifo(path: Path) -> None:
    """A pipe that nobody writes to."""
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    """A socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def make_folder(path: Path) -> None:
    """A folder."""
    path.mkdir()


def make_device(path: Path) -> None:
    """A terminal that opening could make ours: only root can make one."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a device")
    try:
        os.mknod(path, 0o020644, os.makedev(5, 0))
    except PermissionError:
        pytest.skip("devices cannot be made here")


KINDS = [make_fifo, make_socket, make_folder, make_device]


@pytest.mark.parametrize("make", KINDS)
def test_what_is_no_file_is_left_out(media: Path, make: object) -> None:
    """At the start."""
    assert callable(make)
    make(media / "odd.mov")
    assert names(Library.from_folder(media)) == ["a.mov", "secret.mov"]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("follow_links", [False, True])
def test_a_file_replaced_by_something_else(media: Path, make: object, follow_links: bool) -> None:
    """Is a 404 in no time, for its size, its image and its bytes; other files are served."""
    assert callable(make)
    with Emulator(Library.from_folder(media, follow_links=follow_links)) as emulator:
        code = asset(emulator.library, "a.mov").embed_code
        stale = emulator.source_url(code)
        (media / "a.mov").unlink()
        make(media / "a.mov")
        assert get(stale).status == 404
        assert get(emulator.source_url(code)).status == 404
        assert get(call(emulator, f"/v2/assets/{code}").json["preview_image_url"]).status == 200
        other = emulator.source_url(asset(emulator.library, "secret.mov").embed_code)
        assert get(other).body == b"inner"


@pytest.mark.parametrize("make", KINDS)
def test_a_content_of_a_path_that_is_no_file(tmp_path: Path, make: object) -> None:
    """Also where a program names the path itself."""
    assert callable(make)
    make(tmp_path / "odd.mov")
    content = FileContent(tmp_path / "odd.mov")
    assert content.size == 0
    with pytest.raises(OSError, match="not a regular file"):
        content.open()


def test_a_name_that_is_not_utf8_stops_no_watching(media: Path) -> None:
    """Files that come, change and go are seen while such a file is there and changes too."""
    found = read_folder(media)
    library = Library.from_folder(media)
    odd = Path(os.fsdecode(os.fsencode(media) + b"/bad\xff.mov"))
    told: list[str] = []
    with following(library, found, told.append):
        for number in range(3):
            odd.write_bytes(bytes(number))
            new = media / f"new-{number}.mov"
            new.write_bytes(b"new")
            os.utime(new, (1, 1))  # so that it counts as complete
            wait_until(lambda name=new.name: name in names(library), "the new file")  # type: ignore[misc]
        new.unlink()
        wait_until(lambda: new.name not in names(library), "the end of the file")
    assert told == []


def test_a_hard_link_is_the_file(media: Path, outside: Path) -> None:
    """It has no outside: it is served as any file (the kernel decides who may make one)."""
    os.link(outside / "secret.mov", media / "hard.mov")
    library = Library.from_folder(media)
    content = asset(library, "hard.mov").content
    assert content is not None
    assert content.read(0, 100) == SECRET


@pytest.mark.parametrize(
    "name", ["../outside/secret.mov", "inner/../a.mov", "/etc/passwd", "link.mov"]
)
def test_library_json_cannot_name_what_is_not_served(media: Path, outside: Path, name: str) -> None:
    """Paths up, absolute ones and links are refused with the name."""
    (media / "link.mov").symlink_to(outside / "secret.mov")
    (media / "library.json").write_text(json.dumps({"assets": [{"file": name}]}), "utf-8")
    with pytest.raises(ValueError, match="not in the folder"):
        Library.from_folder(media)


def test_library_json_that_is_a_link(media: Path, outside: Path) -> None:
    """Is refused: without it, what it hides would be served."""
    (outside / "library.json").write_text('{"only_listed": true}', "utf-8")
    (media / "library.json").symlink_to(outside / "library.json")
    with pytest.raises(ValueError, match="--follow-links"):
        Library.from_folder(media)
    assert names(Library.from_folder(media, follow_links=True)) == []


def test_library_json_that_is_no_file(media: Path) -> None:
    """Is refused, and not waited for."""
    os.mkfifo(media / "library.json")
    with pytest.raises(ValueError, match="not a regular file"):
        Library.from_folder(media)


def test_folders_nested_without_end(media: Path) -> None:
    """What lies deeper than any real folder is left out, and named."""
    descriptor = os.open(media, os.O_RDONLY)
    for level in range(200):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
        if level == 1:
            os.close(os.open("deep.mov", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    found = read_folder(media)
    assert "deep.mov" in {one.original_file_name for one in found.assets}
    assert [name.count("/") for name in found.scan.too_deep] == [MOST_LEVELS]


def test_a_swap_in_the_middle_of_requests(media: Path, outside: Path) -> None:
    """A file that is a link every other moment is never followed."""
    real, link = media / "inner" / "real", media / "inner" / "link"
    real.write_bytes(b"inner")
    link.symlink_to(outside / "secret.mov")
    target = media / "inner" / "secret.mov"
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for one in (real, link):
                copy = one.with_name("copy")
                if one.is_symlink():
                    copy.symlink_to(outside / "secret.mov")
                else:
                    copy.write_bytes(b"inner")
                copy.replace(target)

    swapping = threading.Thread(target=swap)
    library = Library.from_folder(media)
    content = asset(library, "secret.mov").content
    assert content is not None
    swapping.start()
    try:
        read = set()
        for _ in range(2000):
            try:
                read.add(content.read(0, 100))
            except OSError:
                read.add(b"")
    finally:
        over.set()
        swapping.join()
    assert read <= {b"inner", b""}
