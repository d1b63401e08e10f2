# SPDX-License-Identifier: Apache-2.0
"""``thumbnails``: what is made, what is left alone, what is said."""

from __future__ import annotations

import base64
import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backlotfs.errors import BacklotError
from backlotfs.mount.control.client import NoAnswer
from tests.unit.thumbnails.images import encoded

COMMAND = import_module("backlotfs.cli.thumbnails")
IMAGE = encoded()


class FakeMount:
    """A folder that takes itself for a mount; every file has the image that ``images`` names."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.images: dict[str, bytes | NoAnswer | None] = {}
        self.asked: list[str] = []

    def add(self, name: str, image: bytes | NoAnswer | None = IMAGE) -> Path:
        """A file of it."""
        self.images[f"/{name}"] = image
        path = self.place / name
        path.write_bytes(b"film")
        return path

    def ask(self, place: Path, command: str, *, timeout_s: float, path: str) -> dict[str, Any]:
        """As `mount.control.client.ask`."""
        assert (place, command) == (self.place, "preview")
        assert timeout_s > 30.0  # longer than the mount takes to fail
        self.asked.append(path)
        image = self.images[path]
        if isinstance(image, NoAnswer):
            raise image
        return {"image": image and base64.b64encode(image).decode()}


@pytest.fixture
def mount(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMount:
    """The mount there; the cache is beside it."""
    fake = FakeMount(place)
    monkeypatch.setattr(COMMAND, "ask", fake.ask)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fake


def run(*words: str | Path) -> Result:
    """The command."""
    return CliRunner().invoke(COMMAND.thumbnails, [os.fspath(word) for word in words])


def test_each_file_once(mount: FakeMount, tmp_path: Path) -> None:
    """In the three usual sizes; the second time nothing is asked, until a file is another."""
    changing = mount.add("a.mov")
    mount.add("b.mov")
    mount.add("c.mov", None)
    result = run(mount.place)
    assert result.exit_code == 0, result.output
    assert result.output == "2 made, 0 up to date, 1 without a preview image\n"
    made = list((tmp_path / "cache" / "thumbnails").rglob("*.png"))
    assert sorted({path.parent.name for path in made}) == ["large", "normal", "x-large"]
    assert len(made) == 6
    mount.asked.clear()
    assert "0 made, 2 up to date, 1 without" in run(mount.place).output
    assert mount.asked == ["/c.mov"]
    os.utime(changing, (1, 1))
    answer = json.loads(run("--json", mount.place).output)
    assert {key: answer[key] for key in ("files", "made", "current")} == {
        "files": 3,
        "made": 1,
        "current": 1,
    }


def test_again_and_other_sizes(mount: FakeMount, tmp_path: Path) -> None:
    """As they are asked for."""
    mount.add("a.mov")
    assert run("--size", "xx-large", mount.place).exit_code == 0
    assert [path.parent.name for path in tmp_path.rglob("*.png")] == ["xx-large"]
    mount.asked.clear()
    run("--size", "xx-large", "--again", mount.place)
    assert mount.asked == ["/a.mov"]


def test_failures_are_named_and_the_others_go_on(mount: FakeMount) -> None:
    """A host that fails, and an image that is none."""
    broken = mount.add("a.mov", NoAnswer("image host h answers 503", 4))
    false = mount.add("b.mov", b"<html>")
    mount.add("c.mov")
    result = run("--jobs", "1", mount.place)
    assert f"backlotfs: {broken}: image host h answers 503\n" in result.output
    assert f"backlotfs: {false}: the preview image cannot be decoded" in result.output
    assert "1 made" in result.output
    assert isinstance(result.exception, BacklotError)
    assert "2 of 3 files without a thumbnail" in str(result.exception)
    assert result.exception.exit_code == 4


def test_a_file_that_cannot_be_looked_at(mount: FakeMount) -> None:
    """Say, because its size cannot be found out now."""
    mount.add("a.mov").unlink()
    (mount.place / "a.mov").symlink_to("nowhere")
    result = run(mount.place)
    assert isinstance(result.exception, BacklotError)
    assert "see: stat" in result.output
