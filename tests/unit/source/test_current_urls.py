# SPDX-License-Identifier: Apache-2.0
"""Signed URLs of records that were touched: a new one for who probes, the old one for who reads."""

from __future__ import annotations

import threading

import pytest

from backlotfs.errors import RemoteUnavailable, SourceMissing
from tests.fakes.workers import PATIENCE_S, STUCK_S, in_threads, join_all
from tests.unit.source.numbered_urls import Setup

pytestmark = pytest.mark.timeout(STUCK_S)


def test_readers_keep_their_url_of_a_touched_record() -> None:
    """Until somebody has got a current one, for one call; then all have that."""
    setup = Setup()
    assert setup.current() == setup.url() == "http://o/E1?n=1"
    setup.resolver.invalidate_on_change("E1")
    assert not setup.resolver.has_fresh("E1")
    assert setup.url() == "http://o/E1?n=1"
    assert setup.current() == "http://o/E1?n=2"
    assert setup.resolver.has_fresh("E1")
    assert setup.current() == setup.url() == "http://o/E1?n=2"
    assert setup.api.calls == ["E1", "E1"]


def test_readers_go_on_while_no_current_url_can_be_had() -> None:
    """An API that is down, or has no URL now, takes nothing away from them."""
    setup = Setup()
    setup.url()
    setup.resolver.invalidate_on_change("E1")
    setup.api.error = RemoteUnavailable("down")
    with pytest.raises(RemoteUnavailable):
        setup.current()
    assert setup.url() == "http://o/E1?n=1"
    setup.api.error, setup.api.has_url = None, False
    with pytest.raises(SourceMissing):
        setup.current()
    assert setup.url() == "http://o/E1?n=1"
    assert not setup.resolver.has_fresh("E1")


def test_a_url_asked_for_before_the_touch_is_not_current() -> None:
    """Its answer may be from before; whoever needs a current one asks again."""
    setup = Setup()
    setup.api.gate = threading.Event()
    threads = in_threads(1, lambda _: setup.url())
    assert setup.api.entered.wait(PATIENCE_S)
    setup.resolver.invalidate_on_change("E1")
    found: list[str] = []
    threads += in_threads(1, lambda _: found.append(setup.current()))
    setup.api.gate.set()
    join_all(threads)
    assert found == ["http://o/E1?n=2"]
    assert setup.resolver.has_fresh("E1")


def test_a_touch_is_not_forgotten_with_the_url() -> None:
    """Neither when a reader has got another one: nobody has asked since for a current one."""
    setup = Setup()
    url = setup.resolve()
    setup.resolver.invalidate_on_change("E1")
    setup.resolver.invalidate("E1", url)
    setup.resolver.forget("E1")
    assert not setup.resolver.has_fresh("E1")
    assert setup.url() == "http://o/E1?n=2"
    assert setup.resolver.has_fresh("E1"), "it was asked for after the touch"
