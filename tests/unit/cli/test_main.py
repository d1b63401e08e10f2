# SPDX-License-Identifier: Apache-2.0
"""The entry point: exit codes and one line on stderr."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from backlotfs import __version__, cli
from backlotfs.errors import (
    BacklotError,
    ClockSkewed,
    CredentialsRefused,
    FuseUnusable,
    RemoteUnavailable,
    SettingsError,
)
from tests.support import commands

#: The package has a command of the same name in the module's place.
MOUNT_MODULE = import_module("backlotfs.cli.mount")


@pytest.fixture(autouse=True)
def same_name() -> Iterator[None]:
    """`main` gives the process its name, by which mounts of later tests would know this process."""
    file = Path("/proc/self/comm")
    name = file.read_text() if file.exists() else ""
    yield
    if name:
        file.write_text(name.removesuffix("\n"))


def exit_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run ``backlotfs`` with these."""
    monkeypatch.setattr(sys, "argv", ["backlotfs", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("API_KEY", "API_SECRET", "API_URL", "CDN_URL"):
        monkeypatch.delenv(f"BACKLOT_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture(autouse=True)
def _commands_restored() -> object:
    before = dict(cli.commands.commands)
    yield
    cli.commands.commands.clear()
    cli.commands.commands.update(before)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BacklotError("words"), 1),
        (SettingsError("words"), 2),
        (CredentialsRefused("words"), 3),
        (ClockSkewed("words"), 3),
        (RemoteUnavailable("words"), 4),
        (FuseUnusable("words"), 5),
        (click.UsageError("words"), 2),
        (click.ClickException("words"), 2),
    ],
)
def test_exit_codes(
    error: Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each kind of failure has its own, and one line that says why."""

    @click.command("fail")
    def fail() -> None:
        raise error

    cli.commands.add_command(fail)
    assert exit_of(monkeypatch, "fail") == code
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert "words" in captured.err
    if isinstance(error, BacklotError) and error.remedy:
        assert captured.err.endswith(f"words; {error.remedy}\n")
    assert captured.out == ""


@pytest.mark.parametrize("error", [click.Abort(), KeyboardInterrupt()])
def test_interrupted(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell counts SIGINT."""

    @click.command("stop")
    def stop() -> None:
        raise error

    cli.commands.add_command(stop)
    assert exit_of(monkeypatch, "stop") == 130


def test_version_and_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Are no failures."""
    assert exit_of(monkeypatch, "--version") == 0
    assert __version__ in capsys.readouterr().out
    for option in ("-h", "--help"):
        # A process of its own: click keeps the help option that a command was first asked with,
        # and other tests ask commands without their group, from which they have the `-h`.
        command = [sys.executable, "-m", "backlotfs", "mount", option]
        helped = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "read-only" in helped.stdout


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("mount",), ("mount", "--memory", "lots", "/mnt"), ("ls", "--bad"), ()],
)
def test_usage(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """2, whatever is wrong with it."""
    assert exit_of(monkeypatch, *arguments) == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("unmount /mnt", "No such command 'unmount'; did you mean: backlotfs umount"),
        ("mount --profil x /mnt", "(did you mean --profile?); see: backlotfs mount --help"),
        ("--profile x mount /mnt", "before the command; try it after: backlotfs COMMAND …"),
        ("mount", "Missing argument 'MOUNTPOINT'; see: backlotfs mount --help"),
        ("mount --memory lots /mnt", "'lots' is not a size; write it like 256M or 10G"),
    ],
)
def test_a_slip_is_one_line_with_the_way_on(
    words: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The right word where it is plain, else where the right words are."""
    assert exit_of(monkeypatch, *words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("backlotfs: ")
    assert said.endswith(f"{line}\n")
    assert len(said.splitlines()) == 1


def test_the_list_of_commands_has_each_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what they are for, and none of their purposes cut."""
    assert exit_of(monkeypatch) == 2
    shown = capsys.readouterr().err
    assert "..." not in shown.partition("Begin:")[2]
    for name in cli.commands.list_commands(click.Context(cli.commands)):
        assert len(re.findall(rf"^  {name} ", shown, re.M)) == 1


def test_the_list_and_a_shell_show_each_short_help() -> None:
    """The program has its own copy, so that it imports no command to show it."""
    context = click.Context(cli.commands)
    names = cli.commands.list_commands(context)
    shown = {item.value: item.help for item in cli.commands.shell_complete(context, "")}
    assert list(shown) == names
    for name in names:
        command = cli.commands.get_command(context, name)
        assert command is not None
        assert shown[name] == command.get_short_help_str(200)
    listed = " ".join(cli.commands.get_help(context).split())
    for text in shown.values():
        assert text is not None
        assert text in listed


@pytest.mark.parametrize("library", ["aiohttp", "watchfiles"])
def test_the_list_says_which_command_needs_the_extra(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the place of its short help."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == library else True)
    assert exit_of(monkeypatch, "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "emulator Needs an extra: pip install 'backlotfs[emulator]'" in shown


def test_no_credentials(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """2, with the remedy, from whichever command needs them."""
    monkeypatch.setattr(MOUNT_MODULE, "check_usable", lambda: None)
    place = tmp_path / "mnt"
    place.mkdir()
    for arguments in (("ls",), ("info", "A"), ("mount", str(place))):
        assert exit_of(monkeypatch, *arguments) == 2
        assert "set BACKLOT_API_KEY" in capsys.readouterr().err


def test_umount_of_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """5: there is no mount."""
    assert exit_of(monkeypatch, "umount", str(tmp_path)) == 5
    line = capsys.readouterr().err
    assert f"{tmp_path.resolve()} is not mounted; see what is: findmnt -t fuse.backlotfs" in line


def test_a_mountpoint_that_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """5, before anything else is asked for."""
    monkeypatch.setattr(MOUNT_MODULE, "check_usable", lambda: None)
    assert exit_of(monkeypatch, "mount", str(tmp_path / "absent")) == 5
    assert "mkdir -p" in capsys.readouterr().err


def test_status_of_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No mount, or one that does not answer."""
    monkeypatch.setattr("backlotfs.cli.mountpoints.our_mounts", list)
    assert exit_of(monkeypatch, "status") == 5
    assert exit_of(monkeypatch, "refresh", str(tmp_path)) == 1
    assert f"is not mounted on {tmp_path.resolve()}; see what is mounted" in capsys.readouterr().err


def test_the_server_commands_need_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it they say what to install; another missing module is a broken installation."""

    def refuse(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr("importlib.import_module", refuse)
    missing = "aiohttp"
    assert exit_of(monkeypatch, "emulator", "--media", "/nowhere") == 2
    assert "backlotfs[emulator]" in capsys.readouterr().err
    missing = "backlotfs.nonsense"
    assert exit_of(monkeypatch, "emulator") == 1


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path: Path, closed: str) -> None:
    """The command ends as it would otherwise."""
    codes = [
        subprocess.run(
            ["bash", "-c", f'"$0" -m backlotfs doctor {redirected}', sys.executable],
            env=commands.environment(tmp_path),
            cwd=commands.ROOT,
            capture_output=True,
            check=False,
        ).returncode
        for redirected in ("", closed)
    ]
    assert codes[0] == codes[1]


@pytest.mark.parametrize("words", [["completion", "bash"], ["doctor"], ["doctor", "--json"]])
def test_a_full_disk_under_the_output(tmp_path: Path, words: list[str]) -> None:
    """One line says so."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            commands.command(*words),
            env=commands.environment(tmp_path),
            cwd=commands.ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "cannot be written" in done.stderr
