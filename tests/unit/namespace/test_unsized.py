# SPDX-License-Identifier: Apache-2.0
"""Files whose size is not known yet: who waits, who is shown less, and the notice that says so."""

from __future__ import annotations

import stat
from collections.abc import Callable

import pytest

from backlotfs.catalog.versions import ProbedSource
from backlotfs.concurrency.interruptible_wait import refuse_to_wait
from backlotfs.errors import BacklotError, NoSuchEntry, RemoteUnavailable, SizeUnknown
from backlotfs.namespace.incomplete_notice import Notice
from backlotfs.namespace.sizes import Treatment
from backlotfs.namespace.tree import Entry
from tests.fakes.records import probed_row, row, source_version
from tests.fakes.workers import waiter
from tests.unit.namespace.around import KNOWN, Around, content_at, is_virtual


class Rules:
    """What the calling program gets."""

    def __init__(self, treatment: Treatment, *, hides: bool) -> None:
        self.treatment_of_all = treatment
        self.hides_all = hides
        self.told: list[float | None] = []

    def treatment(self, seconds: Callable[[], float]) -> Treatment:
        """As `UnsizedRules`."""
        self.told.append(seconds())
        return self.treatment_of_all

    def hides(self, seconds: float | None) -> bool:
        """As `UnsizedRules`."""
        self.told.append(seconds)
        return self.hides_all


LOOKS = Rules(Treatment.HIDE, hides=True)


def names(around: Around, path: str = "/") -> list[str]:
    """A listing."""
    return [entry.name for entry in around.namespace.entries(around.namespace.find(path))]


def test_a_listing_without_what_is_not_known() -> None:
    """And with a notice of what is missing, which can be looked at and read."""
    around = Around(
        row("A"), row("B", "b.mov"), probed_row("C", "c.mov", size=7), row("D", "d.mov"),
        rules=LOOKS,
    )  # fmt: skip
    around.hidden = {"D"}  # no source to be had
    around.seconds = 180.0
    notice = "NOT ALL FILES ARE LISTED YET (2 to come, 3 min).txt"
    assert names(around) == ["c.mov", notice]
    found = around.namespace.attributes(around.namespace.find(f"/{notice}"), waiter)
    assert stat.S_ISREG(found.mode)
    assert found.settled
    assert is_virtual(around.namespace, f"/{notice}")
    content = content_at(around.namespace, f"/{notice}", waiter)
    assert content is not None
    assert len(content) == found.size
    assert content.startswith(b"NOT ALL FILES ARE LISTED YET (2 to come, 3 min)\n")
    assert around.listings[-1] == ["A", "B", "D"], "they are asked for next"
    around.learned = {"A": KNOWN}
    assert names(around) == [
        *("clip.mov", "c.mov"),
        "NOT ALL FILES ARE LISTED YET (1 to come, 3 min).txt",
    ]


def test_the_notice_is_gone_when_all_sizes_are_known() -> None:
    """Also by its name, of whatever numbers; other folders never had one."""
    around = Around(row("A"), rules=LOOKS)
    (notice,) = names(around)
    around.learned = {"A": KNOWN}
    assert names(around) == ["clip.mov"]
    assert not is_virtual(around.namespace, f"/{notice}")
    assert content_at(around.namespace, f"/{notice}", waiter) is None
    for path in (f"/{notice}", f"/no/{notice}", f"/clip.mov/{notice}"):
        with pytest.raises(BacklotError):
            around.namespace.attributes(around.namespace.find(path), waiter)


def test_a_file_of_the_library_that_is_called_like_a_notice() -> None:
    """It is what it is."""
    name = Notice.of(1, 3, None).name
    around = Around(row("A"), probed_row("B", name, size=5))
    assert not is_virtual(around.namespace, f"/{name}")
    assert around.namespace.attributes(around.namespace.find(f"/{name}"), waiter).size == 5


