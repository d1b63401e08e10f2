# SPDX-License-Identifier: Apache-2.0
"""Preview images: where the records say they are, unsigned."""

from __future__ import annotations

import http.client
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backlotfs.emulator import EmulatedAsset, Emulator, FileContent, Library
from tests.emulator.conftest import CLIP
from tests.emulator.probe import call


def get(url: str, **headers: str) -> tuple[int, str | None, bytes]:
    """Status, type and body."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.request("GET", parts.path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers["Content-Type"], answer.read()
    connection.close()
    return found


def test_a_record_leads_to_its_image(emulator: Emulator) -> None:
    """A PNG of a colour where there is nothing better; whole or a range of it."""
    url = call(emulator, f"/v2/assets/{CLIP}").json["preview_image_url"]
    status, kind, body = get(url)
    assert (status, kind, body[:4]) == (200, "image/png", b"\x89PNG")
    assert get(url, Range="bytes=1-3") == (206, "image/png", b"PNG")
    assert get(url, Range="bytes=999999-")[0] == 416
    assert get(url.replace(CLIP, "absent"))[0] == 404


def test_an_image_of_its_own(emulator: Emulator, library: Library) -> None:
    """What the asset says."""
    library.edit(CLIP, preview_image=b"\xff\xd8 a picture")
    url = call(emulator, f"/v2/assets/{CLIP}").json["preview_image_url"]
    assert get(url) == (200, "image/jpeg", b"\xff\xd8 a picture")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_frame_of_a_film(tmp_path: Path) -> None:
    """A JPEG of the film itself."""
    film = tmp_path / "film.avi"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=duration=1", str(film)], check=True
    )
    asset = EmulatedAsset("f" * 32, "Film", "film.avi", FileContent(film))
    with Emulator(Library([asset])) as emulator:
        status, kind, body = get(f"{emulator.api_url}/{asset.embed_code}/promo000000001")
    assert (status, kind, body[:2]) == (200, "image/jpeg", b"\xff\xd8")
