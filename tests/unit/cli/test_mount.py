# SPDX-License-Identifier: Apache-2.0
"""``mount``: options into settings, up to the point where a kernel is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backlotfs.config.settings import MIB, MountSettings
from backlotfs.errors import CommandFailed, CredentialsRefused, SettingsError
from backlotfs.mount import background
from backlotfs.mount.background import NobodyWaits, Outcome, Ready
from backlotfs.mount.serve import outcome_of

MODULE = import_module("backlotfs.cli.mount")
CREDENTIALS = {"BACKLOT_API_KEY": "KEY.suffix", "BACKLOT_API_SECRET": "s3cret"}


class Told(NobodyWaits):
    """What the mount says of the sizes."""

    more = ""

    def __call__(self, more: str) -> None:
        self.more = more


class Command:
    """``backlotfs mount`` whose mount is only noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
        self.place = place
        self.settings: list[MountSettings] = []
        self.outcome: Outcome = {"code": 0, "line": "mounted"}
        self.error: Exception | None = None
        self.more = ""
        self.words: tuple[str, ...] = (str(place),)
        monkeypatch.setattr(MODULE, "check_usable", lambda: None)
        monkeypatch.setattr("backlotfs.mount.serve.serve_mount", self._serve)
        monkeypatch.setattr(MODULE, "run_in_background", self._background)

    def _serve(self, settings: MountSettings, ready: Ready, **_more: object) -> None:
        self.settings.append(settings)
        if self.error is not None:
            raise self.error
        ready(self.more)

    def _background(
        self,
        work: Callable[[Ready], Outcome],
        said: str,
        _progress: Callable[[int], None] = lambda _assets: None,
    ) -> Outcome:
        told = Told()
        outcome = work(told)
        if outcome["code"]:
            return outcome
        return {"code": 0, "line": "\n".join(filter(None, (said, told.more)))}

    def run(self, *arguments: str, **environ: str) -> Result:
        """With credentials in the environment."""
        runner = CliRunner(env=CREDENTIALS | environ)
        return runner.invoke(MODULE.mount, [*self.words, *arguments])


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Over an empty folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    place = tmp_path / "mnt"
    place.mkdir()
    return Command(monkeypatch, place)


def test_defaults(command: Command, tmp_path: Path) -> None:
    """Flat, original names, the user's own files, in the foreground to stderr."""
    result = command.run("-f")
    assert result.exit_code == 0, result.output
    (settings,) = command.settings
    assert settings.mountpoint == command.place.resolve()
    assert settings.account.api_key == "KEY.suffix"
    assert (settings.layouts, settings.names) == (("flat",), "original")
    assert (settings.uid, settings.gid, settings.umask) == (os.getuid(), os.getgid(), 0o022)
    assert (settings.memory_bytes, settings.metadata_ttl_s) == (256 * MIB, 300.0)
    assert (settings.types, settings.statuses) == (frozenset(), frozenset())
    assert (settings.stat_timeout_s, settings.read_timeout_s) == (None, None)
    assert (settings.credit_wait_s, settings.unsized, settings.no_wait) == (3600.0, "wait", ())
    assert settings.log_place == "stderr"
    assert settings.cache_dir == tmp_path / "cache" / "backlotfs"
    assert (settings.keep_urls, settings.forget_urls) == (None, False)
    assert not settings.keeps_urls, "the secret is from the environment"