def test_who_waits_is_shown_every_name() -> None:
    """A listing needs no size."""
    around = Around(row("A"), rules=Rules(Treatment.WAIT, hides=False))
    assert list(around.namespace.entries(around.namespace.find("/"))) == [
        Entry("clip.mov", row("A").inode, False, True)
    ]
    assert around.probes == []


def test_rules_are_asked_only_where_a_size_is_missing() -> None:
    """By how long all of them take."""
    rules = Rules(Treatment.HIDE, hides=True)
    around = Around(probed_row("A"), rules=rules)
    names(around)
    around.namespace.attributes(around.namespace.find("/clip.mov"), waiter)
    assert rules.told == []
    around.publish(row("A"))
    around.seconds, around.queued = 41.0, {"A"}
    names(around)
    with pytest.raises(NoSuchEntry):
        around.namespace.attributes(around.namespace.find("/clip.mov"), waiter)
    assert rules.told == [41.0, 100.0]


@pytest.mark.parametrize(
    ("treatment", "error"), [(Treatment.HIDE, NoSuchEntry), (Treatment.FAIL, SizeUnknown)]
)
def test_who_does_not_wait(treatment: Treatment, error: type[Exception]) -> None:
    """`stat` and open end at once; the size is asked for all the same, so it is there soon."""
    around = Around(row("A"), rules=Rules(treatment, hides=False))
    around.outcome = None
    with pytest.raises(error):
        around.namespace.attributes(around.namespace.find("/clip.mov"), waiter)
    with pytest.raises(error):
        around.namespace.open(around.namespace.find("/clip.mov"), waiter())
    with pytest.raises(error):  # a look-up too: the kernel is never told a size that may be wrong
        around.namespace.attributes(around.namespace.find("/clip.mov"), refuse_to_wait)
    assert set(around.probes) == {"A"}
    around.learned = {"A": KNOWN}
    assert around.namespace.attributes(around.namespace.find("/clip.mov"), waiter).size == 700


def test_who_does_not_wait_is_told_why_the_last_probe_failed() -> None:
    """The error is known, so there is nothing to wait for."""
    around = Around(row("A"), rules=LOOKS)
    around.failures = {"A": RemoteUnavailable("down")}
    with pytest.raises(RemoteUnavailable):
        around.namespace.attributes(around.namespace.find("/clip.mov"), waiter)


def test_a_look_up_never_waits() -> None:
    """It is answered with attributes that are not settled: the kernel asks for them again."""
    around = Around(row("A", updated_at_s=50), probed_row("B", "b.mov", size=9))
    around.outcome = None
    found = around.namespace.attributes(around.namespace.find("/clip.mov"), refuse_to_wait)
    assert not found.settled
    assert (found.size, found.inode, found.mtime_s) == (0, row("A").inode, 50)
    assert stat.S_ISREG(found.mode)
    assert around.namespace.attributes(around.namespace.find("/b.mov"), refuse_to_wait).settled
    assert around.namespace.attributes(around.namespace.find("/"), refuse_to_wait).settled


def test_a_look_up_of_a_source_in_doubt() -> None:
    """Shows the last size, and is not settled either."""
    around = Around(row("A"))
    around.learned = {"A": ProbedSource(source_version("A", 500), 99, verified=False)}
    found = around.namespace.attributes(around.namespace.find("/clip.mov"), refuse_to_wait)
    assert (found.settled, found.size, found.mtime_s) == (False, 500, 99)


def test_nobody_waits_for_a_credit_to_see_a_size_again() -> None:
    """A source in doubt shows what was known while its probe waits in the queue."""
    around = Around(row("A"))
    around.learned = {"A": ProbedSource(source_version("A", 500), 99, verified=False)}
    around.outcome, around.queued = None, {"A"}
    found = around.namespace.attributes(around.namespace.find("/clip.mov"), waiter)
    assert (found.settled, found.size) == (True, 500)
    assert around.probes == ["A"]
