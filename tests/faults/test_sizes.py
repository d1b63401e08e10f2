# SPDX-License-Identifier: Apache-2.0
"""What the API says of a size and what the object says: the object is right."""

from __future__ import annotations

import errno

import pytest

from backlotfs.emulator import EmulatedAsset, Fault
from backlotfs.errors import NoSuchEntry, SourceMissing
from tests.conftest import Serve
from tests.faults.conftest import Unmounted
from tests.support.made_assets import video
from tests.support.request_log import ended_requests

REEL = video("reel.mov", 300_000)


@pytest.mark.parametrize("delta", [-299_999, -7, 7, 10**9])
@pytest.mark.parametrize("dialect", ["2013", "2017"])
def test_the_size_is_the_objects(
    serve: Serve, unmounted: Unmounted, delta: int, dialect: str
) -> None:
    """``file_size`` too small or too large, text or number: true size, every byte, one GET."""
    emulator = serve(REEL, dialect=dialect)
    emulator.faults.add(Fault.wrong_size(delta), route="streams")
    library = unmounted(emulator)
    assert library.size(REEL) == 300_000
    library.assert_whole(REEL)
    assert library.probes(REEL) == 1
    assert {status for _, status in library.gets(REEL)} == {206}


@pytest.mark.parametrize("with_content_range", [True, False])
@pytest.mark.parametrize("claimed", [None, 0, 5000])
def test_an_empty_object_is_an_empty_file(
    serve: Serve, unmounted: Unmounted, with_content_range: bool, claimed: int | None
) -> None:
    """416 for the first byte, with or without Content-Range, whatever is claimed: size 0."""
    empty = video("empty.mov", b"", reported_size=claimed)
    emulator = serve(empty, range_error_content_range=with_content_range)
    library = unmounted(emulator)
    assert library.size(empty) == 0
    fh = library.open(empty)
    assert library.read(fh, 0, 4096) == b""
    library.stack.reading.reader.flush(fh)
    assert (library.probes(empty), library.gets(empty)) == (1, [])


NO_URL = {
    "null URL": (video("reel.mov", 300_000, url_withheld=True), None),
    "null URL in streams": (REEL, Fault.of("null_url")),
    "no source anywhere": (REEL, Fault.of("no_source")),
}


@pytest.mark.parametrize("name", NO_URL)
def test_an_asset_without_a_source_is_left_out_without_a_storm(
    serve: Serve, unmounted: Unmounted, name: str
) -> None:
    """ENOENT for stat, ENODATA for open; not listed once known; asked again after a minute."""
    asset, fault = NO_URL[name]
    emulator = serve(asset, video("other.mov"))
    rules = []
    if fault is not None:
        rules = [
            emulator.faults.add(fault, route=route, embed_code=asset.embed_code)
            for route in ("streams", "source_file_info")
        ]
    library = unmounted(emulator)
    for _ in range(5):
        with pytest.raises(NoSuchEntry):
            library.size(asset)
        with pytest.raises(SourceMissing) as caught:
            library.open(asset)
        assert caught.value.errno == errno.ENODATA
    assert library.names() == ["other.mov"]
    assert 1 <= library.url_requests(asset) <= 2
    assert library.probes(asset) == 0
    if rules:
        for rule in rules:
            emulator.faults.remove(rule)
        library.clock.jump(61)
        library.assert_whole(asset)
        assert "reel.mov" in library.names()


def test_the_second_route_stands_in_for_the_first(serve: Serve, unmounted: Unmounted) -> None:
    """``/streams`` without a source entry: the URL comes from ``/source_file_info``."""
    emulator = serve(REEL)
    emulator.faults.add(Fault.of("no_source"), route="streams")
    library = unmounted(emulator)
    library.assert_whole(REEL)
    assert len(ended_requests(emulator, route="source_file_info", status=200)) == 1


@pytest.mark.parametrize("include", [True, False])
def test_unavailable_assets_are_listed_only_on_demand(
    serve: Serve, unmounted: Unmounted, include: bool
) -> None:
    """--include-unavailable shows them with size 0; their open still says ENODATA."""
    withheld: EmulatedAsset = video("withheld.mov", 300_000, url_withheld=True)
    library = unmounted(serve(withheld), include_unavailable=include)
    with pytest.raises(SourceMissing):
        library.open(withheld)
    assert library.names() == (["withheld.mov"] if include else [])
    if include:
        assert library.size(withheld) == 0
