"""``backlotfs status`` in words. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from backlotfs.export.items import printable
from backlotfs.log.terminal import in_words

#: Errors and readers shown; ``--json`` has them all.
SHOWN_ERRORS, SHOWN_READERS = 5, 6

#: A label, ``""`` where it is the one above, and what it labels.
Line = tuple[str, str]


def sizes_left(answer: dict[str, Any]) -> int:
    """Files whose size is not known yet."""
    sizes = answer["sizes"]
    return int(sizes["total"] - sizes["sized"] - sizes["missing"])


def status_lines(answer: dict[str, Any]) -> list[Line]:
    """Everything that people want to know."""
    credits = answer["credits"]
    return [
        ("mounted", f"{answer['source']} on {answer['mountpoint']} (pid {answer['pid']})"),
        *_library(answer),
        ("cache", _cache(answer["cache"])),
        *_throughput(answer["throughput"]),
        *_readers(answer["processes"]),
        ("API credits", _credits(credits)),
        *_waiting(answer["waiting"]),
        ("URLs fetched", str(answer["url_refreshes"])),
        *_errors(answer["errors"]),
        ("log", answer["log"]),
    ]


def one_line(answer: dict[str, Any]) -> str:
    """What changes from second to second."""
    now, errors = answer["throughput"]["now"], answer["errors"]
    last = f", last failed {_error(errors[0])}" if errors else ""
    left = answer["credits"]["credits_left"]
    calls = "calls not counted" if left is None else f"{left} credits left"
    return (
        f"{_moment(datetime.now(UTC).timestamp())} read {_rate(now['read_bytes_per_s'])}, "
        f"fetched {_rate(now['fetched_bytes_per_s'])}, {answer['assets']} files, "
        f"{calls}{' STALE' * answer['stale']}{last}"
    )


def _credits(credits: dict[str, Any]) -> str:
    if credits["limit"] is None:
        return "not counted by this API"
    text = f"{credits['credits_left']} of {credits['limit']}"
    if credits["more_in_s"] is None:
        return f"{text} left"
    # What is left then is for other tools of the account, and for files that are being read.
    return f"{text}, more in {_duration(credits['more_in_s'])}"


def _waiting(waiting: list[dict[str, Any]]) -> list[Line]:
    lines = [
        (
            "waiting",
            f"{printable(entry['program'])} (pid {entry['pid']}) for the "
            f"{'URL' if entry['for'] == 'url' else 'size'} of {printable(entry['file'])}, "
            f"about {_duration(entry['seconds'])}",
        )
        for entry in waiting[:SHOWN_READERS]
    ]
    if len(waiting) > SHOWN_READERS:
        lines.append(("", f"{len(waiting) - SHOWN_READERS} more"))
    return [(label if not number else "", text) for number, (label, text) in enumerate(lines)]


def _library(answer: dict[str, Any]) -> list[Line]:
    sizes = answer["sizes"]
    left = sizes_left(answer)
    lines = [
        ("assets", f"{answer['assets']}, {in_words(answer['size_bytes'])} as far as is known"),
        ("sizes", f"{sizes['sized']} known, {sizes['missing']} without a source, {left} to go"),
    ]
    if left and sizes["seconds_left"] is not None:
        lines.append(("", f"about {_duration(sizes['seconds_left'])} left"))
    listed = _moment(answer["synced_at"]) if answer["synced_at"] else "never"
    if answer["syncing"]:
        listed += " (looking for news)"
    if answer["stale"]:
        listed += " (STALE: the last look for news failed)"
    lines.append(("listed", listed))
    if answer["last_error"]:
        lines.append(("last error", answer["last_error"]))
    return lines


def _cache(cache: dict[str, Any]) -> str:
    parts = [f"memory {_of(cache['memory'], 'budget_bytes')}"]
    if cache["disk"] is None or cache["pinned"] is None:
        return f"{parts[0]}, no disk tier"
    parts.append(f"disk {_of(cache['disk'], 'budget_bytes')}")
    pinned = cache["pinned"]
    parts.append(f"pinned {_of(pinned, 'needed_bytes')} in {pinned['files']} files")
    return ", ".join(parts)


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


def _errors(errors: list[dict[str, Any]]) -> list[Line]:
    lines = [("failed", _error(error)) for error in errors[:SHOWN_ERRORS]]
    if len(errors) > SHOWN_ERRORS:
        lines.append(("", f"{len(errors) - SHOWN_ERRORS} more: --json"))
    return [(label if not number else "", text) for number, (label, text) in enumerate(lines)]


def _error(error: dict[str, Any]) -> str:
    times = f" ({error['times']} times)" if error["times"] > 1 else ""
    reason = printable(error["reason"])
    return f"{_moment(error['at'])} {printable(error['file'])}: {error['errno']}: {reason}{times}"


def _of(held: dict[str, int], whole: str) -> str:
    return f"{in_words(held['held_bytes'])} of {in_words(held[whole])}"


def _rate(bytes_per_s: float) -> str:
    return f"{in_words(bytes_per_s)}/s"


def _moment(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(" ", "seconds")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
