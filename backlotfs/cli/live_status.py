# SPDX-License-Identifier: Apache-2.0
"""``status --watch`` on a terminal: draws the whole screen at least once a second.

A thread asks the mount, so that the screen is drawn and the command can be ended even if the mount
answers slowly or not at all. Signals and answers go into one queue, so that no signal handler
draws.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, NamedTuple

from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.text import Text

from backlotfs.cli.progress import LATE_PAUSE_S, PAUSE_FACTOR, sizes_left, sizes_line
from backlotfs.cli.read_rates import Reader, Watched, samples_of
from backlotfs.cli.status_text import (
    SHOWN_ERRORS,
    SHOWN_READERS,
    Line,
    cache_lines,
    credits_text,
    duration,
    error_text,
    export_text,
    listed_lines,
    next_files_text,
    passthrough_text,
    rate,
    waiting_text,
)
from backlotfs.concurrency.clock import Clock, SystemClock
from backlotfs.errors import BacklotError
from backlotfs.kernel.mount_table import mount_at
from backlotfs.log.terminal import counted, in_words, printable
from backlotfs.mount.control.client import AnswerLate, NoAnswer, ask

_EVERY_S = 1.0
#: If the mount has not answered for this time, the picture says so.
_SILENT_S = 5.0
#: How long to wait until a mount that ends is gone from the mount table.
_ENDING_S = 3.0
#: The fewest and the most rows of a plot.
_PLOT_ROWS = 2, 8
#: The most programs in the list of readers.
_LINES = 12
_LABEL = 14
_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP, signal.SIGWINCH)
_EIGHTHS = " ▁▂▃▄▅▆▇█"

#: An answer of the mount, the error after which it is not asked again, or a signal.
Event = dict[str, Any] | BacklotError | signal.Signals


def show_live(place: Path) -> None:
    """Draw until Ctrl-C. :raises BacklotError: the mount has ended or cannot be asked."""
    answer = ask(place, "status")  # before the screen is cleared, so that an error stays visible
    history = ask(place, "stats")["history"]
    # the time of the last point of the history is now
    watched = Watched(samples_of(history, history[-1]["at"] - time.monotonic()))
    watched.add(time.monotonic(), answer)
    console = Console()
    events: SimpleQueue[Event] = SimpleQueue()
    questions = Questions(place, events, threading.Event(), SystemClock())
    with _signals_to(events), Live(console=console, screen=True, auto_refresh=False) as live:
        threading.Thread(target=questions.keep_asking, name="questions", daemon=True).start()
        while True:
            console.size = _terminal_size()
            live.update(frame(watched, console, questions.silent_s()), refresh=True)
            try:
                event = events.get(timeout=_EVERY_S)
            except Empty:
                continue
            if isinstance(event, dict):
                watched.add(time.monotonic(), event)
            elif isinstance(event, BacklotError):
                raise event
            elif event == signal.SIGTSTP:
                live.stop()
                _stop()
                questions.hurry()
                live.start()
            elif event != signal.SIGWINCH:
                break
    if event == signal.SIGINT:
        raise KeyboardInterrupt
    os.kill(os.getpid(), event)


def _terminal_size() -> ConsoleDimensions:
    """The size of the terminal now. rich would use ``COLUMNS``, which a resize does not change."""
    size = os.get_terminal_size(sys.stdout.fileno())
    return ConsoleDimensions(size.columns or 80, size.lines or 24)


@contextlib.contextmanager
def _signals_to(events: SimpleQueue[Event]) -> Iterator[None]:
    """Put the signals that end, stop or resize the picture into the queue."""

    def put(number: int, _frame: FrameType | None) -> None:
        events.put(signal.Signals(number))

    before = {number: signal.signal(number, put) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop() -> None:
    """Stop this process as Ctrl-Z does. The kernel ignores it if no shell could continue it."""
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)


class Questions:
    """Asks a mount for its status each second, or less often if an answer takes long."""

    def __init__(
        self, place: Path, events: SimpleQueue[Event], hurried: threading.Event, clock: Clock
    ) -> None:
        """Ask nothing yet. :param hurried: set to end a pause."""
        self._place = place
        self._events = events
        self._hurried = hurried
        self._clock = clock
        self._unanswered_since_s: float | None = None

    def silent_s(self) -> float:
        """For how long the mount has not answered a question."""
        since_s = self._unanswered_since_s
        return 0.0 if since_s is None else self._clock.monotonic() - since_s

    def hurry(self) -> None:
        """Ask at once after this process was stopped; do not count that time as time of waiting."""
        if self._unanswered_since_s is not None:
            self._unanswered_since_s = self._clock.monotonic()
        self._hurried.set()

    def keep_asking(self) -> None:
        """Put answers into the queue until the mount cannot be asked; then put the error."""
        pause_s = _EVERY_S
        while True:
            self._hurried.wait(pause_s)
            self._hurried.clear()
            began_s = self._clock.monotonic()
            if self._unanswered_since_s is None:
                self._unanswered_since_s = began_s
            try:
                answer = ask(self._place, "status")
            except AnswerLate:
                pause_s = LATE_PAUSE_S
                continue
            except BacklotError as error:
                self._events.put(_why_it_ended(self._place, error))
                return
            self._unanswered_since_s = None
            self._events.put(answer)
            pause_s = min(
                LATE_PAUSE_S, max(_EVERY_S, PAUSE_FACTOR * (self._clock.monotonic() - began_s))
            )


def _why_it_ended(place: Path, error: BacklotError) -> BacklotError:
    """The error to show. Wait some seconds for the mount table to show that the mount has ended."""
    for _ in range(round(_ENDING_S / 0.1)):
        if mount_at(place) is None:
            return NoAnswer(f"the mount on {place} has ended; see its log")
        time.sleep(0.1)
    return error


class _Section(NamedTuple):
    """Lines under one label. If there is too little room, only the first lines are shown.

    :ivar total: the number of all entries; shown beside the label if lines are left out.
    """

    label: str
    total: int
    texts: list[str]
    style: str = ""


class _Screen(NamedTuple):
    """The terminal. :ivar encoding: its encoding, in lower case."""

    width: int
    height: int
    encoding: str

    @property
    def plain(self) -> bool:
        """Whether only ASCII characters are used, because the encoding is no UTF."""
        return not self.encoding.startswith("utf")

    def text(self, foreign: str) -> str:
        """Escape control characters in foreign text, and characters that the encoding lacks."""
        return printable(foreign).encode(self.encoding, "backslashreplace").decode(self.encoding)

    def line(self, label: str, text: str, style: str = "") -> Text:
        """A line with a label. rich does not interpret ``text`` as markup."""
        return Text().append(f"{label:{_LABEL}} ", "bold cyan").append(self.text(text), style)


def frame(watched: Watched, console: Console, silent_s: float = 0.0) -> Text:
    """The picture, as a text that fits the present size of the terminal.

    :param silent_s: how long the mount has not answered.
    """
    screen = _Screen(*console.size, console.encoding)
    answer = dict(watched.latest)
    head = [_head(answer, screen), *_silence(silent_s)]
    facts = _facts(watched, answer, screen)
    sections = _sections(watched.now().readers, answer)
    rest = max(0, screen.height - len(head) - len(facts))
    rows, kept = _shared(rest, [len(section.texts) for section in sections])
    lines = [*head, *_plots(watched, answer["throughput"]["now"], rows, screen), *facts]
    for section, count in zip(sections, kept, strict=True):
        lines += _shown(section, count, screen)
    for line in lines:
        line.truncate(screen.width, overflow="crop" if screen.plain else "ellipsis")
    return Text("\n").join(lines[: screen.height])


def _shared(rest: int, wanted: Sequence[int]) -> tuple[int, list[int]]:
    """Divide the remaining lines: return the rows of each plot, and the lines of each section.

    The two titles of the plots and their axis take three more lines. If there is no room for the
    fewest rows, only the titles are shown.
    """
    least, most = _PLOT_ROWS
    for_sections = max(len(wanted), min(sum(wanted), rest - 3 - 2 * least))
    kept = [min(1, one) for one in wanted]
    while sum(kept) < min(for_sections, sum(wanted)):
        # among the sections that lack lines, the one with the fewest lines gets the next line
        lacking = [at for at, one in enumerate(wanted) if kept[at] < one]
        kept[min(lacking, key=kept.__getitem__)] += 1
    rows = (rest - sum(kept) - 3) // 2
    return (min(most, rows) if rows >= least else 0), kept


def _shown(section: _Section, count: int, screen: _Screen) -> list[Text]:
    """The first lines of a section."""
    label = section.label + (f" ({section.total})" if count < section.total else "")
    return [
        screen.line("" if number else label, text, section.style)
        for number, text in enumerate(section.texts[:count])
    ]


def _head(answer: dict[str, Any], screen: _Screen) -> Text:
    up = duration(max(0.0, time.time() - answer["since"]))
    shown = Text().append(screen.text(f"{answer['source']} on {answer['mountpoint']}"), "bold")
    size = in_words(answer["size_bytes"])
    return shown.append(f", up {up}, {counted(answer['assets'], 'file')}, {size}")


def _silence(silent_s: float) -> list[Text]:
    if silent_s < _SILENT_S:
        return []
    text = f"no answer for {duration(silent_s)}: the mount is busy, or hangs; what is below is old"
    return [Text(text, "bold red")]


def _facts(watched: Watched, answer: dict[str, Any], screen: _Screen) -> list[Text]:
    lines: list[Line] = [
        ("blocks now", _shares(watched.now().blocks)),
        ("blocks so far", _shares(answer["reads"]["blocks"])),
        *cache_lines(answer["cache"]),
        ("next files", next_files_text(answer["next_files"])),
        ("API credits", credits_text(answer["credits"])),
    ]
    if sizes_left(answer):
        bar = _bar(answer, max(10, screen.width // 4), plain=screen.plain)
        lines.append(("sizes", f"{bar} {sizes_line(answer, credits=False)}"))
    lines += listed_lines(answer)
    passthrough = answer["passthrough"]
    if passthrough["opens"]:
        lines.append(("passthrough", f"{passthrough_text(passthrough)}; the kernel reads these"))
    stale = "listed" if answer["stale"] else None
    return [screen.line(name, text, "red" if name == stale else "") for name, text in lines]


def _bar(answer: dict[str, Any], width: int, *, plain: bool) -> str:
    total: int = answer["sizes"]["total"]
    full = min(width, max(0, width * (total - sizes_left(answer)) // max(1, total)))
    done, to_come = ("#", ".") if plain else ("━", "─")
    return done * full + to_come * (width - full)


def _shares(blocks: dict[str, int]) -> str:
    total = sum(blocks.values())
    if not total:
        return "none"
    return ", ".join(f"{tier} {100 * count / total:.0f} %" for tier, count in blocks.items())


def _sections(readers: list[Reader], answer: dict[str, Any]) -> list[_Section]:
    programs = [
        f"{printable(one.name)} {rate(one.bytes_per_s)}, {in_words(one.asked_bytes)} in all"
        + (f", {counted(one.failed, 'read')} failed" if one.failed else "")
        for one in readers[:_LINES]
    ]
    exports = [export_text(one) for one in answer["exports"]]
    waiting, errors = answer["waiting"], answer["errors"]
    waits = [waiting_text(entry) for entry in waiting[:SHOWN_READERS]]
    failures = [error_text(error) for error in errors[:SHOWN_ERRORS]]
    sections = [
        _Section("readers", len(readers), programs),
        _Section("export", len(exports), exports),
        _Section("waiting", len(waiting), waits, "yellow"),
        _Section("failed", len(errors), failures, "red"),
    ]
    return [section for section in sections if section.texts]


def _plots(watched: Watched, now: dict[str, float], rows: int, screen: _Screen) -> list[Text]:
    """Both plots under their titles, and their common axis; the titles alone if ``rows`` is 0."""
    lines: list[Text] = []
    read, fetched = watched.columns(screen.width)
    for name, values, style in (("read", read, "green"), ("fetched", fetched, "blue")):
        highest = max((value for value in values if value is not None), default=0.0)
        title = f"{rate(now[f'{name}_bytes_per_s'])}, highest {rate(highest)}"
        lines.append(screen.line(name, title, "bold"))
        drawn = plot(values, rows, highest, plain=screen.plain)
        lines += [Text(row, style) for row in drawn]
    if rows:
        ago = f"{watched.back_s / 60:.0f} min ago"
        lines.append(Text(f"{ago}{'now':>{max(0, screen.width - len(ago))}}", "dim"))
    return lines


def plot(
    values: Sequence[float | None], rows: int, highest: float, *, plain: bool = False
) -> list[str]:
    """The rows of a plot, with one column for each value.

    A column of the value ``highest`` fills all rows. Each value above 0 is visible. An unknown
    value (None) is an empty column. Heights are multiples of an eighth of a row, or of a whole row
    if ``plain``.
    """
    parts = 1 if plain else 8
    marks = " #" if plain else _EIGHTHS
    heights = [
        max(1, round(value / highest * rows * parts)) if value and highest else 0
        for value in values
    ]
    return [
        "".join(marks[min(parts, max(0, height - row * parts))] for height in heights)
        for row in reversed(range(rows))
    ]
