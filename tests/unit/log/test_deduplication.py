# SPDX-License-Identifier: Apache-2.0
"""A flood of the same trouble is a line and a count."""

from __future__ import annotations

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.log.events import Event
from backlotfs.log.output import EVERY_S, REMEMBERED, RepeatFilter
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import in_threads, join_all

RESTING = "read: EIO: source host h:443: it refuses the connection; it is asked again in %.1f s"


class Log:
    """A logger whose lines are kept, and the time."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._text = io.StringIO()
        handler = logging.StreamHandler(self._text)
        handler.addFilter(RepeatFilter(self.clock.monotonic))
        self.logger = logging.Logger("backlotfs.test")  # noqa: LOG001  # nobody else hears it
        self.logger.addHandler(handler)

    @property
    def lines(self) -> list[str]:
        """What was written."""
        return self._text.getvalue().splitlines()


@pytest.fixture
def log() -> Log:
    """Empty."""
    return Log()


def test_what_repeats_is_written_once_and_counted(log: Log) -> None:
    """Whatever seconds it names; a minute later the next says how many there were."""
    for tenth in range(1, 42):
        log.logger.warning(RESTING, tenth / 10)
    assert log.lines == [RESTING % 0.1]
    log.clock.advance(EVERY_S)
    log.logger.warning(RESTING, 0.5)
    log.logger.warning(RESTING, 0.6)
    assert log.lines[1:] == [f"{RESTING % 0.5} (and 40 more since the last such line)"]
    log.clock.advance(2 * EVERY_S)
    log.logger.warning(RESTING, 0.7)
    assert log.lines[2:] == [f"{RESTING % 0.7} (and 1 more since the last such line)"]
    log.clock.advance(EVERY_S)
    log.logger.warning(RESTING, 0.8)
    assert log.lines[3:] == [RESTING % 0.8]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "read: EIO: read of E1x timed out after 30 s",
            "read: EIO: read of E2x timed out after 30 s",
        ),
        ("read: EIO: reading 5: x", "read: ESTALE: reading 5: x"),
        ("read: EIO: reading 5", "open: EIO: reading 5"),
        ("source host 10.0.0.1: no byte", "source host 10.0.0.2: no byte"),
        ("'/clip1.mov' has no source", "'/clip2.mov' has no source"),
        ("'/clip 1.mov' has no source", "'/clip 2.mov' has no source"),
    ],
)
def test_another_source_host_or_kind_is_another_event(log: Log, one: str, other: str) -> None:
    """Each has its own line."""
    for _ in range(3):
        log.logger.warning("%s", one)
        log.logger.error("%s", other)
    assert log.lines == [one, other]


def test_what_is_quiet_or_a_bug_always_passes(log: Log) -> None:
    """Whoever wants every line has the level debug; a traceback is never held back."""
    for _ in range(3):
        log.logger.info("mounted")
        log.logger.error("a bug", exc_info=ValueError("x"))
    assert log.lines.count("mounted") == 3
    assert log.lines.count("ValueError: x") == 3


def test_an_event_has_its_own_time(log: Log) -> None:
    """Numbers aside, as for warnings; a line at info gets no count."""
    low = Event("low", logging.INFO, "{left} calls left", every_s=600.0)
    for left in (9, 8, 7):
        low.log(log.logger, left=left)
        log.clock.advance(299.0)
    low.log(log.logger, left=6)
    assert log.lines == ["9 calls left", "6 calls left"]


def test_memory_is_bounded_and_many_threads_lose_no_count(log: Log) -> None:
    """What was forgotten is written again; of what is known every repetition is counted."""

    def repeat(_number: int) -> None:
        for _ in range(100):
            log.logger.warning("the same")

    join_all(in_threads(8, repeat))
    assert log.lines == ["the same"]
    log.clock.advance(EVERY_S)
    log.logger.warning("the same")
    assert log.lines[-1] == "the same (and 799 more since the last such line)"
    for number in range(REMEMBERED):
        log.logger.warning("x%d", number)
    log.logger.warning("the same")
    assert log.lines[-1] == "the same"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, EVERY_S)), max_size=40))
def test_no_event_is_lost_and_none_is_told_twice(steps: list[tuple[str, float]]) -> None:
    """Each first one is written; lines and counts add up to what happened before the last line."""
    log = Log()
    happened: dict[str, int] = {}
    told: dict[str, int] = {}
    at_s: dict[str, float] = {}
    for word, later_s in steps:
        log.clock.advance(later_s)
        happened[word] = happened.get(word, 0) + 1
        before = len(log.lines)
        log.logger.warning("%s", word)
        written = log.lines[before:]
        due = log.clock.monotonic() - at_s.get(word, float("-inf")) >= EVERY_S
        assert bool(written) is due
        if written:
            more = written[0].removeprefix(word).strip(" ()").split(" ")
            told[word] = told.get(word, 0) + 1 + (int(more[1]) if len(more) > 1 else 0)
            at_s[word] = log.clock.monotonic()
            assert told[word] == happened[word]


def test_a_record_that_cannot_be_formatted(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    """Is the handler's to tell of, as without the filter: whoever logs it does not fail."""
    log.logger.warning("%d of %d", "some")
    log.logger.warning("another")
    assert log.lines == ["another"]
    assert "Logging error" in capsys.readouterr().err
