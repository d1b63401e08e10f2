"""``stats --plot``: a picture that is there completely, or not at all."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from PIL import Image

from backlotfs.cli.stats_plot import check_file, write_plot
from backlotfs.errors import CommandFailed, SettingsError
from tests.unit.cli.test_stats import ANSWER, usage

MODULE = import_module("backlotfs.cli.status")


def texts(path: Path) -> str:
    """What an SVG says, and that it is one."""
    return "\n".join(ElementTree.parse(path).getroot().itertext())


def test_as_svg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which programs read, from where; the command says where it is."""
    monkeypatch.setattr(MODULE, "ask", lambda _place, _command: ANSWER)
    path = tmp_path / "report.SVG"
    done = CliRunner().invoke(MODULE.stats, ["/mnt/a", "--plot", str(path)])
    assert (done.exit_code, done.output) == (0, f"{path} shows what /mnt/a has read\n")
    shown = texts(path)
    for part in ("backlot:main on /mnt/a", "cp", "ffprobe", "read from memory", "fetched", "KiB/s",
                 "2.0 MiB of them read", "2016-03-01"):  # fmt: skip
        assert part in shown
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert list(tmp_path.iterdir()) == [path]


def _umask() -> int:
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if "Umask" in one]
    return int(line.split()[1], 8)


def test_as_png_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suffix says which; ``--json`` prints as well."""
    monkeypatch.setattr(MODULE, "ask", lambda _place, _command: ANSWER)
    path = tmp_path / "report.png"
    done = CliRunner().invoke(MODULE.stats, ["/mnt/a", "--json", "--plot", str(path)])
    assert done.output.startswith("{")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height > 500
    write_plot(ANSWER, path)
    check_file(path)


def test_hostile_names(tmp_path: Path) -> None:
    """They are neither formulas nor markup nor control characters."""
    evil = "$\\frac{<b>&\x1b[31m\u4e2d$"
    write_plot(ANSWER | {"processes": {evil: usage(5, 1, 0, 1, 0, 0)}}, tmp_path / "x.svg")
    assert "$\\frac{<b>&\\x1b[31m\u4e2d$" in texts(tmp_path / "x.svg")
    write_plot(ANSWER | {"processes": {evil: usage(5, 1, 0, 1, 0, 0)}}, tmp_path / "x.png")


def test_of_a_mount_that_nobody_used(tmp_path: Path) -> None:
    """And of one with more programs than there is room for."""
    idle = ANSWER | {"processes": {}, "history": ANSWER["history"][:1]}
    write_plot(idle, tmp_path / "x.svg")
    assert "no program has read anything" in texts(tmp_path / "x.svg")
    many = {f"p{number}": usage(9, 1, 0, 1, 1, 1) for number in range(30)}
    write_plot(ANSWER | {"processes": many}, tmp_path / "x.svg")
    assert "20 others" in texts(tmp_path / "x.svg")


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    """Is not replaced; an earlier plot is, whatever draws it."""
    path = tmp_path / "own.svg"
    path.write_text("<svg/>")
    with pytest.raises(SettingsError, match="is no plot of this command; name another file"):
        check_file(path)
    path.unlink()
    for kind in ("svg", "png"):
        plot = tmp_path / f"plot.{kind}"
        check_file(plot)
        write_plot(ANSWER, plot)
        check_file(plot)
        write_plot(ANSWER, plot)


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
        write_plot(ANSWER, tmp_path / "absent" / "x.svg")
    (tmp_path / "x.svg").mkdir()
    with pytest.raises(CommandFailed, match="cannot be written: Is a directory"):
        check_file(tmp_path / "x.svg")


def test_a_plot_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    """And nothing beside it."""
    path = tmp_path / "x.svg"
    write_plot(ANSWER, path)
    before = path.read_bytes()
    broken: dict[str, Any] = ANSWER | {"processes": {"cp": {}}}
    with pytest.raises(KeyError):
        write_plot(broken, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
