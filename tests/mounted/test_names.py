# SPDX-License-Identifier: Apache-2.0
"""Names: odd ones, contested ones, and ones that are not there."""

from __future__ import annotations

import errno
import os

import pytest

from backlotfs.emulator import EmulatedAsset
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video
from tests.support.mounting import Mount

pytestmark = [pytest.mark.mounted, pytest.mark.both_bindings]

#: What was uploaded, and the file name it must have.
ODD = {
    "harbour take#2.mov": "harbour take#2.mov",
    r"C:\shoot 7\A001, [x].mxf": "A001, [x].mxf",
    "a/b.mov": "a／b.mov",  # noqa: RUF001  # the look-alike is what is tested
    "line\nbreak.mov": "line␊break.mov",
    " leading space.mov": " leading space.mov",
    ".hidden": ".hidden",
    "..": "．．",  # noqa: RUF001  # the look-alike is what is tested
    "-rf.mov": "-rf.mov",
    "100%&$'`\";.mov": "100%&$'`\";.mov",
    "café.mov": "café.mov",
    "нарезка 日本.mov": "нарезка 日本.mov",
    "clip\N{VIDEO CAMERA}.mov": "clip\N{VIDEO CAMERA}.mov",
    "CASE.mov": "CASE.mov",
    "case.mov": "case.mov",
    "x" * 300 + ".mov": "x" * 251 + ".mov",
}
ODD_ASSETS = [video(name, 1000 + n, tag="odd") for n, name in enumerate(ODD)]
TWINS = [video("twin.mov", 2000 + n, tag=f"{n}", created_at=1_400_000_000 + n) for n in range(3)]
UNNAMED = video(None, 50, title="Just a title")
ASSETS = [*ODD_ASSETS, *TWINS, UNNAMED]


def shown(asset: EmulatedAsset) -> str:
    """The name an odd asset must have."""
    return ODD[str(asset.original_file_name)]


def test_the_listing_holds_exactly_the_expected_names(library_mount: Mount) -> None:
    """Every asset once, under its legal name; contested names get the embed code."""
    twins = {"twin.mov", *(f"twin [{twin.embed_code}].mov" for twin in TWINS[1:])}
    assert set(os.listdir(library_mount.path)) == {*ODD.values(), *twins, "Just a title"}


@pytest.mark.parametrize("asset", ODD_ASSETS, ids=lambda asset: ascii(asset.original_file_name))
def test_an_odd_name_opens_its_own_bytes(library_mount: Mount, asset: EmulatedAsset) -> None:
    """The name leads to the asset it came from."""
    assert_same_bytes(library_mount / shown(asset), asset)


def test_the_oldest_keeps_a_contested_name(library_mount: Mount) -> None:
    """Three uploads called twin.mov: each has a name, and each name its own bytes."""
    assert_same_bytes(library_mount / "twin.mov", TWINS[0])
    for twin in TWINS[1:]:
        assert_same_bytes(library_mount / f"twin [{twin.embed_code}].mov", twin)


@pytest.mark.parametrize(
    "name",
    [
        b"absent.mov",
        b"caf\xe9.mov",
        b"\xff\xfe",
        b"\xed\xa0\x80.mov",
        b"twin.mo",
        b"TWIN.MOV",
        b"y" * 256,
    ],
)
def test_a_name_that_is_not_there_is_enoent(library_mount: Mount, name: bytes) -> None:
    """Also bytes that are no UTF-8: ENOENT from stat and open, and no traceback in the log."""
    path = os.fsencode(library_mount.path) + b"/" + name
    for call in (os.stat, os.listdir, lambda p: os.open(p, os.O_RDONLY)):
        with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is checked below
            call(path)
        assert caught.value.errno == errno.ENOENT


def test_a_file_is_no_folder(library_mount: Mount) -> None:
    """ENOTDIR below a file, and for listing one."""
    with pytest.raises(NotADirectoryError):
        (library_mount / "twin.mov" / "inside").stat()
    with pytest.raises(NotADirectoryError):
        os.listdir(library_mount / "twin.mov")
