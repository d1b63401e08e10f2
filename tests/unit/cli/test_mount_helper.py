# SPDX-License-Identifier: Apache-2.0
"""mount(8)'s words into those of ``backlotfs mount``, without mounting."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.cli.mount_options import split_options
from backlotfs.errors import CredentialsRefused, SettingsError

MODULE = import_module("backlotfs.cli.mount_helper")


@pytest.fixture(autouse=True)
def no_system_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This machine's own profiles are nobody's business here."""
    monkeypatch.setattr(MODULE, "SYSTEM_CONFIG", tmp_path / "config.toml")


def words(options: str, source: str = "backlot:main", *, sloppy: bool = False) -> list[str]:
    """What stands between ``backlotfs mount`` and the mountpoint, but for fsname."""
    *before, dashes, mountpoint = MODULE.words_for(source, "/mnt", options, sloppy=sloppy)
    assert (dashes, mountpoint) == ("--", "/mnt")
    return [word.removeprefix(f"fsname={source}").lstrip(",") for word in before]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", ["--profile=main", "-o", ""]),
        ("rw,suid,dev,exec,_netdev,nofail,x-systemd.automount", ["--profile=main", "-o", ""]),
        ("uid=5,allow_other,umask=077", ["--profile=main", "-o", "uid=5,allow_other,umask=077"]),
        ("allow-other", ["--profile=main", "-o", "allow_other"]),
        ("profile=other", ["--profile=other", "-o", ""]),
        ('layout="labels,dates"', ["--layout=labels,dates", "--profile=main", "-o", ""]),
        (
            "include_type=video,include-type=ad",
            ["--include-type=video", "--include-type=ad", "--profile=main", "-o", ""],
        ),
        ("include_unavailable", ["--include-unavailable", "--profile=main", "-o", ""]),
        ("x-gvfs-show,x-gvfs-name=Films,X-mount.mkdir=700", ["--profile=main", "-o", ""]),
        (
            "shared-thumbnails,subtype=sshfs",
            ["--profile=main", "-o", "shared_thumbnails,subtype=sshfs"],
        ),
        (
            'include=label:News,include="name:a,b*",exclude=*.tmp',
            ["--profile=main", "-o", 'include=label:News,include="name:a,b*",exclude=*.tmp'],
        ),
        ("sidecars,uid=5", ["--profile=main", "-o", "sidecars,uid=5"]),
        ("bwlimit=-1", ["--bwlimit=-1", "--profile=main", "-o", ""]),
        ("proxy=http://proxy:1", ["--profile=main", "-o", "proxy=http://proxy:1"]),
    ],
)
def test_words(options: str, expected: list[str]) -> None:
    """What others read is left out, what can be set in `-o` stays there, the rest are options."""
    assert words(options) == expected


@pytest.mark.parametrize(
    ("source", "profile"),
    [("backlot:a:b", ["--profile=a:b"]), ("a", ["--profile=a"]), ("backlot:", [])],
)
def test_the_source_names_the_profile(source: str, profile: list[str]) -> None:
    """And is what the kernel is told, verbatim."""
    assert words("", source)[:-2] == profile
    assert f"fsname={source}" in MODULE.words_for(source, "/mnt", "", sloppy=False)


def test_every_option_of_the_program_is_known() -> None:
    """Those that say how the mount is; what names it, or keeps its caller waiting, is not one."""
    left_out = {"mountpoint", "foreground", "options", "wait"}
    named = {parameter.name for parameter in MODULE.mount.params} - left_out
    assert set(MODULE.known_options()) == named
    for name in named:
        parameter = next(p for p in MODULE.mount.params if p.name == name)
        assert isinstance(parameter, click.Option)
        option = name if parameter.is_flag else f"{name}=1"
        assert words(option) != words("")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("color=s3cret", "unknown mount option 'color'; known: .*cache_size"),
        ("foreground", "unknown mount option"),
        ("fsname=other", "unknown mount option"),
        ("mountpoint=/x", "unknown mount option"),
        ("api-secret=s3cret", "every user could read it"),
        ("remount,ro", "unmount and mount again"),
        ("wait", "a boot would wait for hours; .*: backlotfs status --watch"),
        ("wait=sizes", "a boot would wait for hours; .*: backlotfs status --watch"),
        ("cache_size", "needs a value"),
        ("include_unavailable=1", "takes no value"),
    ],
)
def test_refused(options: str, says: str) -> None:
    """By name; no value is repeated that may be a secret."""
    with pytest.raises(SettingsError, match=says) as caught:
        words(options)
    assert "s3cret" not in str(caught.value)


def test_sloppy_leaves_out_what_is_unknown() -> None:
    """But keeps no secret on the command line, and reads no half options."""
    assert words("color=blue,wait=sizes", sloppy=True) == words("")
    for options in ("password=s3cret", "cache_size"):
        with pytest.raises(SettingsError):
            words(options, sloppy=True)


@pytest.mark.parametrize("source", ["", "a,b", 'a"b', "a\\b"])
def test_a_source_the_kernel_would_show_otherwise(source: str) -> None:
    """``mount -a`` would not find it again."""
    with pytest.raises(SettingsError, match="write it as backlot:PROFILE"):
        words("", source)


def test_root_has_one_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system's, whatever HOME says, if there is one and no option names another."""
    (tmp_path / "config.toml").touch()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert f"--config={tmp_path}/config.toml" in words("")
    assert words("config=/own").count("--config=/own") == 1
    assert f"--config={tmp_path}/config.toml" not in words("config=/own")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert f"--config={tmp_path}/config.toml" not in words("")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (SettingsError("no profile"), 1, "no profile"),
        (CredentialsRefused("no entry"), 32, f"no entry; {CredentialsRefused.remedy}"),
        (click.UsageError("no such option"), 1, "no such option"),
        (click.Abort(), 32, "interrupted"),
    ],
)
def test_exit_codes(
    error: Exception,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those of mount(8), and one line."""

    def fail(*_arguments: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr(MODULE.mount, "main", fail)
    monkeypatch.setattr(sys, "argv", ["/sbin/mount.backlotfs", "backlot:x", "/mnt", "-o", "rw"])
    with pytest.raises(SystemExit) as caught:
        MODULE.main()
    assert caught.value.code == code
    assert capsys.readouterr() == ("", f"mount.backlotfs: {line}\n")


def test_namespaces_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """mount(8) enters them by itself where it can; the daemon would have to as well."""
    monkeypatch.setattr(sys, "argv", ["mount.backlotfs", "backlot:x", "/mnt", "-N", "/ns"])
    with pytest.raises(SystemExit) as caught:
        MODULE.main()
    assert caught.value.code == 1
    assert "nsenter --mount=/ns" in capsys.readouterr().err


_NAME = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
_VALUE = st.text(st.characters(exclude_characters='"', exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.tuples(_NAME, _VALUE.map(str.strip))))
def test_quoted_values_survive(options: list[tuple[str, str]]) -> None:
    """Any value, commas and equals signs included."""
    assert split_options(",".join(f'{name}="{value}"' for name, value in options)) == options


def test_a_password_of_a_proxy_is_refused() -> None:
    """Before it is printed by ``-v``, or stands in the process list of a mount."""
    with pytest.raises(SettingsError, match="takes no name and password") as caught:
        words("proxy=http://me:s3cret@proxy:1")
    assert "s3cret" not in str(caught.value)
