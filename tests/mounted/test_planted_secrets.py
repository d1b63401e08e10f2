# SPDX-License-Identifier: Apache-2.0
"""One planted key and secret, and every signature made of them: nowhere that others may look.

A real mount with everything turned on that talks: our log at debug, `http.client`'s prints and
urllib3's debug lines, exceptions that quote what they could not send, Python's crash dump. That
paths and the mark are there shows that it talked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from backlotfs.emulator import Emulator, Fault
from backlotfs.emulator.api import api_signature
from backlotfs.emulator.sources import source_signature
from backlotfs.log.redaction import MARK
from backlotfs.mount.control.client import ask
from tests.conftest import Serve
from tests.support.commands import PROFILE, run
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import MIB, video
from tests.support.mounting import END_S, Mount, detach, held_open

pytestmark = pytest.mark.mounted

EMULATOR = "backlotfs.emulator"
REEL, BAD, LONG = (
    video("reel.mov", 3 * MIB), video("bad.mov", 2 * MIB), video("long.mov", 64 * MIB),
)  # fmt: skip
#: Loaded by the interpreter before anything of ours: the libraries talk, whatever we tell them.
TALKATIVE = """
import http.client, logging
http.client.HTTPConnection.debuglevel = 1
class Loud(logging.Logger):
    def setLevel(self, level):
        libraries = ("urllib3", "requests", "http.client")
        super().setLevel("DEBUG" if self.name.startswith(libraries) else level)
logging.setLoggerClass(Loud)
"""
#: A fault that nobody expects, of a library, in words that hold all that is secret; once it is due.
CARELESS = """
import os
put = http.client.HTTPConnection.putrequest
def putrequest(self, method, url, *args, **more):
    if os.path.exists({due!r}):
        raise RuntimeError("cannot send " + url)
    return put(self, method, url, *args, **more)
http.client.HTTPConnection.putrequest = putrequest
"""


@pytest.fixture(scope="module")
def signatures() -> Iterator[set[str]]:
    """Every signature that the emulator computes, of the API's requests and of source URLs."""
    seen: set[str] = set()

    def noting(sign: Callable[..., str]) -> Callable[..., str]:
        def signed(*arguments: Any, **more: Any) -> str:
            signature = sign(*arguments, **more)
            seen.add(signature)
            return signature

        return signed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{EMULATOR}.api.api_signature", noting(api_signature))
        patch.setattr(f"{EMULATOR}.sources.source_signature", noting(source_signature))
        yield seen


@pytest.fixture(scope="module")
def emulator(serve: Serve, signatures: set[str]) -> Emulator:
    """Its account has a key and a secret that cannot be taken for anything else."""
    key, secret = "PlantedKeyPlantedKeyPlantedK.eyZZZ", "planted/secret+/40/c" * 2
    return serve(REEL, BAD, LONG, api_key=key, api_secret=secret)


@pytest.fixture
def planted(emulator: Emulator, talking: Mount, signatures: set[str]) -> list[str]:
    """Key, secrets and every signature so far, in each form that a URL may give them."""
    settings = emulator.settings
    found = {settings.api_key, settings.api_secret, settings.source_secret, settings.source_key_id}
    assert len(signatures) >= 5
    found |= signatures
    return sorted({form for word in found for form in (word, quote(word, ""), quote_plus(word))})


