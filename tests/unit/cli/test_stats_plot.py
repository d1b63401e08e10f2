# SPDX-License-Identifier: Apache-2.0
"""``stats --plot``: a picture that is there completely, or not at all."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from click.testing import CliRunner
from PIL import Image

from backlotfs.cli.stats_plot import check_file, write_plot
from backlotfs.cli.status_text import stats_lines
from backlotfs.errors import CommandFailed, SettingsError
from backlotfs.mount.control.client import problem_of
from tests.unit.cli.made_answers import STATS, usage

MODULE = import_module("backlotfs.cli.status")
SVG = "{http://www.w3.org/2000/svg}"
#: The last moment that an answer may name, a year before `datetime` ends.
LAST_S = 253_370_764_799


def texts(path: Path) -> str:
    """What an SVG says, and that it is one."""
    return "\n".join(ElementTree.parse(path).getroot().itertext())


def ticks(path: Path, axis: int) -> list[str]:
    """The texts at an axis of an SVG: 1 and 2 of the time, 3 and 4 of the programs."""
    (found,) = ElementTree.parse(path).findall(f".//*[@id='matplotlib.axis_{axis}']")
    return [text.text or "" for text in found.iter(f"{SVG}text")]


def xs(path: Path, colour: str, axes: int) -> list[list[float]]:
    """The x of the corners of what is drawn in this colour."""
    (found,) = ElementTree.parse(path).findall(f".//*[@id='axes_{axes}']")
    return [
        [float(x) for x in re.findall(r"[ML] ([-\d.]+) ", one.get("d", ""))]
        for one in found.iter(f"{SVG}path")
        if colour in one.get("style", "") and "clip-path" in one.keys()  # noqa: SIM118  # no dict
    ]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the local time zone."""

    def to(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield to
    monkeypatch.undo()
    time.tzset()


def test_as_svg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which programs read, from where; the command says where it is."""
    monkeypatch.setattr(MODULE, "ask", lambda _place, _command: STATS)
    path = tmp_path / "report.SVG"
    done = CliRunner().invoke(MODULE.stats, ["/mnt/a", "--plot", str(path)])
    assert (done.exit_code, done.output) == (0, f"{path} shows what /mnt/a has read\n")
    shown = texts(path)
    for part in ("backlot:main on /mnt/a", "cp", "ffprobe", "read from memory", "fetched", "KiB/s",
                 "2.0 MiB read, 1.0 MiB not", "2016-03-01"):  # fmt: skip
        assert part in shown
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert list(tmp_path.iterdir()) == [path]


def _umask() -> int:
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if "Umask" in one]
    return int(line.split()[1], 8)


def test_as_png_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suffix says which; ``--json`` prints as well."""
    monkeypatch.setattr(MODULE, "ask", lambda _place, _command: STATS)
    path = tmp_path / "report.png"
    done = CliRunner().invoke(MODULE.stats, ["/mnt/a", "--json", "--plot", str(path)])
    assert done.output.startswith("{")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height > 500
    write_plot(STATS, path)
    check_file(path)


def test_small_reads(tmp_path: Path) -> None:
    """Bytes are drawn as they were asked for, however many blocks they touched."""
    blocks = {"memory": 768, "disk": 0, "network": 256}  # 1024 reads of 4 KiB
    asked = 4 << 20
    begun, ended = (
        {"at": 1000.0 + 64 * share, "read_bytes": asked * share, "fetched_bytes": 0,
         "blocks": {tier: count * share for tier, count in blocks.items()}}
        for share in (0, 1)
    )  # fmt: skip
    processes = {"db": usage(asked, 1024, 0, *blocks.values())}
    path = tmp_path / "x.svg"
    write_plot(STATS | {"history": [begun, ended], "processes": processes}, path)
    assert ticks(path, 2) == ["0 B/s", "16.0 KiB/s", "32.0 KiB/s", "48.0 KiB/s", "64.0 KiB/s"]
    assert ticks(path, 3) == ["0 B", "1.0 MiB", "2.0 MiB", "3.0 MiB", "4.0 MiB"]
    ((left, edge, *_),), ((begin, right, *_),) = (
        xs(path, colour, axes=2) for colour in ("#8ecae6", "#fb8500")
    )
    assert begin == pytest.approx(edge, abs=0.01)
    assert edge - left == pytest.approx(3 * (right - begin), abs=0.01)


def test_the_end_of_summer_time(tmp_path: Path, zone: Callable[[str], None]) -> None:
    """All times are of one zone, which is named; so they do not go back."""
    zone("CET-1CEST,M3.5.0,M10.5.0/3")
    began_s = datetime(2025, 10, 26, tzinfo=UTC).timestamp()
    history = [
        {"at": began_s + 3600 * hour, "read_bytes": hour << 30, "fetched_bytes": hour << 30,
         "blocks": {"network": hour}}
        for hour in range(4)
    ]  # fmt: skip
    write_plot(STATS | {"history": history}, tmp_path / "x.svg")
    assert "2025-10-26 01:00 to 2025-10-26 04:00 CET" in texts(tmp_path / "x.svg")
    shown = ticks(tmp_path / "x.svg", 1)
    assert shown[0] == "01:30"
    assert "04:00" in shown
    (fetched,) = xs(tmp_path / "x.svg", "#1b263b", axes=1)
    assert len(fetched) > 1
    assert fetched == sorted(fetched)


@pytest.mark.long
def test_the_first_and_the_last_moment(tmp_path: Path, zone: Callable[[str], None]) -> None:
    """What an answer may say can be drawn, wherever one is; the rest is no answer."""
    first, last, beyond = ({**STATS["history"][0], "at": at} for at in (0, LAST_S, 9.9e11))
    for name in ("<+14>-14", "<-12>12"):
        zone(name)
        for history in ([first], [last], [first, last], [last, first]):
            answer = STATS | {"history": history, "since": LAST_S}
            assert problem_of(answer, "stats") is None
            assert stats_lines(answer)
            write_plot(answer, tmp_path / "x.svg")
    year_9999_s = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
    for history in ([], [beyond], [first, {**first, "at": year_9999_s}]):
        assert problem_of(STATS | {"history": history}, "stats") is not None


def test_a_matplotlibrc(tmp_path: Path) -> None:
    """Of the user, or of the folder one is in, changes nothing."""
    write_plot(STATS, tmp_path / "x.svg")
    with mpl.rc_context({"text.usetex": True, "axes.facecolor": "red", "figure.facecolor": "red"}):
        write_plot(STATS, tmp_path / "y.svg")
        assert mpl.rcParams["text.usetex"]
    assert texts(tmp_path / "y.svg") == texts(tmp_path / "x.svg")
    assert "#ff0000" not in (tmp_path / "y.svg").read_text()


def test_hostile_names(tmp_path: Path) -> None:
    """They are neither formulas nor markup nor control characters."""
    evil = "$\\frac{<b>&\x1b[31m\u4e2d$"
    write_plot(STATS | {"processes": {evil: usage(5, 1, 0, 1, 0, 0)}}, tmp_path / "x.svg")
    assert "$\\frac{<b>&\\x1b[31m\u4e2d$" in texts(tmp_path / "x.svg")
    write_plot(STATS | {"processes": {evil: usage(5, 1, 0, 1, 0, 0)}}, tmp_path / "x.png")


def test_of_a_mount_that_nobody_used(tmp_path: Path) -> None:
    """And of one with more programs than there is room for."""
    idle = STATS | {"processes": {}, "history": STATS["history"][:1]}
    write_plot(idle, tmp_path / "x.svg")
    assert "no program has read anything" in texts(tmp_path / "x.svg")
    many = {f"p{number}": usage(9, 1, 0, 1, 1, 1) for number in range(30)}
    write_plot(STATS | {"processes": many}, tmp_path / "x.svg")
    assert "20 others" in texts(tmp_path / "x.svg")


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    """Is not replaced; an earlier plot is, whatever draws it."""
    path = tmp_path / "own.svg"
    path.write_text("<svg/>")
    with pytest.raises(SettingsError, match="is no plot of this command; name another file"):
        check_file(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SettingsError, match="is no plot of this command; name another file"):
        check_file(path)
    for kind in ("svg", "png"):
        plot = tmp_path / f"plot.{kind}"
        check_file(plot)
        write_plot(STATS, plot)
        check_file(plot)
        write_plot(STATS, plot)


@pytest.mark.parametrize("name", ["plot.pdf", "plot", "svg"])
def test_another_suffix(tmp_path: Path, name: str) -> None:
    """The two that are known are named."""
    with pytest.raises(SettingsError, match=r"neither in \.svg nor in \.png; name the plot so"):
        check_file(tmp_path / name)


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install, before the mount is asked."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = CliRunner().invoke(MODULE.stats, ["/mnt/a", "--plot", str(tmp_path / "x.svg")])
    assert "pip install 'backlotfs[plot]'" in str(done.exception)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """One line; a folder in its place as well."""
    with pytest.raises(CommandFailed, match=r"cannot be written: No such file .*name another"):
        write_plot(STATS, tmp_path / "absent" / "x.svg")
    (tmp_path / "x.svg").mkdir()
    with pytest.raises(CommandFailed, match="cannot be written: Is a directory"):
        check_file(tmp_path / "x.svg")


def test_a_plot_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    """And nothing beside it."""
    path = tmp_path / "x.svg"
    write_plot(STATS, path)
    before = path.read_bytes()
    broken: dict[str, Any] = STATS | {"processes": {"cp": {}}}
    with pytest.raises(KeyError):
        write_plot(broken, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
