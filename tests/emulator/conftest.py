# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a small library, an emulator over it, a clock that moves when it is told to."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from backlotfs.emulator import (
    BytesContent,
    EmulatedAsset,
    EmulatedLabel,
    Emulator,
    EmulatorSettings,
    Library,
    SyntheticContent,
)
from tests.fakes.clocks import ManualClock

CLIP = "c" * 31 + "1"
EMPTY = "e" * 31 + "2"
HUGE = "h" * 31 + "3"
BARE = "b" * 31 + "4"
WITHHELD = "w" * 31 + "5"
CLIP_SIZE = 700_001


@pytest.fixture
def clock() -> ManualClock:
    """The clock of ``library`` and ``emulator``."""
    return ManualClock(1_500_000_000.0)


@pytest.fixture
def library(clock: ManualClock) -> Library:
    """One asset of each kind that a client has to survive."""
    sports = EmulatedLabel("1" * 32, "Sports")
    racing = EmulatedLabel("2" * 32, "Racing", sports.label_id)
    second_sports = EmulatedLabel("3" * 32, "Sports")
    odd = EmulatedLabel("4" * 32, "A/B, C")
    assets = [
        EmulatedAsset(
            CLIP,
            "Harbours at night",
            "harbour take#2.mov",
            SyntheticContent(7, CLIP_SIZE),
            created_at=1_400_000_000,
            duration_ms=61_583,
            metadata={"shoot": "7", "a!b": "yes"},
            label_ids=(racing.label_id, odd.label_id),
            external_id="customer/7",
        ),
        EmulatedAsset(EMPTY, "Empty", "empty.mp4", BytesContent(b""), created_at=1_400_000_000),
        EmulatedAsset(
            HUGE, "Huge", "huge.mxf", SyntheticContent(9, 100 * 2**30), created_at=1_400_000_005
        ),
        EmulatedAsset(
            BARE, "A channel", asset_type="channel", created_at=1_300_000_000,
            extras={"/lineup": [CLIP, EMPTY]},
        ),
        EmulatedAsset(
            WITHHELD, "Withheld", None, created_at=1_300_000_001,
            reported_size=123_456_789, url_withheld=True, status="processing",
        ),
    ]  # fmt: skip  # a record to a paragraph
    return Library(assets, [sports, racing, second_sports, odd], clock=clock.now)


@pytest.fixture
def emulator(library: Library, clock: ManualClock) -> Iterator[Emulator]:
    """The library, served; expiry and rate window follow the clock."""
    with Emulator(library, EmulatorSettings(clock=clock.now)) as running:
        yield running


@pytest.fixture(autouse=True)
def _quiet_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A warning in the log fails the test: the server never meant to write one."""
    yield
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not loud, [record.getMessage() for record in loud]
