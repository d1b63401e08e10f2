# SPDX-License-Identifier: Apache-2.0
"""Names, attributes and bytes of a library as a file system of fsspec."""

from __future__ import annotations

import errno
import io
import random
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from backlotfs.emulator import EmulatedAsset, Emulator, Fault
from backlotfs.fsspec import BacklotFileSystem
from backlotfs.fsspec.libraries import close_libraries
from tests.fsspec.conftest import CLIP, FILM, NOTE, SMALL, MakeFs
from tests.support.expected_bytes import len_of, origin_bytes
from tests.support.made_assets import MIB, video
from tests.support.request_log import ended_requests

NOTE_BYTES = b"first line\nsecond line\nthird"


def api_calls(emulator: Emulator) -> int:
    """The calls of the API so far."""
    return sum(entry.route != "source" for entry in ended_requests(emulator))


def replaced(emulator: Emulator, asset: EmulatedAsset) -> EmulatedAsset:
    """Give an asset another source of the same size."""
    return emulator.library.replace(asset.embed_code, size=len_of(asset))


class TestNames:
    """Listings and attributes."""

    def test_folders_and_files(self, fs: BacklotFileSystem) -> None:
        """A path begins with a slash, as below a mountpoint."""
        assert sorted(fs.ls("/", detail=False)) == ["/News", "/Sport", "/Unlabeled"]
        assert sorted(fs.ls("News", detail=False)) == ["/News/film.mov", "/News/note [1].txt"]
        assert fs.ls("/Unlabeled/clip.mov", detail=False) == ["/Unlabeled/clip.mov"]
        assert fs.isdir("/News")
        assert fs.isfile("/News/film.mov")
        assert not fs.exists("/News/none.mov")
        assert not fs.exists("/Unlabeled/clip.mov/below")

    def test_find_glob_and_walk(self, fs: BacklotFileSystem) -> None:
        """As of any other file system."""
        assert sorted(fs.find("/")) == [
            "/News/film.mov",
            "/News/note [1].txt",
            "/Sport/small.bin",
            "/Unlabeled/clip.mov",
        ]
        assert sorted(fs.glob("/**/*.mov")) == ["/News/film.mov", "/Unlabeled/clip.mov"]
        assert {place: sorted(files) for place, _, files in fs.walk("/News")} == {
            "/News": ["film.mov", "note [1].txt"]
        }

    def test_brackets_may_be_in_a_name(self, fs: BacklotFileSystem, tmp_path: Path) -> None:
        """Names that are given to two assets differ by an id in brackets."""
        assert fs.glob("/News/note [1].txt") == ["/News/note [1].txt"]
        assert fs.cat("/News/note [1].txt") == NOTE_BYTES
        fs.get("/News/note [1].txt", str(tmp_path / "copy.txt"))
        assert (tmp_path / "copy.txt").read_bytes() == NOTE_BYTES
        fs.get("/News/note [1].txt", f"{tmp_path}/")
        assert (tmp_path / "note [1].txt").read_bytes() == NOTE_BYTES

    def test_listings_and_tests_of_existence_wait_for_no_size(
        self, emulator: Emulator, fs: BacklotFileSystem
    ) -> None:
        """A size costs an API call; so only what needs it asks for it."""
        emulator.faults.add(Fault.status(503), route="streams")
        emulator.faults.add(Fault.status(503), route="source_file_info")
        sizes = {info["name"]: info["size"] for info in fs.ls("/Unlabeled")}
        assert sizes == {"/Unlabeled/clip.mov": None}
        assert fs.exists("/Unlabeled/clip.mov")
        assert fs.isfile("/Unlabeled/clip.mov")

    def test_info_waits_for_the_size(self, fs: BacklotFileSystem) -> None:
        """And so do `size`, `sizes` and `du`."""
        info = fs.info("backlot:///Unlabeled/clip.mov")
        assert (info["name"], info["size"], info["type"]) == (
            "/Unlabeled/clip.mov",
            len_of(CLIP),
            "file",
        )
        assert fs.sizes(["/News/film.mov", "/Sport/small.bin"]) == [len_of(FILM), len_of(SMALL)]
        assert fs.du("/") == sum(map(len_of, (CLIP, FILM, NOTE, SMALL)))
        assert {info["name"]: info["size"] for info in fs.ls("/Sport")} == {
            "/Sport/small.bin": len_of(SMALL)
        }

    def test_times(self, fs: BacklotFileSystem) -> None:
        """Aware times, in UTC."""
        assert fs.created("/Unlabeled/clip.mov") == datetime.fromtimestamp(CLIP.created_at, UTC)
        assert fs.modified("/Unlabeled/clip.mov").tzinfo is UTC
        assert fs.created("/News").tzinfo is UTC

    def test_a_new_asset_is_there_after_invalidate_cache(
        self, emulator: Emulator, fs: BacklotFileSystem
    ) -> None:
        """The listing is refreshed by itself only after ``metadata_ttl``."""
        assert not fs.exists("/Unlabeled/new.mov")
        emulator.library.add(video("new.mov"))
        fs.invalidate_cache()
        assert fs.exists("/Unlabeled/new.mov")

    def test_a_layout_by_labels_over_a_listing_without_them(
        self, make_fs: MakeFs, tmp_path: Path
    ) -> None:
        """The labels are fetched, though the saved listing is not old."""
        cache = str(tmp_path / "kept")
        assert "/clip.mov" in make_fs(cache_dir=cache).ls("/", detail=False)
        close_libraries()
        listed = make_fs(layout="labels", cache_dir=cache).ls("/", detail=False)
        assert {"/News", "/Sport", "/Unlabeled"} <= set(listed)

    def test_two_file_systems_share_a_library(self, emulator: Emulator, make_fs: MakeFs) -> None:
        """The second one lists nothing."""
        make_fs(layout="labels").ls("/")
        calls = api_calls(emulator)
        make_fs(layout="labels", skip_instance_cache=True).ls("/")
        assert api_calls(emulator) == calls


