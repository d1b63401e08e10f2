# SPDX-License-Identifier: Apache-2.0
"""``config init`` and ``completion``: what is asked, tried, written and printed."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backlotfs.cli import commands as backlotfs
from backlotfs.cli.config import config
from backlotfs.config.profiles import load_account
from backlotfs.emulator import Emulator
from backlotfs.errors import (
    CredentialsRefused,
    HostUnreachable,
    RemoteUnavailable,
    SettingsError,
)
from tests.conftest import Serve
from tests.support.connect_proxy import ConnectProxy
from tests.support.made_assets import video


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """A library to be accepted by."""
    return serve(video("a.mov", 700))


def init(
    path: Path,
    *arguments: str,
    answers: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
) -> Result:
    """Run it with these lines typed in."""
    names = ("API_URL", "API_KEY", "API_SECRET", "PROXY")
    unset = {f"BACKLOT_{name}": None for name in names}
    typed = "".join(f"{answer}\n" for answer in answers)
    return CliRunner(env={**unset, **(environ or {})}).invoke(
        config, ["init", "--config", str(path), *arguments], input=typed
    )


def answers(emulator: Emulator, secret: str | None = None) -> tuple[str, ...]:
    """Name, address, key, secret."""
    return ("", emulator.api_url, emulator.api_key, secret or emulator.api_secret)


def test_what_is_typed_is_tried_and_kept(emulator: Emulator, tmp_path: Path) -> None:
    """The secret is never shown; the next step is."""
    path = tmp_path / "config.toml"
    done = init(path, answers=answers(emulator))
    assert done.exit_code == 0, done.output
    assert emulator.api_secret not in done.output
    assert f"backlotfs mount --config {path} --profile main MOUNTPOINT" in done.output
    account = load_account({}, config=path, profile="main")
    assert (account.api_url, account.api_secret) == (emulator.api_url, emulator.api_secret)


def test_no_address_is_proposed(tmp_path: Path) -> None:
    """Each library has a server of its own, and the hosted service is gone: Enter asks again."""
    done = init(tmp_path / "config.toml", answers=("", ""))
    assert isinstance(done.exception, SettingsError)
    assert done.output.count("Address of the API (https://backlot.example.com): ") == 2
    assert "ooyala" not in done.output


@pytest.mark.parametrize("count", range(4))
def test_answers_that_end_too_soon(emulator: Emulator, tmp_path: Path, count: int) -> None:
    """In a script, whose standard input is empty: it says how to give each value."""
    done = init(tmp_path / "config.toml", answers=answers(emulator)[:count])
    assert isinstance(done.exception, SettingsError)
    assert "--profile, --api-url, and BACKLOT_API_KEY and BACKLOT_API_SECRET" in str(done.exception)
    assert not (tmp_path / "config.toml").exists()


def test_a_standard_input_that_is_closed(tmp_path: Path) -> None:
    """As a service may have it: one line, no traceback."""
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m backlotfs config init --config c.toml <&-"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip  # one program's arguments
    assert done.returncode == 2
    assert "standard input has no answer; run this on a terminal" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_nothing_is_written_when_the_api_refuses(emulator: Emulator, tmp_path: Path) -> None:
    """A slip of the clipboard is found now, not at the first boot."""
    path = tmp_path / "config.toml"
    done = init(path, answers=answers(emulator, "wrong"))
    assert isinstance(done.exception, CredentialsRefused)
    assert not path.exists()


def test_nothing_is_written_when_nobody_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is wished."""

    def unreachable(*_arguments: object) -> None:
        raise RemoteUnavailable("127.0.0.1 refused the connection")

    monkeypatch.setattr(import_module("backlotfs.cli.config"), "check_api", unreachable)
    path = tmp_path / "config.toml"
    typed = ("other", "http://127.0.0.1:1", "key", "secret")
    assert isinstance(init(path, answers=typed).exception, RemoteUnavailable)
    assert not path.exists()
    assert init(path, "--no-check", answers=typed).exit_code == 0
    assert path.exists()


def test_a_profile_is_not_replaced_unless_asked(emulator: Emulator, tmp_path: Path) -> None:
    """Its secret may be nowhere else."""
    path = tmp_path / "config.toml"
    path.write_text('[profiles.main]\napi_key = "old"\n')
    refused = init(path, answers=answers(emulator))
    assert isinstance(refused.exception, SettingsError)
    assert "--force" in str(refused.exception)
    assert init(path, "--force", answers=answers(emulator)).exit_code == 0
    assert load_account({}, config=path, profile="main").api_key == emulator.api_key