def test_all_options(command: Command, tmp_path: Path) -> None:
    """Each reaches its setting."""
    result = command.run(
        "-f", "--api-url", "http://api", "--cdn-url", "http://cdn", "--cache-dir", "c",
        "--layout", "labels,dates", "--names", "portable", "--stat-timeout", "2s",
        "--read-timeout", "1m", "--credit-wait", "10m", "--unsized", "fail",
        "--no-wait", "vlc", "--no-wait", "mpv", "-o", "no-wait=a:b",
        "--memory", "1G", "--metadata-ttl", "1h", "--include-type", "video",
        "--include-type", "ad", "--include-status", "live", "--include-unavailable",
        "--sidecars", "--shared-thumbnails", "listed", "--subtype", "sshfs",
        "-o", "fsname=backlot:x",
        "--include", "*.mov", "-o", "include=label:News,exclude=date:2024", "--include", "type:ad",
        "--captions", "--no-keep-urls", "--forget-urls",
        "--uid", "1", "--gid", "2", "--umask", "077", "--allow-other", "-o", "ro,uid=9",
        "--log-level", "DEBUG", "--log-format", "json", "--log-file", str(tmp_path / "log"),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (settings,) = command.settings
    assert (settings.account.api_url, settings.account.cdn_url) == ("http://api", "http://cdn")
    assert settings.cache_dir == Path("c").absolute()
    assert (settings.layouts, settings.names) == (("labels", "dates"), "portable")
    assert (settings.stat_timeout_s, settings.read_timeout_s) == (2.0, 60.0)
    assert (settings.credit_wait_s, settings.unsized) == (600.0, "fail")
    assert settings.no_wait == ("vlc", "mpv", "a", "b")
    assert settings.metadata_ttl_s == 3600.0
    assert settings.memory_bytes == 1 << 30
    assert settings.types == {"video", "ad"}
    assert settings.statuses == {"live"}
    assert settings.include == ("*.mov", "type:ad", "label:News")
    assert settings.exclude == ("date:2024",)
    assert settings.include_unavailable
    assert settings.sidecars
    assert (settings.shared_thumbnails, settings.subtype) == ("listed", "sshfs")
    assert settings.captions
    assert (settings.keep_urls, settings.forget_urls) == (False, True)
    assert settings.allow_other
    assert (settings.uid, settings.gid, settings.umask) == (9, 2, 0o77)
    assert (settings.log_level.lower(), settings.log_format) == ("debug", "json")
    assert settings.log_place == str(tmp_path / "log")


def test_a_borrowed_type_wants_our_source(command: Command) -> None:
    """Or no command would find the mount again."""
    result = command.run("-f", "--subtype", "sshfs", "-o", "fsname=films")
    assert isinstance(result.exception, SettingsError)
    assert "must begin with backlot:" in str(result.exception)
    assert command.settings == []


def test_thumbnails_want_pillow(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence instead of folders that never have a picture; without the option all is well."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    result = command.run("-f", "-o", "shared_thumbnails")
    assert isinstance(result.exception, SettingsError)
    assert str(result.exception) == (
        "--shared-thumbnails needs an extra; install it: pip install 'backlotfs[thumbnails]', "
        "or in the checkout: sudo make install EXTRAS=thumbnails"
    )
    assert command.run("-f").exit_code == 0
    assert len(command.settings) == 1


def test_the_log_by_profile_and_by_o(command: Command, tmp_path: Path) -> None:
    """``-o`` stands above what the command line says by itself, and that above the profile."""
    config = tmp_path / "config.toml"
    config.touch(mode=0o600)
    config.write_text(
        '[profiles.p]\noptions = "log_format=json,log_level=debug,log_file=/l/profile,uid=7"\n'
    )
    profile = ("-f", "--config", str(config))
    for words, log in {
        (): ("json", "debug", "/l/profile"),
        ("--log-format=text", "--log-level=error"): ("text", "error", "/l/profile"),
        ("-o", "log_format=text,log_level=WARNING,log_file=x"): (
            *("text", "warning"),
            str(Path("x").absolute()),
        ),
    }.items():
        result = command.run(*profile, *words)
        assert result.exit_code == 0, result.output
        settings = command.settings[-1]
        assert (settings.log_format, settings.log_level, settings.log_place) == log
        assert settings.uid == 7


@pytest.mark.parametrize(
    ("log_format", "in_journal", "bare"),
    [("text", False, True), ("json", False, False), ("text", True, False)],
)
def test_a_foreground_mount_that_fails(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    log_format: str,
    in_journal: bool,
    bare: bool,
) -> None:
    """People get a bare line; what is read by programs gets it as a line of the log."""
    monkeypatch.setattr(MODULE.output, "stderr_is_journal", lambda _environ: in_journal)
    command.error = CredentialsRefused("the API refuses the key")
    result = command.run("-f", "--log-format", log_format)
    assert result.exception is not None
    assert isinstance(result.exception, SystemExit) is not bare
    assert bare or result.exit_code == 3


def test_in_the_background(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mounted where, and where its log is; no secret."""
    monkeypatch.setattr(
        MODULE.output, "default_place", lambda name, place: f"/state/{name}@{place.name}.log"
    )
    result = command.run("--api-url", "http://api")
    assert result.output == (
        f"mounted backlot:api on {command.place.resolve()}; its log is in /state/api@mnt.log\n"
    )
    command.more = "the sizes of 703 files are not known yet"
    assert command.run().output.endswith("@mnt.log\nthe sizes of 703 files are not known yet\n")
    monkeypatch.setattr(MODULE.output, "default_place", lambda *_names: "syslog")
    assert "the journal (or syslog)" in command.run().output


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--wait", "PLACE"), "listing"),
        (("PLACE", "--wait"), "listing"),
        (("--wait=listing", "PLACE"), "listing"),
        (("--wait=sizes", "PLACE"), "sizes"),
    ],
)
def test_waiting(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], what: str
) -> None:
    """The word after ``--wait`` is never its value; how far it is, and what is old, is said."""
    waited: list[tuple[Path, str]] = []
    answer = {
        "sizes": {"total": 10, "sized": 9, "missing": 1, "seconds_left": None},
        "credits": {"more_in_s": None, "waiting": [0]},
        "stale": False,
        "last_error": None,
    }

    def wait_for(place: Path, what: str) -> dict[str, object]:
        waited.append((place, what))
        return answer

    monkeypatch.setattr(MODULE, "wait_for", wait_for)
    command.words = tuple(str(command.place) if word == "PLACE" else word for word in words)
    result = command.run()
    assert (result.exit_code, result.stderr) == (0, "")
    assert waited == [(command.place.resolve(), what)]
    assert result.stdout.splitlines()[1:] == ["10 of 10 sizes known"]
    answer |= {"stale": True, "last_error": "the API is down"}
    result = command.run()
    assert result.exit_code == 0
    assert result.stderr == "backlotfs: the listing is not up to date: the API is down\n"


@pytest.mark.parametrize("words", [("--wait", "sizes"), ("--wait=",), ("--wait=everything",)])
def test_no_value_of_wait(command: Command, words: tuple[str, ...]) -> None:
    """A usage error: the value follows ``=``."""
    result = command.run(*words)
    assert result.exit_code == 2
    assert command.settings == []


def test_nobody_waits_for_a_mount_in_the_foreground(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is done; without --wait all is well."""
    cleared: list[Path] = []
    monkeypatch.setattr(MODULE, "clear_dead", cleared.append)
    result = command.run("-f", "--wait")
    assert isinstance(result.exception, SettingsError)
    assert "leave out -f" in str(result.exception)
    assert (command.settings, cleared) == ([], [])
    assert command.run("-f").exit_code == 0


def test_a_background_mount_that_fails(command: Command) -> None:
    """Its exit code and its line are the command's."""
    command.error = CredentialsRefused("the API refuses the key")
    result = command.run()
    assert isinstance(result.exception, CommandFailed)
    assert (result.exception.exit_code, str(result.exception)) == (
        3,
        f"the API refuses the key; {CredentialsRefused.remedy}",
    )


@pytest.mark.parametrize(
    "arguments",
    [("-o", "rw"), ("--uid", "-1"), ("--umask", "8"), ("--names", "x"), ("--layout", "x")],
)
def test_refused(command: Command, arguments: tuple[str, ...]) -> None:
    """Nothing is mounted then."""
    result = command.run(*arguments)
    assert result.exit_code == 2 or isinstance(result.exception, SettingsError)
    assert not command.settings


def test_the_mountpoint_need_not_be_readable(command: Command) -> None:
    """A dead mount is named by its path; click does not look at it."""
    command.place.rmdir()
    command.place.symlink_to("/nowhere")
    assert "does not exist" in str(command.run().exception)


def test_outcomes() -> None:
    """Fine, or the error's code, its words and what to do."""

    def fail() -> None:
        raise CredentialsRefused("words")

    assert outcome_of(lambda: None) == (0, "")
    assert outcome_of(fail) == (3, f"words; {CredentialsRefused.remedy}")


def test_the_parent_is_told_by_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a pipe; a child that ends without a word has failed."""
    pipes: list[tuple[int, int]] = []
    real_pipe = os.pipe

    def pipe() -> tuple[int, int]:
        pipes.append(real_pipe())
        return pipes[-1]

    for said in (b'{"code": 3, "line": "refused"}\n', b""):

        def fork(said: bytes = said) -> int:
            os.write(pipes[-1][1], said)
            return 4711

        monkeypatch.setattr(os, "pipe", pipe)
        monkeypatch.setattr(os, "fork", fork)
        outcome = background.run_in_background(lambda _ready: {"code": 0, "line": ""}, "ready")
        assert outcome["code"] == (3 if said else 1)
        assert outcome["line"] == ("refused" if said else outcome["line"])


def test_the_child_tells_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready, or how it failed, whichever comes first; it always ends by itself."""

    class Ended(BaseException):
        """What ``os._exit`` would do."""

    ended: list[int] = []
    steps: list[str] = []

    def end(code: int) -> None:
        ended.append(code)
        raise Ended

    def fail(ready: Ready) -> Outcome:
        raise ValueError("bug")

    def serve(ready: Ready) -> Outcome:
        ready("more")
        ready("too late")
        return {"code": 4, "line": "later"}

    def end_early(ready: Ready) -> Outcome:
        return {"code": 0, "line": ""}

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(os, "setsid", lambda: steps.append("session"))
    monkeypatch.setattr(background, "_detach_from_terminal", lambda: steps.append("detached"))
    told = []

    for work in (fail, serve, end_early):
        reading, writing = os.pipe()
        with pytest.raises(Ended):
            background._child(work, "said", writing)
        with os.fdopen(reading) as lines:
            told.append(lines.read())
    assert [line.count("\n") for line in told] == [1, 1, 1]
    assert '"code": 1' in told[0]
    assert '"line": "said\\nmore"' in told[1]
    assert '"code": 1' in told[2]
    assert "ended before it was ready" in told[2]
    assert ended == [1, 4, 1]
    assert steps[:1] == ["session"]
    assert "detached" in steps


def test_urls_kept_by_profile_and_command_line(command: Command, tmp_path: Path) -> None:
    """The secret lies in the profile; its options say otherwise; the command line says it again."""
    config = tmp_path / "config.toml"
    config.touch(mode=0o600)
    profile = '[profiles.p]\napi_key = "K.s"\napi_secret = "s"\n'
    words = ("-f", "--config", str(config))
    for options, more, kept in (
        ("", (), True),
        ("keep_urls=no", (), False),
        ("keep_urls=no", ("--keep-urls",), True),
        ("", ("-o", "keep_urls=no"), False),
    ):
        config.write_text(f'{profile}options = "{options}"\n')
        assert command.run(*words, *more, BACKLOT_API_SECRET="").exit_code == 0
        assert command.settings[-1].keeps_urls is kept
