# SPDX-License-Identifier: Apache-2.0
"""Types of option values: sizes, shares, rates, durations, layouts, rules, addresses …"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import click

from backlotfs.catalog.choice import parse_rule
from backlotfs.config.listen_address import ListenAddress, parse_listen_address
from backlotfs.config.settings import LAYOUTS, Quota
from backlotfs.config.time_limits import parse_duration_s
from backlotfs.errors import SettingsError

_RATE = re.compile(
    r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:(bits?|b(?:it)?ps)|i?B)?(?:/s)?\Z", re.IGNORECASE
)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?\Z", re.IGNORECASE)
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%\Z")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class FolderOrUrl(click.Path):
    """A folder, as a path; or a URL, as a text."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path | str:
        """Leave a URL as it is."""
        if isinstance(value, str) and "://" in value:
            return value
        return Path(os.fsdecode(super().convert(value, param, ctx)))


class Size(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """A number of bytes in powers of 1024: ``64M``, ``1.5GiB``, ``4096``."""

    name = "SIZE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Convert to bytes."""
        if isinstance(value, int):
            return value
        match = _SIZE.match(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a size; write it like 256M or 10G", param, ctx)
        return int(float(match.group(1)) * 1024 ** _POWERS[match.group(2).upper()])


class Part(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """A part of something: ``80%``, or a `Size`."""

    name = "SIZE|PERCENT"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Quota:
        """Convert to a share or to bytes."""
        if isinstance(value, Quota):
            return value
        match = _SHARE.match(str(value).strip())
        if match is None:
            return Quota(size=Size().convert(value, param, ctx))
        if float(match.group(1)) > 100:
            self.fail(f"{value!r} is more than 100%", param, ctx)
        return Quota(float(match.group(1)) / 100)


class Rate(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """A rate: ``10M``, ``2.5MiB/s`` in bytes and powers of 1024; ``80Mbit``, ``80Mbps`` of 1000."""

    name = "RATE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert to bytes per second; 0 means no limit."""
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
    """A time in seconds: ``90s``, ``5m``, ``72h``, ``30``."""

    name = "DURATION"

    def __init__(self, least_s: float = 0.0, most_s: float = math.inf) -> None:
        """:param least_s: the shortest valid duration. :param most_s: the longest one."""
        self._least_s = least_s
        self._most_s = most_s

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert to seconds."""
        if isinstance(value, int | float):
            return float(value)
        seconds = parse_duration_s(str(value))
        if seconds is None:
            self.fail(f"{value!r} is not a duration; write it like 30s, 5m or 72h", param, ctx)
        if seconds < self._least_s:
            self.fail(f"{value!r} is too short; the minimum is {self._least_s:g}s", param, ctx)
        if seconds > self._most_s:
            self.fail(f"{value!r} is too long; the maximum is {self._most_s / 3600:g}h", param, ctx)
        return seconds


class Octal(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """Permission bits in octal: ``022``."""

    name = "OCTAL"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Convert to a number."""
        if isinstance(value, int):
            return value
        try:
            bits = int(str(value), 8)
        except ValueError:
            bits = -1
        if not 0 <= bits <= 0o777:
            self.fail(f"{value!r} is not a umask; write it like 022", param, ctx)
        return bits


class Rule(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """A rule that chooses assets: ``*.mov``, ``label:News`` …; see `catalog.choice`."""

    name = "RULE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Check the rule, and return it as a text."""
        try:
            return parse_rule(str(value)).text
        except SettingsError as error:
            self.fail(str(error), param, ctx)


class Listen(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """An address to listen on: ``127.0.0.1:9184``, ``[::1]:9184``, ``:9184``."""

    name = "ADDRESS"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> ListenAddress:
        """Convert to host and port."""
        if isinstance(value, ListenAddress):
            return value
        try:
            return parse_listen_address(str(value))
        except SettingsError as error:
            self.fail(str(error), param, ctx)


class Layouts(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """One layout or several: ``flat``, ``labels,dates``."""

    name = "LAYOUT[,LAYOUT…]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Convert to the names of layouts, each once."""
        names = value if isinstance(value, tuple) else str(value).split(",")
        for name in names:
            if name not in LAYOUTS:
                self.fail(f"{name!r} is not a layout; choose from {', '.join(LAYOUTS)}", param, ctx)
        return tuple(dict.fromkeys(names))
