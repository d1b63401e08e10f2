# SPDX-License-Identifier: Apache-2.0
"""The answers of a mount to ``status`` and ``stats``, in words."""

from __future__ import annotations

import math
import textwrap
import time
from datetime import UTC, datetime
from typing import Any

from backlotfs.cli.progress import sizes_left
from backlotfs.log.terminal import counted, in_words, printable

#: How many errors and programs ``status`` shows, and processes ``stats``; ``--json`` has all.
SHOWN_ERRORS, SHOWN_READERS, SHOWN_PROCESSES = 5, 6, 12

#: A label and a text. The label is ``""`` if it is the same as in the line above.
Line = tuple[str, str]

_COLUMNS = 80
_WRAPPER = textwrap.TextWrapper(
    _COLUMNS - 15, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
)


def columns(lines: list[Line]) -> list[str]:
    """The labels and the texts below each other."""
    return [f"{name:14} {text}".rstrip() for name, text in lines]


def wrapped(lines: list[Line]) -> list[Line]:
    """Wrap lines that are longer than `_COLUMNS`.

    Words are not broken. The lines with the paths of the mount and of its log are not wrapped. This
    is for a terminal only: a program that reads the text from a pipe gets lines without wrapping.
    """
    return [
        ("" if number else name, part)
        for name, text in lines
        for number, part in enumerate([text] if name in ("mounted", "log") else _WRAPPER.wrap(text))
    ]


def status_lines(answer: dict[str, Any]) -> list[Line]:
    """The text of ``status``."""
    return [
        ("mounted", _mounted(answer)),
        *_library(answer),
        *cache_lines(answer["cache"]),
        *_throughput(answer["throughput"]),
        *_readers(answer["processes"]),
        *_under("export", [export_text(one) for one in answer["exports"]]),
        ("API credits", credits_text(answer["credits"])),
        *_waiting(answer["waiting"]),
        ("signed URLs", f"{answer['url_refreshes']} fetched"),
        ("kernel", _kernel(answer)),
        *_errors(answer["errors"]),
        ("log", "the journal (or syslog)" if answer["log"] == "syslog" else answer["log"]),
    ]


def one_line(answer: dict[str, Any]) -> str:
    """What changes from second to second, for ``--watch`` without a terminal."""
    now, errors = answer["throughput"]["now"], answer["errors"]
    last = f", last failed {error_text(errors[0])}" if errors else ""
    left = answer["credits"]["credits_left"]
    calls = "calls not counted" if left is None else f"{counted(left, 'credit')} left"
    return (
        f"{_moment(datetime.now(UTC).timestamp())} read {rate(now['read_bytes_per_s'])}, "
        f"fetched {rate(now['fetched_bytes_per_s'])}, {counted(answer['assets'], 'file')}, "
        f"{calls}{' STALE' * answer['stale']}{last}"
    )


def _kernel(answer: dict[str, Any]) -> str:
    """The binding, and whether the kernel reads cached files itself; ``stats`` says why not."""
    state = answer["passthrough"]
    text = "off (see: backlotfs stats)" if state["off"] else passthrough_text(state)
    return f"{answer['fuse_binding']}; passthrough {text}"


def passthrough_text(state: dict[str, Any]) -> str:
    """Which files the kernel reads itself."""
    off, opens, files = (state[key] for key in ("off", "opens", "files"))
    if off:
        return f"off: {off}"
    if not opens:
        return "on, not used yet"
    return f"{counted(files, 'file')} open, {counted(opens, 'open')} so far"


def _mounted(answer: dict[str, Any]) -> str:
    return f"{answer['source']} on {answer['mountpoint']} (pid {answer['pid']})"


def _library(answer: dict[str, Any]) -> list[Line]:
    sizes = answer["sizes"]
    left = sizes_left(answer)
    so_far = " as far as known" if left else ""
    lines = [("files", f"{answer['assets']}, {in_words(answer['size_bytes'])}{so_far}")]
    if answer["choice"]:
        lines.append(("chosen", _choice(answer)))
    if left:
        time_left = sizes["seconds_left"]
        about = "" if time_left is None else f", about {duration(time_left)} left"
        lines.append(("sizes", f"{sizes['sized']} known, {left} pending{about}"))
    else:
        lines.append(("sizes", "all known"))
    if sizes["missing"]:
        lines.append(("", f"{counted(sizes['missing'], 'file')} without a source"))
    return [*lines, *listed_lines(answer)]


def _choice(answer: dict[str, Any]) -> str:
    """``12 of 340 assets: include label:News``."""
    choice = answer["choice"]
    rules = [
        f"{word} {printable(rule)}" + " (no such label)" * (rule in choice["unknown_labels"])
        for word in ("include", "exclude")
        for rule in choice[word]
    ]
    return f"{answer['assets']} of {counted(choice['of_assets'], 'asset')}: {', '.join(rules)}"


def listed_lines(answer: dict[str, Any]) -> list[Line]:
    """When the library was listed, and what went wrong."""
    listed = _ago(answer["synced_at"]) if answer["synced_at"] else "never"
    if answer["syncing"]:
        listed += " (refreshing)"
    if answer["stale"]:
        listed += " (STALE: the last refresh failed)"
    lines = [("listed", listed)]
    if answer["last_error"]:
        lines.append(("last error", answer["last_error"]))
    return lines