@pytest.fixture(scope="module")
def talking(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """A mount that has read, met an expired URL, a refusal and a dead end, and dumped its state."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "talkative").mkdir()
    due = folder / "careless"
    hook = TALKATIVE + CARELESS.format(due=str(due))
    (folder / "talkative" / "sitecustomize.py").write_text(hook)
    extra = {"PYTHONPATH": str(folder / "talkative"), "PYTHONFAULTHANDLER": "1"}
    mount = Mount(emulator, folder, "--log-level", "debug", extra=extra)
    mount.start()
    try:
        assert_same_bytes(mount.file_of(REEL), REEL)
        mount.file_of(BAD).stat()
        emulator.expire_urls()
        url = emulator.source_url(BAD.embed_code)
        for fault in (Fault.of("access_denied"), Fault.redirect(url)):
            rule = emulator.faults.add(fault, route="source", embed_code=BAD.embed_code)
            with pytest.raises(OSError, match=r"denied|error"):
                mount.file_of(BAD).read_bytes()
            emulator.faults.remove(rule)
        emulator.expire_urls()
        assert_same_bytes(mount.file_of(BAD), BAD)
        _fail_carelessly(mount, due)
        mount.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: ": state: 3 assets" in mount.log_text(), "the dump of its state")
        yield mount
    finally:
        mount.process.kill()
        mount.process.wait()
        detach(mount.path)
        with pytest.raises(AssertionError):
            mount.close()  # gives up its watchdog; that it was killed is no news


def _fail_carelessly(mount: Mount, due: Path) -> None:
    """Have a read, and then a sync, end in exceptions that nobody expects."""
    with held_open(mount.file_of(LONG)) as descriptor:
        due.touch()
        with pytest.raises(OSError, match="error"):
            os.pread(descriptor, 4096, 50 * MIB)
    ask(mount.path, "refresh")
    wait_until(lambda: "RuntimeError: cannot send" in mount.log_text(), "its traceback")
    due.unlink()


def assert_clean(text: str, planted: list[str]) -> None:
    """Without any of it. :raises AssertionError: with the line."""
    for secret in planted:
        lines = [line for line in text.splitlines() if secret in line]
        assert not lines, lines[0]


def test_the_log(talking: Mount, planted: list[str]) -> None:
    """Nothing planted; paths of API and sources, each with the mark for its query."""
    log = talking.log_text()
    assert_clean(log, planted)
    assert f"/v2/assets?{MARK}" in log
    assert f"{quote(REEL.object_key, '')}?{MARK}" in log
    for talker in ("DEBUG urllib3", "DEBUG http.client", "DEBUG backlotfs"):
        assert talker in log, talker


def test_exceptions_and_tracebacks(talking: Mount, planted: list[str]) -> None:
    """What a library raised, with a signed URL in its text, is in the log, but for the query."""
    log = talking.log_text()
    assert "Traceback (most recent call last):" in log
    told = [line for line in log.splitlines() if "RuntimeError: cannot send" in line]
    assert told
    assert all(line.endswith(f"?{MARK}") for line in told)
    assert_clean(log, planted)


def test_what_commands_print(talking: Mount, planted: list[str]) -> None:
    """All that tell of a mount, a library or a copy, as text and for scripts; a busy umount."""
    of_mount = ["status", "status --json", "stats", "stats --json", "refresh", "warm"]
    account = ["--config", str(talking.folder / "config.toml"), "--profile", PROFILE]
    of_library = ["ls", "ls --json", f"info {REEL.embed_code}", "doctor --json"]
    copies = str(talking.folder / "copies")
    said = ""
    for words in (
        *([*words.split(), str(talking.path)] for words in of_mount),
        *([*words.split(), *account] for words in of_library),
        ["export", str(talking.file_of(REEL)), copies],
        ["verify", copies],
    ):
        done = run(*words, home=talking.folder)
        assert done.returncode == 0, done.stderr
        said += done.stdout + done.stderr
    with talking.file_of(REEL).open("rb"):
        said += run("umount", talking.path, home=talking.folder).stderr
    assert "(pid " in said
    assert_clean(said, planted)


def test_extended_attributes(talking: Mount, planted: list[str]) -> None:
    """What any file manager may show or copy along."""
    path = talking.file_of(REEL)
    values = [os.getxattr(path, name).decode("utf-8") for name in os.listxattr(path)]
    assert REEL.embed_code in values
    assert_clean("\n".join(values), planted)


def test_the_process_list(talking: Mount, planted: list[str]) -> None:
    """What `ps` shows of any process, and the names of threads."""
    shown = ""
    for pattern in ("[0-9]*/cmdline", f"{talking.process.pid}/task/*/comm"):
        for path in Path("/proc").glob(pattern):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
                shown += path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace") + "\n"
    assert str(talking.path) in shown
    assert_clean(shown, planted)


def test_files(talking: Mount, planted: list[str], emulator: Emulator) -> None:
    """Nothing of it, but for the user's own profile and, in the file of URLs, what signs those."""
    secrets = [secret.encode() for secret in planted]
    settings = emulator.settings
    unsigned = (settings.api_key, settings.api_secret, settings.source_secret)
    lasting = [word.encode() for word in unsigned]
    seen, signed = 0, []
    for folder, _, names in os.walk(talking.folder):
        if Path(folder) == talking.path:
            continue
        for path in (Path(folder, name) for name in names):
            if not stat.S_ISREG(path.lstat().st_mode) or path.name == "config.toml":
                continue
            seen += 1
            data = path.read_bytes()
            found = [secret for secret in secrets if secret in data]
            if found and path.parent.name == "urls":
                signed.append(path)
                found = [word for word in lasting if word in data]
            assert not found, path
    assert seen >= 3
    (urls,) = signed
    assert b"Signature=" in urls.read_bytes()
    assert stat.S_IMODE(urls.stat().st_mode) == 0o600
    assert stat.S_IMODE(urls.parent.stat().st_mode) == 0o700
    assert (urls.parent / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d17")
    assert (talking.folder / "config.toml").stat().st_mode & 0o077 == 0


def test_no_core_file(talking: Mount) -> None:
    """The kernel is told to write none: it would hold the secret."""
    limits = Path(f"/proc/{talking.process.pid}/limits").read_text()
    (core,) = [line.split() for line in limits.splitlines() if "core file" in line]
    assert core[4] == "0"


def test_the_crash_dump(talking: Mount, planted: list[str]) -> None:
    """Last of all: the mount is made to crash in C, and Python says where its threads were."""
    talking.process.send_signal(signal.SIGABRT)
    assert talking.process.wait(END_S) == -signal.SIGABRT
    log = talking.log_text()
    assert "Fatal Python error: Aborted" in log
    assert_clean(log, planted)