class TestBytes:
    """Reads."""

    def test_open_reads_and_seeks(self, fs: BacklotFileSystem) -> None:
        """A file is a `BufferedReader`."""
        with fs.open("/News/film.mov") as file:
            assert file.size == len_of(FILM)
            assert file.read(1000) == origin_bytes(FILM, 0, 1000)
            file.seek(-500, io.SEEK_END)
            assert file.tell() == len_of(FILM) - 500
            assert file.read() == origin_bytes(FILM, len_of(FILM) - 500)
            assert file.read(1) == b""
            file.seek(12 * MIB + 5)
            assert file.read(100_000) == origin_bytes(FILM, 12 * MIB + 5, 100_000)
            file.seek(1)
            assert file.read() == origin_bytes(FILM, 1)

    def test_a_large_read_is_one_of_many_gets(self, fs: BacklotFileSystem) -> None:
        """More than fits into the memory for one read."""
        with fs.open("/News/film.mov") as file:
            assert file.read(18 * MIB) == origin_bytes(FILM, 0, 18 * MIB)

    def test_text_and_lines(self, fs: BacklotFileSystem) -> None:
        """As any file."""
        with fs.open("/News/note [1].txt", "r") as file:
            assert list(file) == ["first line\n", "second line\n", "third"]
        with fs.open("/News/note [1].txt") as file:
            assert file.readline() == b"first line\n"

    def test_cat_file_takes_limits_like_a_slice(self, fs: BacklotFileSystem) -> None:
        """Negative ones count from the end, and those beyond it are the end."""
        whole = origin_bytes(CLIP)
        assert fs.cat_file("/Unlabeled/clip.mov") == whole
        for start, end in [
            (5, 100),
            (None, 10),
            (-10, None),
            (-10, -5),
            (7, 7),
            (len(whole), None),
        ]:
            assert fs.cat_file("/Unlabeled/clip.mov", start, end) == whole[start:end]
        assert fs.head("/Unlabeled/clip.mov", 10) == whole[:10]
        assert fs.tail("/Unlabeled/clip.mov", 10) == whole[-10:]

    def test_cat_reads_several_files(self, fs: BacklotFileSystem) -> None:
        """By their paths; a file that is not there is an error of its own."""
        assert fs.cat("/News", recursive=True) == {
            "/News/film.mov": origin_bytes(FILM),
            "/News/note [1].txt": NOTE_BYTES,
        }
        found = fs.cat(["/Unlabeled/clip.mov", "/none"], on_error="return")
        assert found["/Unlabeled/clip.mov"] == origin_bytes(CLIP)
        assert isinstance(found["/none"], FileNotFoundError)
        assert list(fs.cat(["/Unlabeled/clip.mov", "/none"], on_error="omit")) == [
            "/Unlabeled/clip.mov"
        ]
        with pytest.raises(FileNotFoundError):
            fs.cat(["/Unlabeled/clip.mov", "/none"])

    def test_a_file_that_the_mount_would_make(self, make_fs: MakeFs) -> None:
        """A sidecar has no source."""
        fs = make_fs(sidecars=True)
        with fs.open("/clip.mov.json") as file:
            whole = file.read()
        assert CLIP.embed_code.encode() in whole
        assert fs.cat_file("/clip.mov.json", 1, 5) == whole[1:5]
        assert fs.info("/clip.mov.json")["size"] == len(whole)
        assert fs.ukey("/clip.mov.json")

    def test_get_copies_files_and_folders(self, fs: BacklotFileSystem, tmp_path: Path) -> None:
        """The whole library, in one call."""
        fs.get("/", str(tmp_path / "copy"), recursive=True)
        assert (tmp_path / "copy" / "Unlabeled" / "clip.mov").read_bytes() == origin_bytes(CLIP)
        assert (tmp_path / "copy" / "News" / "film.mov").read_bytes() == origin_bytes(FILM)

    def test_of_a_copy_that_failed_nothing_is_left(
        self, emulator: Emulator, fs: BacklotFileSystem, tmp_path: Path
    ) -> None:
        """Half a film would look like a film."""
        fs.info("/News/film.mov")
        emulator.faults.add(Fault.of("access_denied"), route="source")
        with pytest.raises(PermissionError):
            fs.get_file("/News/film.mov", str(tmp_path / "film.mov"))
        assert not (tmp_path / "film.mov").exists()

    def test_urls_of_other_libraries_of_fsspec(self, make_fs: MakeFs) -> None:
        """`fsspec.open`, with a compression or a cache of its own in between."""
        options = make_fs().storage_options
        with fsspec.open("backlot:///clip.mov", **options) as file:
            assert file.read(10) == origin_bytes(CLIP, 0, 10)
        with fsspec.open("simplecache::backlot:///clip.mov", backlot=options) as file:
            assert file.read() == origin_bytes(CLIP)


