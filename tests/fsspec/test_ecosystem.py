# SPDX-License-Identifier: Apache-2.0
"""pandas, PyArrow, Dask and universal-pathlib read a library by its URL."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest

from backlotfs.emulator import Emulator
from tests.fsspec.conftest import CLIP, FILM, NOTE, SMALL
from tests.support.expected_bytes import len_of, origin_bytes
from tests.support.made_assets import video

pytestmark = pytest.mark.long
FILES = (CLIP, FILM, NOTE, SMALL)


def test_pandas_reads_files_and_sidecars(emulator: Emulator, profile: Path) -> None:
    """A table by its URL, and one made of all sidecars."""
    pandas = pytest.importorskip("pandas")
    emulator.library.add(video("shots.csv", b"name,seconds\na,1\nb,2\n"))
    assert pandas.read_csv("backlot://main/shots.csv")["seconds"].tolist() == [1, 2]
    one = pandas.read_json("backlot://main/clip.mov.json", typ="series")
    assert CLIP.embed_code in one.tolist()
    fs = fsspec.filesystem("backlot", profile="main")
    table = pandas.DataFrame(json.loads(text) for text in fs.cat("/*.json").values())
    assert len(table) == len(FILES) + 1


def test_pyarrow_reads_a_dataset(emulator: Emulator, profile: Path, tmp_path: Path) -> None:
    """Columns of two Parquet files."""
    pyarrow = pytest.importorskip("pyarrow")
    dataset = pytest.importorskip("pyarrow.dataset")
    parquet = pytest.importorskip("pyarrow.parquet")
    for number in range(2):
        path = tmp_path / f"part-{number}.parquet"
        rows = range(number * 1000, number * 1000 + 1000)
        parquet.write_table(pyarrow.table({"n": rows, "text": [str(row) for row in rows]}), path)
        emulator.library.add(video(path.name, path.read_bytes()))
    fs = fsspec.filesystem("backlot", profile="main")
    found = dataset.dataset(fs.glob("/*.parquet"), filesystem=fs, format="parquet")
    assert found.to_table(columns=["n"])["n"].to_pylist() == list(range(2000))
    assert found.count_rows(filter=dataset.field("n") >= 1500) == 500


def test_dask_reads_texts_and_blocks(profile: Path) -> None:
    """A bag of sidecars, and the first bytes of all files, by worker processes."""
    bag = pytest.importorskip("dask.bag")
    core = pytest.importorskip("dask.bytes.core")
    dask = pytest.importorskip("dask")
    fs = fsspec.filesystem("backlot", profile="main")
    texts = bag.from_sequence(fs.glob("/*.json")).map(fs.cat_file).map(json.loads)
    with dask.config.set(scheduler="processes", num_workers=2):
        assert len(texts.compute()) == len(FILES)
    _, blocks = core.read_bytes("backlot://main/film.mov", blocksize=8 * 2**20, sample=False)
    assert b"".join(dask.compute(*blocks[0], scheduler="threads")) == origin_bytes(FILM)
    sample, _ = core.read_bytes("backlot://main/film.mov", blocksize=8 * 2**20, sample=1000)
    assert sample == origin_bytes(FILM, 0, 1000)


@pytest.mark.filterwarnings("ignore:UPath 'backlot'")  # it knows only its own list of protocols
def test_paths_of_universal_pathlib(profile: Path) -> None:
    """As `pathlib.Path`, over a URL."""
    upath = pytest.importorskip("upath")
    root = upath.UPath("backlot://main/")
    assert {path.name for path in root.iterdir()} >= {"clip.mov", "film.mov"}
    clip = root / "clip.mov"
    assert clip.exists()
    assert clip.stat().st_size == len_of(CLIP)
    assert clip.read_bytes() == origin_bytes(CLIP)
    with clip.open("rb") as file:
        file.seek(5)
        assert file.read(5) == origin_bytes(CLIP, 5, 5)
