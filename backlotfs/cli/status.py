"""``backlotfs status``, ``stats`` and ``refresh``: ask a running mount."""

from __future__ import annotations

import contextlib
import math
import sys
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from backlotfs.cli.mountpoints import MOUNTED, the_mount
from backlotfs.cli.progress import SizesBar, sizes_left, sizes_line
from backlotfs.log.terminal import in_words, printable, say, say_json
from backlotfs.mount.control.client import AnswerLate, ask

_WATCH_S = 1.0
#: How many errors and programs ``status`` shows, and processes ``stats``; ``--json`` has all.
SHOWN_ERRORS, SHOWN_READERS, SHOWN_PROCESSES = 5, 6, 12

#: A label, ``""`` if it is that of the line above, and its text.
Line = tuple[str, str]

_COLUMNS = 80
_WRAPPER = textwrap.TextWrapper(
    _COLUMNS - 15, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
)


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--watch",
    is_flag=True,
    help="Update every second until Ctrl-C; one line each time if stdout is not a terminal.",
)
def status(mountpoint: Path | None, as_json: bool, watch: bool) -> None:
    """Show the state of a mount: library, sizes, cache, throughput, credits, errors, readers."""
    place = the_mount(mountpoint)
    if watch and sys.stdout.isatty() and not as_json:
        _redraw(place)
    answer = ask(place, "status")
    while True:
        if as_json:
            say_json(answer)
        elif watch:
            more = f"; {sizes_line(answer)}" if sizes_left(answer) else ""
            say(one_line(answer) + more)
        else:
            lines = status_lines(answer)
            say("\n".join(_columns(wrapped(lines) if sys.stdout.isatty() else lines)))
        if not watch:
            return
        answer = _next_answer(place)


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes are in bytes.")
def stats(mountpoint: Path | None, as_json: bool) -> None:
    """Show what a mount has read since it started: for which programs, from where, at what cost."""
    answer = ask(the_mount(mountpoint), "stats")
    if as_json:
        say_json(answer)
    else:
        say("\n".join(_columns(stats_lines(answer)) + process_table(answer["processes"])))


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--full", is_flag=True, help="List the whole library, not only the changes.")
def refresh(mountpoint: Path | None, full: bool) -> None:
    """Make a mount fetch the changes of the library now."""
    place = the_mount(mountpoint)
    ask(place, "refresh", full=full)
    say(f"{place} is refreshing; see: backlotfs status {place}")


def _columns(lines: list[Line]) -> list[str]:
    return [f"{name:14} {text}".rstrip() for name, text in lines]


def wrapped(lines: list[Line]) -> list[Line]:
    """The lines, with what does not fit into `_COLUMNS` on lines of its own.

    Words stay whole, and so do the paths of the mount and of its log. This is for a terminal: a
    program that reads the text from a pipe gets each line whole.
    """
    return [
        ("" if number else name, part)
        for name, text in lines
        for number, part in enumerate([text] if name in ("mounted", "log") else _WRAPPER.wrap(text))
    ]


def _next_answer(place: Path) -> dict[str, Any]:
    """The answer a second later; a mount that is too busy to answer in time is asked again."""
    while True:
        time.sleep(_WATCH_S)
        with contextlib.suppress(AnswerLate):
            return ask(place, "status")


def _redraw(place: Path) -> None:
    """Redraw the status until Ctrl-C. :raises NoAnswer: the mount is gone."""
    # late: only this draws
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    answer = ask(place, "status")  # before the screen is used: an error is printed on a clean one
    console = Console()
    bar = SizesBar(console)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            shown = Text()
            for name, text in wrapped(status_lines(answer)):
                shown.append(f"{name:14} ", "bold cyan")
                shown.append(f"{printable(text)}\n", "red" if "STALE" in text else "")
            bar.show(answer)
            live.update(Group(shown, bar.progress) if sizes_left(answer) else shown, refresh=True)
            answer = _next_answer(place)


def status_lines(answer: dict[str, Any]) -> list[Line]:
    """The text of ``status``."""
    return [
        ("mounted", _mounted(answer)),
        *_library(answer),
        *_cache(answer["cache"]),
        *_throughput(answer["throughput"]),
        *_readers(answer["processes"]),
        ("API credits", _credits(answer["credits"])),
        *_waiting(answer["waiting"]),
        ("signed URLs", f"{answer['url_refreshes']} fetched"),
        ("kernel", _kernel(answer)),
        *_errors(answer["errors"]),
        ("log", "the journal (or syslog)" if answer["log"] == "syslog" else answer["log"]),
    ]


