# SPDX-License-Identifier: Apache-2.0
"""A mount that cannot be made: exit code, one line that names the remedy, within 5 s.

Each case in the foreground and in the background, because a script relies on both.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator
from tests.conftest import Serve
from tests.support import commands
from tests.support.long_runs import few_of
from tests.support.made_assets import video
from tests.support.mount_log import parse_log
from tests.support.mounting import Mount, is_mounted
from tests.support.outage import closed_port

pytestmark = pytest.mark.mounted

LIMIT_S = 20.0
AN_HOUR_S = 3600


@dataclass
class Attempt:
    """What will be run; a case changes it.

    :ivar config: replaces parts of the profile file.
    :ivar arguments: options of ``mount`` beside the profile.
    """

    emulator: Emulator
    folder: Path
    mountpoint: Path
    resources: ExitStack
    config: dict[str, str] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    with_profile: bool = True
    config_mode: int = 0o600


def wrong_key(attempt: Attempt) -> None:
    attempt.config["api_key"] = "x" * 28 + ".yyyyy"


def wrong_secret(attempt: Attempt) -> None:
    attempt.config["api_secret"] = "s" * 40


def refused(attempt: Attempt) -> None:
    port = attempt.resources.enter_context(closed_port())
    attempt.config["api_url"] = f"http://127.0.0.1:{port}"


def unresolvable(attempt: Attempt) -> None:
    attempt.config["api_url"] = "http://no-such-host.invalid"


def silent(attempt: Attempt) -> None:
    listening = attempt.resources.enter_context(socket.create_server(("127.0.0.1", 0)))
    attempt.config["api_url"] = f"http://127.0.0.1:{listening.getsockname()[1]}"
    attempt.arguments += ["--api-timeout", "3s"]


def not_there(attempt: Attempt) -> None:
    attempt.mountpoint = attempt.folder / "absent"


def a_file(attempt: Attempt) -> None:
    attempt.mountpoint = attempt.folder / "file"
    attempt.mountpoint.write_text("")


def not_empty(attempt: Attempt) -> None:
    (attempt.mountpoint / "something").touch()


def mounted_already(attempt: Attempt) -> None:
    attempt.mountpoint = attempt.resources.enter_context(running_mount(attempt)).path


def running_mount(attempt: Attempt) -> Mount:
    folder = attempt.folder / "other"
    folder.mkdir()
    return Mount(attempt.emulator, folder)


def without_libfuse(attempt: Attempt) -> None:
    attempt.arguments += ["--fuse-binding", "fusepy"]
    attempt.environment["FUSE_LIBRARY_PATH"] = "/nonexistent"


def readable_config(attempt: Attempt) -> None:
    attempt.config_mode = 0o644


def no_credentials(attempt: Attempt) -> None:
    attempt.with_profile = False


def unknown_profile(attempt: Attempt) -> None:
    attempt.arguments += ["--profile", "absent"]


def unknown_option(attempt: Attempt) -> None:
    attempt.arguments += ["-o", "ro,defaultish"]


def read_write(attempt: Attempt) -> None:
    attempt.arguments += ["-o", "rw"]


def secret_option(attempt: Attempt) -> None:
    attempt.arguments += ["-o", "api_secret=hunter2"]


CASES: Mapping[Callable[[Attempt], None], tuple[int, str]] = {
    wrong_key: (3, "key"),
    wrong_secret: (3, "secret"),
    refused: (4, "refuse"),
    unresolvable: (4, "no-such-host.invalid"),
    silent: (4, "127.0.0.1"),
    not_there: (5, "does not exist; create it: mkdir -p"),
    a_file: (5, "is not a directory"),
    not_empty: (5, "is not empty"),
    mounted_already: (5, "is already mounted"),
    without_libfuse: (5, "libfuse 2 is missing"),
    readable_config: (2, "chmod 600"),
    no_credentials: (2, "BACKLOT_API_KEY"),
    unknown_profile: (2, "no profile absent"),
    unknown_option: (2, "defaultish"),
    read_write: (2, "read-only"),
    secret_option: (2, "api_secret is refused"),
}
#: What `make test` takes of them: one or two for each exit code.
FEW = (wrong_secret, silent, not_empty, mounted_already, readable_config, secret_option)


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """A library that could be mounted; no case changes it."""
    return serve(video("reel.mov"))


@pytest.fixture
def attempt(emulator: Emulator, tmp_path: Path) -> Iterator[Attempt]:
    """An attempt that would succeed."""
    mountpoint = tmp_path / "library"
    mountpoint.mkdir()
    with ExitStack() as resources:
        yield Attempt(emulator, tmp_path, mountpoint, resources)


def refusal(attempt: Attempt, *, foreground: bool) -> tuple[int, str]:
    """Run it: exit code and the one line; it took less than the limit and left no mount."""
    config = commands.write_config(
        attempt.folder / "config.toml", attempt.emulator, **attempt.config
    )
    config.chmod(attempt.config_mode)
    profile = ["--config", str(config)] if attempt.with_profile else []
    before = is_mounted(attempt.mountpoint)
    began = time.monotonic()
    done = commands.run(
        *("mount", *(["-f"] if foreground else []), *profile, *attempt.arguments),
        attempt.mountpoint,
        home=attempt.folder,
        extra=attempt.environment,
        timeout_s=2 * LIMIT_S,
    )
    took_s = time.monotonic() - began
    assert took_s < LIMIT_S, f"took {took_s:.1f} s: {done.stderr}"
    assert is_mounted(attempt.mountpoint) is before
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    said = [r for r in parse_log(done.stderr) if r.level == "STRAY"]
    lines = said or [parse_log(done.stderr)[-1]]
    assert len(lines) == 1, done.stderr
    line = lines[0].text.splitlines()[-1]
    assert line.startswith("backlotfs: "), done.stderr
    assert attempt.emulator.api_secret not in done.stderr
    assert "hunter2" not in done.stderr
    return done.returncode, line


@pytest.mark.parametrize("foreground", few_of([True, False], False))
@pytest.mark.parametrize("case", few_of(CASES, *FEW), ids=lambda case: case.__name__)
def test_a_failure_has_its_code_and_its_line(
    attempt: Attempt, case: Callable[[Attempt], None], foreground: bool
) -> None:
    """The code of its kind, words of its own, in time, and nothing left mounted."""
    case(attempt)
    code, line = refusal(attempt, foreground=foreground)
    expected_code, words = CASES[case]
    assert (code, words in line) == (expected_code, True), line


@pytest.mark.parametrize("foreground", few_of([True, False], False))
@pytest.mark.parametrize("status", few_of([400, 401], 401))
def test_a_wrong_clock_is_named(
    serve: Serve, attempt: Attempt, status: int, foreground: bool
) -> None:
    """The server's clock is an hour ahead, so each of our requests is late: 3, and why."""
    attempt.emulator = serve(
        video("reel.mov"),
        clock=lambda: time.time() + AN_HOUR_S,
        stale_expires_status=status,
    )
    code, line = refusal(attempt, foreground=foreground)
    assert (code, "clock" in line) == (3, True), line
