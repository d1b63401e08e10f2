# SPDX-License-Identifier: Apache-2.0
"""A library opened in this process, without a mount."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.config.settings import Account, MountSettings
from backlotfs.emulator import EmulatedAsset, Emulator, Fault, Library
from backlotfs.errors import CredentialsRefused, Interrupted
from backlotfs.mount.unmounted import OpenedLibrary, open_library
from tests.support.expected_bytes import origin_bytes
from tests.support.made_assets import video
from tests.support.request_log import ended_requests

Open = Callable[..., OpenedLibrary]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(Library.synthetic(3)) as running:
        yield running


@pytest.fixture
def opened(emulator: Emulator, tmp_path: Path) -> Iterator[Open]:
    """Opens the emulator's library with these settings; all are closed at the end."""
    libraries = []

    def open_it(api_secret: str = emulator.api_secret, **settings: Any) -> OpenedLibrary:
        account = Account(emulator.api_url, emulator.api_key, api_secret)
        library = open_library(MountSettings(account, Path("/unused"), tmp_path, **settings))
        libraries.append(library)
        return library

    yield open_it
    for library in libraries:
        library.close()


def names(library: OpenedLibrary) -> list[str]:
    """The listing of the root."""
    namespace = library.stack.namespace
    return [entry.name for entry in namespace.entries(namespace.root)]


def a_file(emulator: Emulator) -> EmulatedAsset:
    """A file of the library."""
    return emulator.library.ordered()[0]


def listings(emulator: Emulator) -> int:
    """How often the API was asked for assets."""
    return len(ended_requests(emulator, route="assets"))


def test_a_library_is_listed_and_read(emulator: Emulator, opened: Open) -> None:
    """Names, a version, and its bytes."""
    library, asset = opened(), a_file(emulator)
    assert asset.original_file_name in names(library)
    found = library.stack.namespace.find(f"/{asset.original_file_name}")
    version = library.stack.namespace.open(found, library.waiter())
    read = library.stack.reading.loader.demand(version, ByteRange(10, 1000))
    read.wait(library.waiter())
    assert b"".join(read.views()) == origin_bytes(asset, 10, 990)


def test_a_young_saved_listing_needs_no_call(emulator: Emulator, opened: Open) -> None:
    """A second process of the same library starts from the listing that the first has saved."""
    expected = names(opened())
    calls = listings(emulator)
    assert names(opened()) == expected
    assert listings(emulator) == calls


def test_an_old_saved_listing_is_brought_up_to_date(emulator: Emulator, opened: Open) -> None:
    """What was added meanwhile is there at once."""
    opened()
    added = video("added.mov")
    emulator.library.add(added)
    assert "added.mov" in names(opened(metadata_ttl_s=0.0))


def test_without_the_api_the_saved_listing_is_shown(emulator: Emulator, opened: Open) -> None:
    """It is old, and better than nothing."""
    expected = names(opened())
    emulator.faults.add(Fault.status(503), route="assets")
    assert names(opened(metadata_ttl_s=0.0)) == expected


def test_refused_credentials_are_said_at_the_start(emulator: Emulator, opened: Open) -> None:
    """Without a listing, and with an old one."""
    with pytest.raises(CredentialsRefused):
        opened("another-secret")
    opened()
    with pytest.raises(CredentialsRefused):
        opened("another-secret", metadata_ttl_s=0.0)


def test_refresh_shows_what_is_new(emulator: Emulator, opened: Open) -> None:
    """The caller need not wait for the listing to become old."""
    library = opened()
    emulator.library.add(video("added.mov"))
    library.refresh()
    assert "added.mov" in names(library)


def test_close_ends_a_wait(emulator: Emulator, opened: Open) -> None:
    """A read that waits for a silent host fails."""
    library, asset = opened(), a_file(emulator)
    found = library.stack.namespace.find(f"/{asset.original_file_name}")
    version = library.stack.namespace.open(found, library.waiter())
    emulator.faults.add(Fault.stall(), route="source")
    read = library.stack.reading.loader.demand(version, ByteRange(0, 1000))
    threading.Timer(0.1, library.close).start()
    with pytest.raises(Interrupted):
        read.wait(library.waiter())
    emulator.faults.clear()
