"""``backlotfs stats``: what a mount has read for whom, from where, and what that cost."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from backlotfs.cli.mountpoints import MOUNTED, the_mount
from backlotfs.log.terminal import in_words, say, say_json
from backlotfs.mount.control.client import ask

#: Processes shown; ``--json`` has them all.
SHOWN = 12


@click.command()
@click.argument("mountpoint", type=MOUNTED, required=False)
@click.option("--json", "as_json", is_flag=True, help="As one JSON object; sizes in bytes.")
def stats(mountpoint: Path | None, as_json: bool) -> None:
    """Tell what a mount has read since it began: for whom, from where, at what cost."""
    answer = ask(the_mount(mountpoint), "stats")
    if as_json:
        say_json(answer)
    else:
        say("\n".join(_summary(answer) + _processes(answer)))


def _summary(answer: dict[str, Any]) -> list[str]:
    reads, requests, hedges = answer["reads"], answer["requests"], answer["hedges"]
    blocks, disk = reads["blocks"], answer["disk"]
    since = datetime.fromtimestamp(answer["since"], UTC).isoformat(" ", "seconds")
    failed = f", {reads['failed']} failed" if reads["failed"] else ""
    times = (
        f" ({answer['amplification']:.2f} for each byte asked)"
        if answer["amplification"] is not None
        else ""
    )
    kept = (
        f"{in_words(disk['held_bytes'])} of {in_words(disk['budget_bytes'])} held, "
        f"{disk['evicted']} blocks gone for others, {disk['turned_away']} turned away, "
        f"{disk['damaged']} damaged"
        if disk
        else "none"
    )
    lines = [
        ("mounted", f"{answer['source']} on {answer['mountpoint']} (pid {answer['pid']})"),
        ("since", since),
        ("asked", f"{in_words(reads['asked_bytes'])} in {reads['reads']} reads{failed}"),
        ("fetched", in_words(answer["fetched_bytes"]) + times),
        ("warmed", in_words(answer["warmed_bytes"])),
        ("never read", in_words(answer["unused_bytes"])),
        (
            "blocks from",
            ", ".join(f"{tier} {count}{_part(count, blocks)}" for tier, count in blocks.items()),
        ),
        ("requests", _requests(requests)),
        ("hedges", f"{hedges['made']} made, {hedges['won']} won"),
        ("URLs fetched", str(answer["url_refreshes"])),
        ("memory", _memory(answer["memory"])),
        ("disk tier", kept),
    ]
    return [f"{name:14} {text}" for name, text in lines]


def _memory(memory: dict[str, int]) -> str:
    in_use = (
        f"{in_words(memory['leased_bytes'])} in use" if memory["leased_bytes"] else "none in use"
    )
    return (
        f"{in_words(memory['cached_bytes'])} of {in_words(memory['budget_bytes'])} held, "
        f"{in_use}, {in_words(memory['under_way_bytes'])} under way"
    )


def _part(count: int, blocks: dict[str, int]) -> str:
    total = sum(blocks.values())
    return f" ({100 * count / total:.0f} %)" if total else ""


def _requests(requests: dict[str, int]) -> str:
    odd = [f"{count} {how}" for how, count in requests.items() if how not in ("made", "whole")]
    trouble = ", ".join(text for text in odd if not text.startswith("0 "))
    return f"{requests['made']} made" + (f": {trouble}" if trouble else "")


def _processes(answer: dict[str, Any]) -> list[str]:
    processes = answer["processes"]
    if not processes:
        return []
    lines = [
        "",
        f"{'process':16} {'asked':>10} {'reads':>9} {'memory':>9} {'disk':>9} {'network':>9}",
    ]
    for name, usage in list(processes.items())[:SHOWN]:
        counts = (usage["reads"], *usage["blocks"].values())
        numbers = " ".join(f"{count:>9}" for count in counts)
        lines.append(f"{name:16} {in_words(usage['asked_bytes']):>10} {numbers}")
    if len(processes) > SHOWN:
        lines.append(f"and {len(processes) - SHOWN} more: --json")
    return lines