class TestRanges:
    """`cat_ranges`."""

    def test_parts_of_several_files(self, fs: BacklotFileSystem) -> None:
        """In the order in which they are asked for."""
        wanted = [
            ("/News/film.mov", 5, 1000, FILM),
            ("/Unlabeled/clip.mov", 0, 70_000, CLIP),
            ("/News/film.mov", 900, 1_000_000, FILM),  # overlaps the first
            ("/News/film.mov", 15 * MIB, 15 * MIB + 1, FILM),
            ("/Sport/small.bin", 4, 4, SMALL),
            ("/News/film.mov", 0, 12 * MIB, FILM),  # a stream
        ]
        paths, starts, ends, assets = (list(column) for column in zip(*wanted, strict=True))
        assert fs.cat_ranges(paths, starts, ends) == [
            origin_bytes(asset, start, end - start)
            for start, end, asset in zip(starts, ends, assets, strict=True)
        ]

    def test_neighbouring_parts_are_one_get(
        self, emulator: Emulator, fs: BacklotFileSystem
    ) -> None:
        """64 parts of 16 KiB of one file cost one GET."""
        fs.info("/Unlabeled/clip.mov")
        before = len(ended_requests(emulator, route="source"))
        starts = [number * 16384 for number in range(64)]
        found = fs.cat_ranges(
            ["/Unlabeled/clip.mov"] * 64, starts, [start + 16384 for start in starts]
        )
        assert found == [origin_bytes(CLIP, start, 16384) for start in starts]
        assert len(ended_requests(emulator, route="source")) == before + 1

    def test_many_neighbours_are_larger_gets(
        self, emulator: Emulator, fs: BacklotFileSystem
    ) -> None:
        """All of a file in parts of 64 KiB, in a mixed order: GETs of 1 MiB."""
        fs.info("/News/film.mov")
        before = len(ended_requests(emulator, route="source"))
        starts = list(range(0, len_of(FILM), 65536))
        random.Random(1).shuffle(starts)
        found = fs.cat_ranges(
            ["/News/film.mov"] * len(starts), starts, [start + 65536 for start in starts]
        )
        assert found == [origin_bytes(FILM, start, 65536) for start in starts]
        assert len(ended_requests(emulator, route="source")) == before + 20

    def test_more_than_the_memory_holds(self, make_fs: MakeFs) -> None:
        """The reads begin as far as there is room."""
        fs = make_fs(memory="16M")
        starts = list(range(0, 20 * MIB, MIB))
        found = fs.cat_ranges(["/film.mov"] * 20, starts, [start + 900_000 for start in starts])
        assert found == [origin_bytes(FILM, start, 900_000) for start in starts]

    def test_what_is_missing_fails_alone(self, fs: BacklotFileSystem) -> None:
        """Or at once, if the caller wants that."""
        good, bad = fs.cat_ranges(["/Unlabeled/clip.mov", "/none"], [0, 0], [3, 3])
        assert good == origin_bytes(CLIP, 0, 3)
        assert isinstance(bad, FileNotFoundError)
        with pytest.raises(FileNotFoundError):
            fs.cat_ranges(["/Unlabeled/clip.mov", "/none"], 0, 3, on_error="raise")
        with pytest.raises(ValueError, match="same length"):
            fs.cat_ranges(["/Unlabeled/clip.mov"], [0, 1], [3, 3])


