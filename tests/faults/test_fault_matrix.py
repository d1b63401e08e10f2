# SPDX-License-Identifier: Apache-2.0
"""Every row of the fault matrix, for good and in passing: errno or bytes, and the origin's log."""

from __future__ import annotations

import pytest

from backlotfs.emulator import Fault
from backlotfs.errors import ContentChanged
from tests.conftest import Serve
from tests.faults.conftest import Unmounted
from tests.faults.fault_matrix import FORMS, MATRIX, SIZE
from tests.support.long_runs import few_of
from tests.support.made_assets import video

REEL = video("reel.mov", SIZE)
WHOLE = f"bytes=0-{SIZE - 1}"


@pytest.mark.parametrize("name", MATRIX)
def test_a_fault_that_lasts_ends_the_read_with_its_errno(
    serve: Serve, unmounted: Unmounted, name: str
) -> None:
    """No false byte, a bounded number of requests; a later read works if the host does.

    But for ESTALE: what a handle was opened on is gone for that handle.
    """
    row = MATRIX[name]
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    rule = emulator.faults.add(row.fault, route="source")
    with pytest.raises(row.error) as caught:
        library.read(fh, 0, SIZE)
    assert (type(caught.value), caught.value.errno) == (row.error, row.errno)
    assert "Signature" not in str(caught.value)
    assert library.gets(REEL) == [(WHOLE, row.status)] * row.gets
    assert library.url_requests(REEL) == 1 + row.renewals
    emulator.faults.remove(rule)
    library.clock.jump(10)
    if row.error is ContentChanged:
        with pytest.raises(ContentChanged):
            library.stack.reading.reader.flush(fh)
    library.assert_whole(REEL)


@pytest.mark.parametrize(
    "name", [name for name in MATRIX if MATRIX[name].renewals_once is not None]
)
def test_a_fault_that_passes_is_not_noticed(serve: Serve, unmounted: Unmounted, name: str) -> None:
    """Nothing of the false answer is kept; one more GET of the same range brings the bytes."""
    row = MATRIX[name]
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    rule = emulator.faults.add(row.fault, route="source", times=1)
    library.assert_reads(fh, REEL, 0, SIZE)
    assert rule.hits == 1
    assert library.gets(REEL) == [(WHOLE, row.status), (WHOLE, 206)]
    assert library.url_requests(REEL) == 1 + (row.renewals_once or 0)


@pytest.mark.parametrize(
    "name", [name for name, row in MATRIX.items() if row.renewals_once is not None]
)
@pytest.mark.parametrize("weak", few_of([False, True], True), ids=["own ETags", "weak ETags"])
def test_a_fault_that_passes_is_not_noticed_behind_nodes(
    serve: Serve, unmounted: Unmounted, name: str, weak: bool
) -> None:
    """Also where each answer may come from another node, with another ETag."""
    emulator = serve(REEL)
    emulator.faults.add(Fault.nodes(weak=weak), route="source")
    library = unmounted(emulator)
    fh = library.open(REEL)
    rule = emulator.faults.add(MATRIX[name].fault, route="source", skip=1, times=1)
    library.assert_reads(fh, REEL, 0, SIZE)
    assert rule.hits == 1
    library.assert_whole(REEL)


@pytest.mark.parametrize("name", FORMS)
def test_an_unusual_form_is_read(serve: Serve, unmounted: Unmounted, name: str) -> None:
    """Probe and reads of a host that always answers so: right bytes, and no GET is made twice."""
    fault, count = FORMS[name]
    emulator = serve(REEL)
    emulator.faults.add(fault, route="source")
    library = unmounted(emulator)
    fh = library.open(REEL)
    library.assert_reads(fh, REEL, 0, SIZE)
    gets = [wanted for wanted, _ in library.gets(REEL) if wanted not in _BY_A_PROBE]
    assert len(gets) == count == len(set(gets))
    assert library.url_requests(REEL) == 1
    another = unmounted(emulator)
    another.assert_reads(another.open(REEL), REEL, 140_000, 100_000)
    another.assert_whole(REEL)


@pytest.mark.parametrize("name", sorted(FORMS.keys() - {"no size in Content-Range"}))
def test_an_unusual_form_is_read_behind_nodes(
    serve: Serve, unmounted: Unmounted, name: str
) -> None:
    """Also where the nodes have ETags of their own, which are compared in this form."""
    emulator = serve(REEL)
    emulator.faults.add(Fault.nodes(), route="source")
    emulator.faults.add(FORMS[name][0], route="source")
    library = unmounted(emulator)
    library.assert_whole(REEL)
    another = unmounted(emulator)
    another.assert_reads(another.open(REEL), REEL, 140_000, 100_000)


#: What a probe asks where the host does not say the size: behind the end, and the last byte.
_BY_A_PROBE = (f"bytes={SIZE}-{SIZE}", f"bytes={SIZE - 1}-{SIZE - 1}")


@pytest.mark.parametrize("kind", ["empty_200", "empty_206"])
def test_an_empty_object_in_another_form(serve: Serve, unmounted: Unmounted, kind: str) -> None:
    """By one GET."""
    empty = video("empty.mov", b"")
    emulator = serve(empty)
    emulator.faults.add(Fault.of(kind), route="source")
    library = unmounted(emulator)
    assert library.size(empty) == 0
    assert library.read(library.open(empty), 0, 4096) == b""
    assert (library.probes(empty), library.gets(empty)) == (1, [])