def test_a_script_is_asked_nothing(emulator: Emulator, tmp_path: Path) -> None:
    """Names by options, secrets by the environment."""
    path = tmp_path / "config.toml"
    secrets = {"BACKLOT_API_KEY": emulator.api_key, "BACKLOT_API_SECRET": emulator.api_secret}
    done = init(path, "--profile", "main", "--api-url", emulator.api_url, environ=secrets)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("typed", [("a name",), ("main", "ftp://host")])
def test_a_slip_is_said_at_once(tmp_path: Path, typed: tuple[str, ...]) -> None:
    """Before the secret is asked for."""
    assert isinstance(init(tmp_path / "c.toml", answers=typed).exception, SettingsError)


def test_a_slip_on_a_terminal_is_asked_again(emulator: Emulator, tmp_path: Path) -> None:
    """A name, an address without scheme, https for a server of plain http: then it is right."""
    path, (master, slave) = tmp_path / "config.toml", os.openpty()
    address = emulator.api_url.removeprefix("http://")
    typed = ("a name", "main", address, f"https://{address}", "")  # Enter: the one it proposes
    os.write(master, "".join(f"{line}\n" for line in typed).encode())
    done = subprocess.run(
        [sys.executable, "-m", "backlotfs", "config", "init", "--config", path],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
        env={
            **os.environ,
            "BACKLOT_API_KEY": emulator.api_key,
            "BACKLOT_API_SECRET": emulator.api_secret,
        },
    )
    os.close(master)
    os.close(slave)
    assert done.returncode == 0, done.stdout
    assert f"write it like http://{address}" in done.stdout
    assert "this port speaks plain http" in done.stdout
    assert load_account({}, config=path, profile="main").api_url == emulator.api_url


def typed_in(command: Sequence[str | Path], dialogue: Sequence[tuple[str, str]]) -> str:
    """Run a command on a terminal, and answer each of its questions; all that it showed."""
    pid, terminal = pty.fork()
    if not pid:
        for name in ("API_URL", "API_KEY", "API_SECRET", "PROXY"):
            os.environ.pop(f"BACKLOT_{name}", None)
        os.execv(sys.executable, [sys.executable, "-m", "backlotfs", *map(str, command)])
    shown, seen = "", 0
    try:
        for question, answer in dialogue:
            while question not in shown[seen:]:
                shown += os.read(terminal, 4096).decode()
            seen = len(shown)
            os.write(terminal, f"{answer}\n".encode())
        with contextlib.suppress(OSError):  # the command has ended
            while True:
                shown += os.read(terminal, 4096).decode()
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    return shown


def test_a_refused_secret_is_asked_for_again(emulator: Emulator, tmp_path: Path) -> None:
    """The other answers are kept by Enter; so is a secret, if the key was wrong. None is shown."""
    path = tmp_path / "config.toml"
    shown = typed_in(
        ["config", "init", "--config", path],
        [
            ("Name of the profile", "main"),
            ("Address of the API", emulator.api_url),
            ("API key: ", "a-wrong-key"),
            ("API secret (not shown): ", "mistyped"),
            (f"Address of the API [{emulator.api_url}]: ", ""),
            ("API key [a-wrong-key]: ", emulator.api_key),
            ("API secret (not shown; Enter keeps it): ", ""),
            ("Address of the API", ""),
            (f"API key [{emulator.api_key}]: ", ""),
            ("API secret", emulator.api_secret),
        ],
    )
    assert "The API accepts the key and the secret." in shown
    assert ".." not in shown
    assert "mistyped" not in shown
    assert emulator.api_secret not in shown
    account = load_account({}, config=path, profile="main")
    assert (account.api_key, account.api_secret) == (emulator.api_key, emulator.api_secret)


def run_config(*arguments: str | Path) -> Result:
    """A command of the group."""
    return CliRunner().invoke(config, [str(one) for one in arguments])


@pytest.mark.parametrize(
    "proxy", ["bob:hush@host:1", "http://bob:hu@sh@host:1", "HTTP://b:hush@host:1"]
)
def test_no_password_of_a_proxy_is_shown(tmp_path: Path, proxy: str) -> None:
    """However it is written."""
    path = tmp_path / "config.toml"
    path.write_text(f'[profiles.one]\nproxy = "{proxy}"\n')
    path.chmod(0o600)
    output = run_config("show", "one", "--config", path).output
    assert "…@host:1\n" in output
    assert "hu" not in output.partition("proxy")[2]