def cache_lines(cache: dict[str, Any]) -> list[Line]:
    """What is in memory, on disk and pinned."""
    memory = f"memory {_of(cache['memory'], 'budget_bytes')}"
    disk, pinned = cache["disk"], cache["pinned"]
    if disk is None or pinned is None:
        return [("cache", f"{memory}, no disk cache")]
    lines = [("cache", f"{memory}, disk {_of(disk, 'budget_bytes')}")]
    if pinned["files"]:
        size = _of(pinned, "needed_bytes")
        lines.append(("pinned", f"{counted(pinned['files'], 'file')}, {size} in the disk cache"))
    return lines


def _throughput(throughput: dict[str, Any]) -> list[Line]:
    now, whole = throughput["now"], throughput["since_start"]
    return [
        (
            "now",
            f"read {rate(now['read_bytes_per_s'])}, fetched {rate(now['fetched_bytes_per_s'])}",
        ),
        (
            "since start",
            f"read {in_words(whole['read_bytes'])} ({rate(whole['read_bytes_per_s'])}), "
            f"fetched {in_words(whole['fetched_bytes'])} ({rate(whole['fetched_bytes_per_s'])})",
        ),
    ]


def _readers(processes: dict[str, Any]) -> list[Line]:
    shown = [
        f"{printable(name)} {in_words(usage['asked_bytes'])}"
        + (f" ({counted(usage['failed'], 'read')} failed)" if usage["failed"] else "")
        for name, usage in list(processes.items())[:SHOWN_READERS]
    ]
    if len(processes) > SHOWN_READERS:
        shown.append(f"{len(processes) - SHOWN_READERS} more")
    return [("readers", ", ".join(shown))] if shown else []


def export_text(progress: dict[str, int]) -> str:
    """The progress of an export. No other line counts the bytes that exports read."""
    of_files = counted(progress["of_files"], "file")
    copied = in_words(progress["bytes"])
    return f"pid {progress['pid']}: {progress['files']} of {of_files}, {copied}"


def credits_text(credits: dict[str, Any]) -> str:
    """The API credits that are left, and when there are more."""
    if credits["limit"] is None:
        return "no limit known: this API does not count calls"
    text = f"{credits['credits_left']} of {credits['limit']}"
    if credits["share"] is not None:
        share = f"{credits['share_left']} of this mount's {credits['share']:.3g}"
        text = f"{share} left; account: {text}"
        if credits["more_in_s"] is None:
            return text
    elif credits["more_in_s"] is None:
        return f"{text} left"
    # If `more_in_s` is set, the credits that are left are for other tools and files being read.
    return f"{text}, more in {duration(credits['more_in_s'])}"


def waiting_text(entry: dict[str, Any]) -> str:
    """A program that waits for an API credit."""
    return (
        f"{printable(entry['program'])} (pid {entry['pid']}) for the "
        f"{'URL' if entry['for'] == 'url' else 'size'} of {printable(entry['file'])}, "
        f"about {duration(entry['seconds'])}"
    )


def _waiting(waiting: list[dict[str, Any]]) -> list[Line]:
    shown = [waiting_text(entry) for entry in waiting[:SHOWN_READERS]]
    if len(waiting) > SHOWN_READERS:
        shown.append(f"{len(waiting) - SHOWN_READERS} more")
    return _under("waiting", shown)


def _errors(errors: list[dict[str, Any]]) -> list[Line]:
    shown = [error_text(error) for error in errors[:SHOWN_ERRORS]]
    if len(errors) > SHOWN_ERRORS:
        shown.append(f"{len(errors) - SHOWN_ERRORS} more: --json")
    return _under("failed", shown)


def _under(label: str, texts: list[str]) -> list[Line]:
    return [("" if number else label, text) for number, text in enumerate(texts)]


def error_text(error: dict[str, Any]) -> str:
    """A read or an open that failed."""
    times = f" ({error['times']} times)" if error["times"] > 1 else ""
    reason = printable(error["reason"])
    return f"{_ago(error['at'])} {printable(error['file'])}: {error['errno']}: {reason}{times}"


def next_files_text(counts: dict[str, int]) -> str:
    """How many bytes were fetched before an open, and how many of them were read or not read."""
    fetched, read, unread = (
        in_words(counts[f"{name}_bytes"]) for name in ("fetched", "read", "unread")
    )
    return f"{fetched} fetched before an open: {read} read, {unread} not"


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
            f"{_of(disk, 'budget_bytes')} used, {counted(disk['evicted'], 'block')} evicted, "
            f"{disk['rejected']} rejected, {disk['damaged']} damaged"
        )
    return [
        ("mounted", _mounted(answer)),
        ("since", _moment(answer["since"])),
        ("read", f"{in_words(reads['asked_bytes'])} in {counted(reads['reads'], 'read')}{failed}"),
        ("fetched", in_words(answer["fetched_bytes"]) + times),
        ("warmed", in_words(answer["warmed_bytes"])),
        ("never read", in_words(answer["unused_bytes"])),
        ("next files", next_files_text(answer["next_files"])),
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
        ("passthrough", passthrough_text(answer["passthrough"])),
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


def rate(bytes_per_s: float) -> str:
    """``1.5 GiB/s``."""
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


def duration(seconds: float) -> str:
    """``2 h 5 min``, rounded up."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
