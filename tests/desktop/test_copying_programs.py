# SPDX-License-Identifier: Apache-2.0
"""cp, rsync, tar and md5sum over a whole tree: every byte, and nothing a second time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.support.film_mount import FilmMount
from tests.support.programs import run_program

pytestmark = [pytest.mark.mounted, pytest.mark.desktop("ffmpeg", "rsync", "tar", "md5sum", "diff")]


def test_cp_copies_the_tree(films: FilmMount, tmp_path: Path) -> None:
    """``cp -r --preserve=timestamps``; diff, which reads all of both, finds nothing."""
    copy = tmp_path / "copy"
    run_program("cp", "-r", "--preserve=timestamps", films.path, copy)
    assert run_program("diff", "-r", films.path, copy) == ""
    for name in films.originals:
        assert (copy / name).stat().st_mtime == (films.path / name).stat().st_mtime


def test_the_second_rsync_transfers_nothing(films: FilmMount, tmp_path: Path) -> None:
    """``rsync -a`` twice: the first brings each film, the second has not even a time to set."""
    command = ("rsync", "-a", "--itemize-changes", f"{films.path}/", f"{tmp_path}/copy/")
    assert run_program(*command).count(">f+++++++++") == len(films.originals)
    before = films.fetched()
    assert run_program(*command) == ""
    assert films.fetched() == before
    for name, original in films.originals.items():
        assert (tmp_path / "copy" / name).read_bytes() == original.read_bytes()


def test_tar_archives_the_tree(films: FilmMount, tmp_path: Path) -> None:
    """What it packs is what is there, by its own comparison and by the originals."""
    archive = tmp_path / "films.tar"
    run_program("tar", "-C", films.path, "-cf", archive, ".")
    assert run_program("tar", "-C", films.path, "-df", archive) == ""
    for name, original in films.originals.items():
        run_program("tar", "-C", tmp_path, "-xf", archive, f"./{name}")
        assert (tmp_path / name).read_bytes() == original.read_bytes()


def test_md5sum_agrees(films: FilmMount, tmp_path: Path) -> None:
    """``md5sum -c`` on the mount, of sums that were made from the originals."""
    sums = tmp_path / "MD5SUMS"
    lines = [
        f"{hashlib.md5(original.read_bytes()).hexdigest()}  {name}\n"
        for name, original in films.originals.items()
    ]
    sums.write_text("".join(lines), "utf-8")
    checked = run_program("md5sum", "--strict", "-c", sums, cwd=films.path)
    assert checked.count(": OK") == len(films.originals)
