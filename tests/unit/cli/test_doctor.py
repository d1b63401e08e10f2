# SPDX-License-Identifier: Apache-2.0
"""``doctor`` against an emulated library: what it says, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backlotfs.cli.doctor import doctor as command
from backlotfs.config.settings import Account
from backlotfs.doctor import Verdict, check_clock, check_tls
from backlotfs.emulator import Emulator
from tests.conftest import Serve
from tests.support import commands
from tests.support.made_assets import video

CHECKS = [
    "python", "/dev/fuse", "fusermount", "allow_other", "read-ahead", "passthrough",
    "open files", "mount(8)", "updatedb", "cache folder", "credentials", "signed URLs",
    "proxy", "TLS", "API", "clock", "sources",
]  # fmt: skip  # in the order of the output


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """A library of one file, and of one without a source."""
    return serve(video("a.mov", 700))


def doctor(home: Path, config: Path, *more: str) -> Result:
    """Run it with this profile file; its return value is the exit code."""
    profile = ("--config", str(config), "--profile", commands.PROFILE)
    unset = {f"BACKLOT_API_{name}": None for name in ("URL", "KEY", "SECRET")}
    cache = ("--cache-dir", str(home / "cache"))
    return CliRunner(env=unset).invoke(command, [*profile, *cache, *more], standalone_mode=False)


def test_all_is_looked_at(emulator: Emulator, tmp_path: Path) -> None:
    """Each once, in one order; this machine can mount (or the mounted tests fail too)."""
    config = commands.write_config(tmp_path / "config.toml", emulator)
    done = doctor(tmp_path, config, "--json")
    report = json.loads(done.stdout)
    assert [finding["check"] for finding in report["findings"]] == CHECKS
    found = {finding["check"]: finding for finding in report["findings"]}
    assert found["API"]["verdict"] == "ok"
    assert found["sources"]["detail"].endswith("700 bytes, with an ETag")
    assert found["TLS"]["verdict"] == "note", "the emulator speaks plain http"
    assert report["exit_code"] == done.return_value
    assert emulator.api_secret not in done.stdout + done.stderr


def test_without_a_terminal_there_are_no_colours(emulator: Emulator, tmp_path: Path) -> None:
    """One line a check, its remedy below."""
    config = commands.write_config(tmp_path / "config.toml", emulator)
    done = doctor(tmp_path, config)
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("A note is optional: a mount works without it.\n")
    assert "failed" not in done.stdout
    assert "→ use https:// if it can" in done.stdout
    command = f"backlotfs mount --config {config} --profile test DIR"
    assert done.stdout.splitlines()[-1] == f"You can mount: {command}"


def test_refused_credentials_are_exit_3(emulator: Emulator, tmp_path: Path) -> None:
    """And what follows from them is not tried."""
    config = commands.write_config(tmp_path / "config.toml", emulator, api_secret="wrong")
    done = doctor(tmp_path, config, "--json")
    assert done.return_value == 3
    assert json.loads(done.stdout)["findings"][-1]["check"] == "API"


def test_an_api_that_is_not_there_is_exit_4(emulator: Emulator, tmp_path: Path) -> None:
    """Nobody listens on port 1."""
    config = commands.write_config(tmp_path / "config.toml", emulator, api_url="http://127.0.0.1:1")
    assert doctor(tmp_path, config).return_value == 4


def test_a_profile_open_to_others_is_exit_2(emulator: Emulator, tmp_path: Path) -> None:
    """With the command that closes it."""
    config = commands.write_config(tmp_path / "config.toml", emulator)
    config.chmod(0o644)
    done = doctor(tmp_path, config)
    assert done.return_value == 2
    assert f"chmod 600 {config}" in done.stdout
    assert "You cannot mount yet: credentials failed." in done.stdout.splitlines()[-1]


def test_a_mountpoint_is_looked_at_when_it_is_named(emulator: Emulator, tmp_path: Path) -> None:
    """It exits as a mount there would; elsewhere no word is said of it."""
    config = commands.write_config(tmp_path / "config.toml", emulator)
    done = doctor(tmp_path, config, str(tmp_path))
    assert done.return_value == 5
    assert f"{tmp_path} is not empty" in done.stdout
    assert "→ empty it, or name another folder" in done.stdout
    (tmp_path / "mnt").mkdir()
    assert "is there, and empty" in doctor(tmp_path, config, str(tmp_path / "mnt")).stdout


def test_a_clock_that_is_off() -> None:
    """Which way, and what sets it."""
    assert check_clock(0.4).verdict is Verdict.OK
    assert "90 s behind" in check_clock(90).detail
    assert "90 s ahead" in check_clock(-90).detail
    assert check_clock(-90).remedy == "sudo timedatectl set-ntp true"


def test_a_host_that_does_not_speak_tls(emulator: Emulator) -> None:
    """The emulator answers a handshake with an error of HTTP."""
    url = emulator.api_url.replace("http://", "https://")
    found = check_tls(Account(url, "key", "secret"))
    assert (found.verdict, found.exit_code) == (Verdict.FAILED, 4)


@pytest.mark.parametrize(
    ("options", "environ", "says"),
    [
        ("", {}, "kept in {home}/cache/urls over restarts"),
        ("keep_urls=no", {}, "not kept over restarts, as the profile says"),
        ("", {"BACKLOT_API_SECRET": "s"}, "the secret is from the environment and in no file"),
        ("keep_urls", {"BACKLOT_API_SECRET": "s"}, "kept in {home}/cache/urls over restarts"),
    ],
)
def test_whether_urls_are_kept(
    emulator: Emulator, tmp_path: Path, options: str, environ: dict[str, str], says: str
) -> None:
    """As a mount of this profile would do it."""
    config = commands.write_config(tmp_path / "config.toml", emulator)
    config.write_text(f'{config.read_text()}options = "{options}"\n')
    words = ("--config", str(config), "--profile", commands.PROFILE)
    cache = ("--cache-dir", str(tmp_path / "cache"))
    unset = {f"BACKLOT_API_{name}": None for name in ("URL", "KEY", "SECRET")}
    runner = CliRunner(env={**unset, **environ})
    done = runner.invoke(command, [*words, *cache, "--json"], standalone_mode=False)
    found = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert says.format(home=tmp_path) in found["signed URLs"]["detail"]


def test_libfuse_is_looked_at_where_it_is_wanted(emulator: Emulator, tmp_path: Path) -> None:
    """The profile asks for the binding that needs it."""
    config = commands.write_config(tmp_path / "config.toml", emulator)
    config.write_text(f'{config.read_text()}options = "fuse_binding=fusepy"\n')
    report = json.loads(doctor(tmp_path, config, "--json").stdout)
    assert "libfuse 2" in [finding["check"] for finding in report["findings"]]


def test_options_of_the_profile(emulator: Emulator, tmp_path: Path) -> None:
    """What a mount would refuse."""
    config = commands.write_config(tmp_path / "config.toml", emulator)
    config.write_text(f'{config.read_text()}options = "include=date:24"\n')
    words = ("--config", str(config), "--profile", commands.PROFILE, "--json")
    done = CliRunner().invoke(command, words, standalone_mode=False)
    found = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["options"]["detail"] == "option include: the rule 'date:24' has no date"
    assert "write it like date:2024" in found["options"]["remedy"]
    assert found["options"]["exit_code"] == 2