def one_line(answer: dict[str, Any]) -> str:
    """What changes from second to second, for ``--watch`` without a terminal."""
    now, errors = answer["throughput"]["now"], answer["errors"]
    last = f", last failed {_error(errors[0])}" if errors else ""
    left = answer["credits"]["credits_left"]
    calls = "calls not counted" if left is None else f"{left} credits left"
    return (
        f"{_moment(datetime.now(UTC).timestamp())} read {_rate(now['read_bytes_per_s'])}, "
        f"fetched {_rate(now['fetched_bytes_per_s'])}, {answer['assets']} files, "
        f"{calls}{' STALE' * answer['stale']}{last}"
    )


def _kernel(answer: dict[str, Any]) -> str:
    binding = _KERNEL.get(answer["fuse_binding"], answer["fuse_binding"])
    return f"{binding}; passthrough of cached files: {_passthrough(answer['passthrough'])}"


def _passthrough(state: dict[str, Any]) -> str:
    off, opens, files = (state[key] for key in ("off", "opens", "files"))
    return f"off: {off}" if off else f"{files} files open, {opens} opens so far"


#: How the mount speaks to the kernel.
_KERNEL = {"session": "session, without libfuse", "fusepy": "fusepy and libfuse 2"}


def _mounted(answer: dict[str, Any]) -> str:
    return f"{answer['source']} on {answer['mountpoint']} (pid {answer['pid']})"


def _library(answer: dict[str, Any]) -> list[Line]:
    sizes = answer["sizes"]
    left = sizes_left(answer)
    lines = [
        ("files", f"{answer['assets']}, {in_words(answer['size_bytes'])} as far as known"),
    ]
    if left:
        time_left = sizes["seconds_left"]
        about = "" if time_left is None else f", about {_duration(time_left)} left"
        lines.append(("sizes", f"{sizes['sized']} known, {left} pending{about}"))
    else:
        lines.append(("sizes", "all known"))
    if sizes["missing"]:
        lines.append(("", f"{sizes['missing']} files have no source"))
    listed = _ago(answer["synced_at"]) if answer["synced_at"] else "never"
    if answer["syncing"]:
        listed += " (refreshing)"
    if answer["stale"]:
        listed += " (STALE: the last refresh failed)"
    lines.append(("listed", listed))
    if answer["last_error"]:
        lines.append(("last error", answer["last_error"]))
    return lines


def _cache(cache: dict[str, Any]) -> list[Line]:
    memory = f"memory {_of(cache['memory'], 'budget_bytes')}"
    disk, pinned = cache["disk"], cache["pinned"]
    if disk is None or pinned is None:
        return [("cache", f"{memory}, no disk cache")]
    lines = [("cache", f"{memory}, disk {_of(disk, 'budget_bytes')}")]
    if pinned["files"]:
        size = _of(pinned, "needed_bytes")
        lines.append(("pinned", f"{pinned['files']} files, {size} in the disk cache"))
    return lines


def _throughput(throughput: dict[str, Any]) -> list[Line]:
    now, whole = throughput["now"], throughput["since_start"]
    return [
        (
            "now",
            f"read {_rate(now['read_bytes_per_s'])}, fetched {_rate(now['fetched_bytes_per_s'])}",
        ),
        (
            "since start",
            f"read {in_words(whole['read_bytes'])} ({_rate(whole['read_bytes_per_s'])}), "
            f"fetched {in_words(whole['fetched_bytes'])} ({_rate(whole['fetched_bytes_per_s'])})",
        ),
    ]


def _readers(processes: dict[str, Any]) -> list[Line]:
    shown = [
        f"{printable(name)} {in_words(usage['asked_bytes'])}"
        + (f" ({usage['failed']} reads failed)" if usage["failed"] else "")
        for name, usage in list(processes.items())[:SHOWN_READERS]
    ]
    if len(processes) > SHOWN_READERS:
        shown.append(f"{len(processes) - SHOWN_READERS} more")
    return [("readers", ", ".join(shown))] if shown else []


def _credits(credits: dict[str, Any]) -> str:
    if credits["limit"] is None:
        return "no limit known: this API does not count calls"
    text = f"{credits['credits_left']} of {credits['limit']}"
    if credits["more_in_s"] is None:
        return f"{text} left"
    # The credits that are left then are reserved: for other tools, and for files being read.
    return f"{text}, more in {_duration(credits['more_in_s'])}"


def _waiting(waiting: list[dict[str, Any]]) -> list[Line]:
    shown = [
        f"{printable(entry['program'])} (pid {entry['pid']}) for the "
        f"{'URL' if entry['for'] == 'url' else 'size'} of {printable(entry['file'])}, "
        f"about {_duration(entry['seconds'])}"
        for entry in waiting[:SHOWN_READERS]
    ]
    if len(waiting) > SHOWN_READERS:
        shown.append(f"{len(waiting) - SHOWN_READERS} more")
    return _under("waiting", shown)