class TestVersions:
    """A source that is replaced."""

    def test_an_open_file_keeps_its_version(
        self, emulator: Emulator, fs: BacklotFileSystem
    ) -> None:
        """Or its reads fail with ESTALE."""
        with fs.open("/News/film.mov") as file:
            assert file.read(100) == origin_bytes(FILM, 0, 100)
            replaced(emulator, FILM)
            file.seek(15 * MIB)
            with pytest.raises(OSError, match="replaced") as caught:
                file.read(100)
        assert caught.value.errno == errno.ESTALE

    def test_ranges_are_of_one_version(self, emulator: Emulator, fs: BacklotFileSystem) -> None:
        """The next call reads the new one."""
        fs.info("/News/film.mov")
        now = replaced(emulator, FILM)
        paths, starts = ["/News/film.mov"] * 3, [0, 8 * MIB, 16 * MIB]
        for answer in fs.cat_ranges(paths, starts, [start + 10 for start in starts]):
            assert isinstance(answer, OSError)
            assert answer.errno == errno.ESTALE
        fs.invalidate_cache()
        found = fs.cat_ranges(paths, starts, [start + 10 for start in starts])
        assert found == [origin_bytes(now, start, 10) for start in starts]

    def test_keys_tell_versions_apart(self, emulator: Emulator, fs: BacklotFileSystem) -> None:
        """And are the same as long as the version is."""
        before = fs.ukey("/Unlabeled/clip.mov"), fs.checksum("/Unlabeled/clip.mov")
        assert (fs.ukey("/Unlabeled/clip.mov"), fs.checksum("/Unlabeled/clip.mov")) == before
        replaced(emulator, CLIP)
        fs.invalidate_cache()
        assert fs.ukey("/Unlabeled/clip.mov") != before[0]
        assert fs.checksum("/Unlabeled/clip.mov") != before[1]


@pytest.mark.parametrize(
    "write",
    [
        lambda fs: fs.open("/new", "wb"),
        lambda fs: fs.mkdir("/new"),
        lambda fs: fs.makedirs("/new/below"),
        lambda fs: fs.rm("/Unlabeled/clip.mov"),
        lambda fs: fs.mv("/Unlabeled/clip.mov", "/other.mov"),
        lambda fs: fs.copy("/Unlabeled/clip.mov", "/other.mov"),
        lambda fs: fs.pipe("/new", b"x"),
        lambda fs: fs.touch("/new"),
        lambda fs: fs.put("/etc/hostname", "/new"),
    ],
)
def test_it_is_read_only(fs: BacklotFileSystem, write: object) -> None:
    """EROFS, as on a mount."""
    assert callable(write)
    with pytest.raises(OSError, match="read-only") as caught:
        write(fs)
    assert caught.value.errno == errno.EROFS
