# SPDX-License-Identifier: Apache-2.0
"""``backlotfs emulator`` as a process: what it writes, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from backlotfs.emulator.command import emulator as command
from tests.emulator.probe import exchange, get, signed_target
from tests.support.deadlines import wait_until

PROGRAM = [sys.executable, "-c", "from backlotfs.emulator.command import emulator; emulator()"]


@contextmanager
def running(
    *options: str, before: Callable[[], None] | None = None, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """The command, once it is ready; killed at the end if it still runs.

    ``before`` runs in the new process before the command does.
    """
    reader, writer = os.pipe()
    with subprocess.Popen(
        [*PROGRAM, "--port", "0", "--ready-fd", str(writer), *options],
        pass_fds=[writer],
        preexec_fn=before,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        os.close(writer)
        with open(reader, encoding="ascii") as ready:
            assert ready.read() == "READY\n"
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str], number: int) -> str:
    """End it by a signal; all it said."""
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    return output


def account(profile: Path) -> Any:
    """What the probe needs to know, from the profile file."""
    values = tomllib.loads(profile.read_text(encoding="utf-8"))["profiles"]["emulator"]
    return SimpleNamespace(**values, settings=SimpleNamespace(clock=lambda: 2_000_000_000))


def test_serves_a_folder(tmp_path: Path) -> None:
    """The profile file is enough to sign with; the log holds no signature; SIGTERM ends it."""
    media, profile, log = tmp_path / "media", tmp_path / "config.toml", tmp_path / "log.jsonl"
    media.mkdir()
    (media / "a.mov").write_bytes(b"hello")
    profile.touch(mode=0o644)
    options = ["--media", str(media), "--synthetic", "3x1M", "--url-lifetime", "2s", "--cdn"]
    options += ["--config-out", str(profile), "--request-log", str(log)]
    with running(*options, BACKLOT_API_KEY="k.k", BACKLOT_API_SECRET="from the environment") as one:
        user = account(profile)
        assert (user.api_key, user.api_secret) == ("k.k", "from the environment")
        assert stat.S_IMODE(profile.stat().st_mode) == 0o600
        items = exchange(user.api_url, signed_target(user, "/v2/assets")).json["items"]
        assert len(items) == 4
        code = next(i["embed_code"] for i in items if i["original_file_name"] == "a.mov")
        info = exchange(user.api_url, signed_target(user, f"/v2/assets/{code}/source_file_info"))
        assert get(info.json["source_file_url"]).body == b"hello"
        output = finish(one, signal.SIGTERM)
    assert f"Serving 4 assets at {user.api_url}" in output
    assert "CDN host: http://127.0.0.1:" in output
    assert f"backlotfs mount --config {profile} --profile emulator MOUNTPOINT" in output
    assert "from the environment" not in output
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [entry["route"] for entry in entries] == ["assets", "source_file_info", "source"]
    assert "ignature" not in log.read_text(encoding="utf-8")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_changes_of_the_folder_are_seen(tmp_path: Path) -> None:
    """New and deleted files without a restart; a wrong library.json changes nothing."""
    media, profile = tmp_path / "media", tmp_path / "config.toml"
    media.mkdir()
    (media / "a.mov").write_bytes(b"hello")
    with running("--media", str(media), "--config-out", str(profile), "--rate-limit", "off") as one:
        user = account(profile)

        def names() -> list[str]:
            items = exchange(user.api_url, signed_target(user, "/v2/assets")).json["items"]
            return sorted(item["original_file_name"] for item in items)

        assert names() == ["a.mov"]
        (media / "News").mkdir()
        (media / "News" / "b.mov").write_bytes(b"more")
        wait_until(lambda: names() == ["a.mov", "b.mov"], "the new file")
        (media / "library.json").write_text("{")
        (media / "a.mov").unlink()
        assert one.stdout is not None
        while "the library stays as it was" not in one.stdout.readline():
            pass
        assert names() == ["a.mov", "b.mov"]
        (media / "library.json").unlink()
        wait_until(lambda: names() == ["b.mov"], "the deletion")
        finish(one, signal.SIGTERM)


def test_temporary_profile_and_expiry(tmp_path: Path) -> None:
    """Without a place for the profile it makes one, and takes it away; SIGUSR1 expires URLs."""
    with running("--synthetic", "1", TMPDIR=str(tmp_path)) as one:
        (profile,) = tmp_path.glob("*/config.toml")
        user = account(profile)
        (item,) = exchange(user.api_url, signed_target(user, "/v2/assets")).json["items"]
        path = f"/v2/assets/{item['embed_code']}/source_file_info"
        url = exchange(user.api_url, signed_target(user, path)).json["source_file_url"]
        assert get(url, Range="bytes=0-0").status == 206
        one.send_signal(signal.SIGUSR1)
        while (reply := get(url, Range="bytes=0-0")).status == 206:
            pass  # the signal is on its way
        assert b"Request has expired" in reply.body
        finish(one, signal.SIGINT)
    assert list(tmp_path.iterdir()) == []


def test_ends_in_this_process_too(tmp_path: Path) -> None:
    """The same, called as a function: signals taken, a URL expiry survived, nothing left."""
    reader, writer = os.pipe()
    main = threading.main_thread().ident
    assert main is not None

    def end() -> None:
        with open(reader, encoding="ascii") as ready:
            assert ready.read() == "READY\n"
        # to this very thread: the process as a whole does not block these signals
        signal.pthread_kill(main, signal.SIGUSR1)
        signal.pthread_kill(main, signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    plan = tmp_path / "plan.json"
    plan.write_text('{"rules": []}', encoding="utf-8")
    options = ["--synthetic", "2", "--port", "0", "--ready-fd", str(writer), "--faults", str(plan)]
    result = CliRunner().invoke(command, [*options, "--rate-limit", "off", "--cdn"])
    thread.join()
    assert (result.exit_code, "Serving 2 assets" in result.output) == (0, True)
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "nothing to serve"),
        (["--media", "/nonexistent"], "/nonexistent is not a folder"),
        (["--synthetic", "many"], "COUNTxSIZE"),
        (["--synthetic", "1", "--url-lifetime", "0.5s"], "at least 1s"),
        (["--synthetic", "1", "--rate-limit", "none"], "'off'"),
        (["--synthetic", "1", "--rate-limit", "0"], "'off'"),
        (["--synthetic", "1", "--faults", "/nonexistent"], "/nonexistent: No such file"),
        (["--synthetic", "1", "--request-log", "/nonexistent/log"], "/nonexistent/log: No such"),
        (
            ["--synthetic", "1", "--port", "0", "--config-out", "/nonexistent/c"],
            "cannot write the profile /nonexistent/c: No such file or directory; name a file",
        ),
    ],
)
def test_refusals(options: list[str], complaint: str) -> None:
    """Exit code 2 and a line that says what is wrong."""
    result = CliRunner().invoke(command, options)
    assert result.exit_code == 2
    assert complaint in result.output
    assert "Traceback" not in result.output
    assert "Errno" not in result.output


def test_port_in_use(tmp_path: Path) -> None:
    """Exit code 1 and one line."""
    with running("--synthetic", "1", "--config-out", str(tmp_path / "c.toml")) as one:
        port = account(tmp_path / "c.toml").api_url.rpartition(":")[2]
        result = CliRunner().invoke(command, ["--synthetic", "1", "--port", port])
        assert result.exit_code == 1
        said = f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another"
        assert said in result.output
        finish(one, signal.SIGTERM)
