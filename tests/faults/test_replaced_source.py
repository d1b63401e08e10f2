# SPDX-License-Identifier: Apache-2.0
"""A source that changes under an open handle, without the kernel's page cache in between."""

from __future__ import annotations

import errno

import pytest

from backlotfs.catalog.versions import FAILED_TTL_S
from backlotfs.emulator import Fault
from backlotfs.errors import ContentChanged
from tests.conftest import Serve
from tests.faults.conftest import Unmounted
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import current
from tests.support.made_assets import MIB, video
from tests.support.request_log import ended_requests

SIZE = 4 * MIB
REEL = video("reel.mov", SIZE)
NEW_SIZES = pytest.mark.parametrize("new_size", [SIZE, SIZE + MIB, MIB], ids=str)


@NEW_SIZES
def test_an_uncached_read_after_the_change_is_estale(
    serve: Serve, unmounted: Unmounted, new_size: int
) -> None:
    """Cached blocks stay readable; the first fetch says ESTALE, and so does close."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    library.assert_reads(fh, REEL, 0, 4096)
    emulator.library.replace(REEL.embed_code, size=new_size)
    library.assert_reads(fh, REEL, 0, 4096)
    with pytest.raises(ContentChanged) as caught:
        library.read(fh, 3 * MIB, 4096)
    assert caught.value.errno == errno.ESTALE
    library.assert_reads(fh, REEL, 0, 4096)
    with pytest.raises(ContentChanged):
        library.stack.reading.reader.flush(fh)
    library.stack.reading.reader.release(fh)
    new = current(emulator, REEL)
    assert library.size(REEL) == new_size
    library.assert_whole(new)


@NEW_SIZES
def test_a_refresh_leaves_the_old_handle_its_version(
    serve: Serve, unmounted: Unmounted, new_size: int
) -> None:
    """``updated_at`` moved: the next stat settles it; an old handle has its own bytes or ESTALE."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    old = library.open(REEL)
    library.assert_reads(old, REEL, 0, 4096)
    library.stack.reading.reader.flush(old)
    emulator.library.replace(REEL.embed_code, size=new_size)
    library.refresh()
    assert library.size(REEL) == new_size
    library.stack.reading.reader.flush(old)
    new = current(emulator, REEL)
    library.assert_whole(new)
    library.assert_reads(old, REEL, 0, 4096)
    with pytest.raises(ContentChanged):
        library.read(old, 2 * MIB + 77, 4096)
    with pytest.raises(ContentChanged):
        library.stack.reading.reader.flush(old)
    library.assert_whole(new)


def test_an_edited_title_changes_nothing_for_readers(serve: Serve, unmounted: Unmounted) -> None:
    """``updated_at`` moved and the bytes did not: one more probe, no byte fetched twice."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    library.assert_whole(REEL)
    gets = library.gets(REEL)
    emulator.library.edit(REEL.embed_code, title="Another title")
    library.refresh()
    library.assert_whole(REEL)
    assert (library.gets(REEL), library.probes(REEL)) == (gets, 2)
    library.stack.reading.reader.flush(fh)


@pytest.mark.parametrize("cdn", [False, True], ids=["without CDN", "beside a CDN"])
@NEW_SIZES
def test_an_old_object_that_is_kept_is_not_taken_for_the_source(
    serve: Serve, unmounted: Unmounted, new_size: int, cdn: bool
) -> None:
    """A touched record is probed by a URL of its own, for one call, which the readers use then."""
    emulator = serve(REEL, cdn=cdn)
    library = unmounted(emulator, cdn=cdn)
    library.assert_whole(REEL)
    old = library.open(REEL)
    calls = library.url_requests(REEL)
    emulator.library.replace(REEL.embed_code, size=new_size, keep_old=True)
    library.refresh()
    assert library.size(REEL) == new_size
    library.assert_whole(current(emulator, REEL))
    assert library.url_requests(REEL) == calls + 1
    library.assert_reads(old, REEL, 0, 4 * MIB)  # from the cache
    library.stack.reading.reader.flush(old)


def test_a_crawl_by_a_cdn_may_not_know_of_a_new_source(serve: Serve, unmounted: Unmounted) -> None:
    """So what was uploaded a moment ago is asked of the API itself, at the price of a credit."""
    emulator = serve(REEL, cdn=True)
    first = unmounted(emulator, cdn=True)
    first.stack.probes.start_backfill()
    wait_until(lambda: first.stack.versions.known(REEL.embed_code) is not None, "the crawl")
    assert ended_requests(emulator, route="streams")[-1].host == "cdn"
    emulator.library.replace(REEL.embed_code, size=MIB, keep_old=True)
    second = unmounted(emulator, cdn=True)
    second.stack.probes.start_backfill()
    wait_until(lambda: second.stack.versions.known(REEL.embed_code) is not None, "the crawl")
    known = second.stack.versions.known(REEL.embed_code)
    assert known is not None
    assert known.version.size == MIB
    assert ended_requests(emulator, route="streams")[-1].host == "api"


def test_a_reader_goes_on_while_a_touched_source_cannot_be_looked_at(
    serve: Serve, unmounted: Unmounted
) -> None:
    """An edited title takes no URL away; the look at the source is one call, when it can be had."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    library.assert_reads(fh, REEL, 0, 4096)
    assert library.url_requests(REEL) == 1
    rule = emulator.faults.add(Fault.status(500), route="streams")
    emulator.library.edit(REEL.embed_code, title="Another title")
    library.refresh()
    library.assert_reads(fh, REEL, 3 * MIB, 4096)
    emulator.faults.remove(rule)
    library.clock.jump(FAILED_TTL_S + 1)
    library.assert_whole(REEL)
    given = len(ended_requests(emulator, route="streams", embed_code=REEL.embed_code, status=200))
    assert given == 2
    library.stack.reading.reader.flush(fh)
