"""What options take, as people write it on a command line."""

from __future__ import annotations

import re

import click

from backlotfs.config.settings import Quota
from backlotfs.config.time_limits import parse_duration_s
from backlotfs.namespace.layouts import LAYOUTS

_RATE = re.compile(
    r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:(bits?|b(?:it)?ps)|i?B)?(?:/s)?\Z", re.IGNORECASE
)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?\Z", re.IGNORECASE)
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%\Z")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class Size(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """``64M``, ``1.5GiB``, ``4096``: bytes, in powers of 1024."""

    name = "SIZE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Bytes."""
        if isinstance(value, int):
            return value
        match = _SIZE.match(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a size; write it like 256M or 10G", param, ctx)
        return int(float(match.group(1)) * 1024 ** _POWERS[match.group(2).upper()])


class Part(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """``80%``, or a size as `Size` takes it: a part of something."""

    name = "SIZE|PERCENT"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Quota:
        """The share, or the bytes."""
        if isinstance(value, Quota):
            return value
        match = _SHARE.match(str(value).strip())
        if match is None:
            return Quota(size=Size().convert(value, param, ctx))
        if float(match.group(1)) > 100:
            self.fail(f"{value!r} is more than there is", param, ctx)
        return Quota(float(match.group(1)) / 100)


class Rate(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """``10M``, ``2.5MiB/s``: bytes a second in powers of 1024; ``80Mbit``, ``80Mbps``: of 1000."""

    name = "RATE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Bytes a second; 0: no limit."""
        if isinstance(value, int | float):
            return float(value)
        match = _RATE.match(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a rate; write it like 10M or 80Mbit", param, ctx)
        power = _POWERS[match.group(2).upper()]
        if match.group(3):
            return float(match.group(1)) * float(1000**power) / 8
        return float(match.group(1)) * float(1024**power)


class Duration(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """``90s``, ``5m``, ``72h``, ``30``: seconds."""

    name = "DURATION"

    def __init__(self, least_s: float = 0.0) -> None:
        """``least_s``: what is shorter is refused."""
        self._least_s = least_s

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        if isinstance(value, int | float):
            return float(value)
        seconds = parse_duration_s(str(value))
        if seconds is None:
            self.fail(f"{value!r} is not a duration; write it like 30s, 5m or 72h", param, ctx)
        if seconds < self._least_s:
            self.fail(f"{value!r} is too short; {self._least_s:g}s is the least", param, ctx)
        return seconds


class Octal(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """``022``: permission bits."""

    name = "OCTAL"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Permission bits."""
        if isinstance(value, int):
            return value
        try:
            bits = int(str(value), 8)
        except ValueError:
            bits = -1
        if not 0 <= bits <= 0o777:
            self.fail(f"{value!r} is not a umask; write it like 022", param, ctx)
        return bits


class Layouts(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """``flat``, ``labels,dates``: one layout, or several."""

    name = "LAYOUT[,LAYOUT…]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Names of layouts, each once."""
        names = value if isinstance(value, tuple) else str(value).split(",")
        for name in names:
            if name not in LAYOUTS:
                self.fail(f"{name!r} is not a layout; choose of {', '.join(LAYOUTS)}", param, ctx)
        return tuple(dict.fromkeys(names))