def test_a_profile_with_mistakes_is_listed_and_removed(tmp_path: Path) -> None:
    """It is one that somebody wants to look for; the command of its secret is not shown."""
    path = tmp_path / "config.toml"
    path.write_text('[profiles.one]\napi_kee = "k"\n[profiles.two]\napi_secret_command = 5\n')
    path.chmod(0o600)
    listed = run_config("list", "--config", path)
    assert listed.output.splitlines() == [
        f"{name}  https://api.ooyala.com" for name in ("one", "two")
    ]
    assert (
        "api_secret_command = … (not shown)\n" in run_config("show", "two", "--config", path).output
    )
    for name in ("one", "two"):
        assert run_config("remove", name, "--config", path, "--yes").exit_code == 0
    for words in (["show"], ["remove", "one"]):
        gone = run_config(*words, "--config", path)
        assert isinstance(gone.exception, SettingsError)
        assert "several" not in str(gone.exception)


def test_profiles_are_listed_shown_and_removed(tmp_path: Path) -> None:
    """No secret is shown, of whatever kind; the rest of the file stays."""
    path = tmp_path / "config.toml"
    path.write_text(
        "# mine\n"
        '[profiles.one]\napi_key = "k"\napi_secret = "hush"\nproxy = "http://u:hush@host:1"\n'
        '[profiles.two]\napi_url = "http://two"\napi_secret_command = "echo hush"\n'
    )
    path.chmod(0o600)
    listed = run_config("list", "--config", path)
    assert listed.output.splitlines() == ["one  https://api.ooyala.com", "two  http://two"]
    shown = [run_config("show", name, "--config", path).output for name in ("one", "two")]
    assert 'api_key = "k"' in shown[0]
    assert "http://…@host:1" in shown[0]
    assert "echo … (not shown)" in shown[1]
    assert "hush" not in "".join(shown)
    assert "--yes" in str(run_config("remove", "one", "--config", path).exception)
    assert run_config("remove", "one", "--config", path, "--yes").exit_code == 0
    assert path.read_text().startswith("# mine\n")
    assert "hush@" not in path.read_text()
    assert run_config("list", "--config", path).output == "two  http://two\n"
    assert run_config("remove", "two", "--config", path, "--yes").exit_code == 0
    listed = run_config("list", "--config", path)
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert (
        listed.stderr
        == f"{path} has no profile; create one: backlotfs config init --config {path}\n"
    )
    gone = run_config("show", "two", "--config", path)
    assert gone.output == ""
    assert isinstance(gone.exception, SettingsError)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    """Made by click for our name."""
    done = CliRunner().invoke(backlotfs, ["completion", shell])
    assert done.exit_code == 0, done.output
    assert "_BACKLOTFS_COMPLETE" in done.stdout


def test_bash_completes_a_command(tmp_path: Path) -> None:
    """As bash does it: the script is sourced, its function asked for words."""
    script = CliRunner().invoke(backlotfs, ["completion", "bash"]).stdout
    path = tmp_path / "completion"
    path.write_text(script)
    subprocess.run(["bash", "-n", path], check=True)
    asked = {
        "_BACKLOTFS_COMPLETE": "bash_complete",
        "COMP_WORDS": "backlotfs ver",
        "COMP_CWORD": "1",
    }
    done = CliRunner(env=asked).invoke(backlotfs, prog_name="backlotfs")
    assert done.stdout.splitlines() == ["plain,verify"]


def test_behind_a_proxy(emulator: Emulator, tmp_path: Path) -> None:
    """The API is tried through it, and the profile keeps it, with a password of the environment."""
    path = tmp_path / "config.toml"
    with ConnectProxy(credentials="me:pass/word") as proxy:
        typed = answers(emulator)
        wrong = init(path, "--proxy", proxy.url, answers=typed)
        assert isinstance(wrong.exception, HostUnreachable)
        assert not path.exists()
        url = f"http://me:pass%2Fword@{proxy}"
        done = init(path, answers=typed, environ={"BACKLOT_PROXY": url})
        assert done.exit_code == 0, done.output
        assert "word" not in done.output
        assert proxy.asked
    assert f'proxy = "{url}"' in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    refused = init(tmp_path / "new.toml", "--proxy", url)
    assert isinstance(refused.exception, SettingsError)
    assert "pass%2F" not in str(refused.exception) + refused.output