def _errors(errors: list[dict[str, Any]]) -> list[Line]:
    shown = [_error(error) for error in errors[:SHOWN_ERRORS]]
    if len(errors) > SHOWN_ERRORS:
        shown.append(f"{len(errors) - SHOWN_ERRORS} more: --json")
    return _under("failed", shown)


def _under(label: str, texts: list[str]) -> list[Line]:
    return [("" if number else label, text) for number, text in enumerate(texts)]


def _error(error: dict[str, Any]) -> str:
    times = f" ({error['times']} times)" if error["times"] > 1 else ""
    reason = printable(error["reason"])
    return f"{_ago(error['at'])} {printable(error['file'])}: {error['errno']}: {reason}{times}"


def _next_files(counts: dict[str, int]) -> str:
    fetched, read = in_words(counts["fetched_bytes"]), in_words(counts["read_bytes"])
    return f"{fetched} fetched before an open, {read} of them read"


def stats_lines(answer: dict[str, Any]) -> list[Line]:
    """The text of ``stats``, without the table of processes."""
    reads, hedges, disk = answer["reads"], answer["hedges"], answer["disk"]
    memory, blocks = answer["memory"], reads["blocks"]
    total = sum(blocks.values())
    parts = {
        tier: f" ({100 * count / total:.0f} %)" if total else "" for tier, count in blocks.items()
    }
    failed = f", {reads['failed']} failed" if reads["failed"] else ""
    ratio = answer["amplification"]
    times = "" if ratio is None else f" ({ratio:.2f} for each byte read)"
    in_use = in_words(memory["leased_bytes"]) if memory["leased_bytes"] else "none"
    disk_text = "none"
    if disk:
        disk_text = (
            f"{_of(disk, 'budget_bytes')} used, {disk['evicted']} blocks evicted, "
            f"{disk['rejected']} rejected, {disk['damaged']} damaged"
        )
    return [
        ("mounted", _mounted(answer)),
        ("since", _moment(answer["since"])),
        ("read", f"{in_words(reads['asked_bytes'])} in {reads['reads']} reads{failed}"),
        ("fetched", in_words(answer["fetched_bytes"]) + times),
        ("warmed", in_words(answer["warmed_bytes"])),
        ("never read", in_words(answer["unused_bytes"])),
        ("next files", _next_files(answer["next_files"])),
        ("blocks from", ", ".join(f"{tier} {n}{parts[tier]}" for tier, n in blocks.items())),
        ("requests", _requests(answer["requests"])),
        ("hedges", f"{hedges['made']} made, {hedges['won']} won"),
        ("URLs fetched", str(answer["url_refreshes"])),
        (
            "memory",
            f"{in_words(memory['cached_bytes'])} of {in_words(memory['budget_bytes'])} cached, "
            f"{in_use} in use, {in_words(memory['in_flight_bytes'])} in flight",
        ),
        ("disk cache", disk_text),
        ("passthrough", _passthrough(answer["passthrough"])),
    ]


def _requests(requests: dict[str, int]) -> str:
    odd = [f"{n} {how}" for how, n in requests.items() if n and how not in ("made", "whole")]
    return f"{requests['made']} made" + (f": {', '.join(odd)}" if odd else "")


def process_table(processes: dict[str, Any]) -> list[str]:
    """The table of ``stats`` with the reads of each process, below an empty line."""
    if not processes:
        return []
    lines = [
        "",
        f"{'process':16} {'read':>10} {'reads':>9} {'memory':>9} {'disk':>9} {'network':>9}",
    ]
    for name, usage in list(processes.items())[:SHOWN_PROCESSES]:
        counts = (usage["reads"], *usage["blocks"].values())
        numbers = " ".join(f"{count:>9}" for count in counts)
        lines.append(f"{name:16} {in_words(usage['asked_bytes']):>10} {numbers}")
    if len(processes) > SHOWN_PROCESSES:
        lines.append(f"and {len(processes) - SHOWN_PROCESSES} more: --json")
    return lines


def _of(part: dict[str, int], whole: str) -> str:
    return f"{in_words(part['cached_bytes'])} of {in_words(part[whole])}"


def _rate(bytes_per_s: float) -> str:
    return f"{in_words(bytes_per_s)}/s"


def _moment(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(" ", "seconds")


def _ago(epoch_s: float) -> str:
    """``3 min ago``; a date if that is more than two days."""
    passed_s = max(0.0, time.time() - epoch_s)
    if passed_s >= 2 * 86400:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(epoch_s))
    if passed_s >= 3600:
        return f"{passed_s // 3600:.0f} h ago"
    return f"{passed_s // 60:.0f} min ago" if passed_s >= 60 else f"{passed_s:.0f} s ago"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
