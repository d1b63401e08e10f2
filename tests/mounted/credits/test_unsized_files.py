# SPDX-License-Identifier: Apache-2.0
"""Files whose size is not known yet: who waits for it, who does not see them, who gets an error."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import Fault
from tests.conftest import MountIt, Serve
from tests.mounted.catalog.kept_library import status
from tests.mounted.credits.named_program import ran
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video
from tests.support.mounting import Mount

pytestmark = pytest.mark.mounted

#: The credits of an hour give the sizes of some of them, but not of all.
ASSETS = [video(f"clip-{number:02}.mov", 1000 + number) for number in range(60)]
NAMES = [str(asset.original_file_name) for asset in ASSETS]
HOUR = {"rate_limit": 40, "rate_window_s": 3600.0}
#: "At once", on a machine that does other things too.
AT_ONCE_S = 15.0
NOTICE = "NOT ALL FILES ARE LISTED YET ("


def sized_names(mount: Mount) -> set[str]:
    """Spend the account's credits; the names of files whose size is known then."""
    os.listdir(mount.path)  # so that the sizes are asked for at once, not evenly over the hour
    last = -1

    def settled() -> bool:
        nonlocal last
        before, last = last, int(status(mount)["sizes"]["sized"])
        more_in_s = status(mount)["credits"]["more_in_s"]
        return before == last and more_in_s is not None and more_in_s > 600

    wait_until(settled, "the credits to be spent", every_s=1.0)
    (found,) = ran("thunar", mount, ("list", "."))
    assert isinstance(found.value, list)
    return {name for name in found.value if not name.startswith(NOTICE)}


def hidden_names(mount: Mount) -> list[str]:
    """Names of files whose size stays unknown."""
    return sorted(set(NAMES) - sized_names(mount))


def notices(names: list[str]) -> list[str]:
    """Names of the files that say that a listing is not complete."""
    return [name for name in names if name.startswith(NOTICE)]


def on_a_terminal(*command: str | Path) -> str:
    """Run a program whose standard output and error are a terminal; what it wrote."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen([str(word) for word in command], stdout=inside, stderr=inside)
    os.close(inside)
    written = b""
    try:
        while True:
            try:
                piece = os.read(terminal, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
            if not piece:
                break
            written += piece
        assert process.wait(60) == 0, written
    finally:
        process.kill()
        process.wait(60)
        os.close(terminal)
    return written.decode()


@pytest.fixture(scope="module")
def mount(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """A mount that knows some of the sizes, and learns no further one within these tests."""
    options = ("--no-wait", "looker", "-o", "no-wait=glancer:peeker", "--credit-wait", "2s")
    with Mount(serve(*ASSETS, **HOUR), tmp_path_factory.mktemp("unsized"), *options) as running:
        running.expect_log("API credit|clip-")
        yield running


@pytest.fixture(scope="module")
def hidden(mount: Mount) -> list[str]:
    """Names of files whose size is not known, in order."""
    found = hidden_names(mount)
    assert 5 <= len(found) < len(NAMES)
    return found


@pytest.mark.parametrize("program", ["thunar", "looker", "glancer", "peeker"])
def test_a_program_that_looks_sees_what_is_known(
    mount: Mount, hidden: list[str], program: str
) -> None:
    """At once; a hidden file is not there for it; one more file says how many are missing."""
    name = hidden[0]
    listed, stated, opened = ran(program, mount, ("list", "."), ("stat", name), ("open", name))
    assert isinstance(listed.value, list)
    (notice,) = notices(listed.value)
    assert f"({len(hidden)} to come, " in notice
    assert sorted({*listed.value} - {notice}) == sorted({*NAMES} - {*hidden})
    assert (stated.errno, opened.errno) == (errno.ENOENT, errno.ENOENT)
    assert max(step.took_s for step in (listed, stated, opened)) < AT_ONCE_S
    # an hour, less what has passed since
    assert " min)" in notice or " h " in notice
    text = (mount / notice).read_text()
    assert text.startswith(notice.removesuffix(".txt"))
    assert (mount / notice).stat().st_size == len(text.encode())


def test_an_absence_is_not_remembered(mount: Mount, hidden: list[str]) -> None:
    """After a program that the file is hidden from, another one still finds it, and waits."""
    name = hidden[1]
    (absent,) = ran("looker", mount, ("open", name))
    assert absent.errno == errno.ENOENT
    (waited,) = ran("somebody", mount, ("stat", name))
    assert waited.errno == errno.ETIMEDOUT


def test_the_longest_wait_for_a_credit(mount: Mount, hidden: list[str]) -> None:
    """``--credit-wait 2s``: ETIMEDOUT after it, not before, for a ``stat`` and an open."""
    for found in ran("somebody", mount, ("stat", hidden[2]), ("open", hidden[3])):
        assert found.errno == errno.ETIMEDOUT
        assert 1.5 <= found.took_s < AT_ONCE_S


def test_a_terminal_is_not_kept_waiting(mount: Mount, hidden: list[str]) -> None:
    """``ls -l --color`` shows what is known, without an error; a shell's pattern finds all."""
    began_s = time.monotonic()
    shown = on_a_terminal("ls", "-l", "--color", mount.path)
    assert time.monotonic() - began_s < AT_ONCE_S
    assert "cannot access" not in shown
    assert "?????" not in shown
    assert f"{NOTICE}{len(hidden)} to come" in shown
    assert sum(name in shown for name in NAMES) == len(NAMES) - len(hidden)
    pattern = on_a_terminal("sh", "-c", f"echo '{mount.path}'/*")
    assert sum(name in pattern for name in NAMES) == len(NAMES)
    assert NOTICE not in pattern


def test_ls_in_a_pipe_waits(serve: Serve, mounted: MountIt) -> None:
    """It stands until it has all sizes; then the note is gone for those who only look."""
    emulator = serve(*ASSETS[:10])
    rules = [
        emulator.faults.add(Fault.status(429, "Too many requests."), route=route)
        for route in ("streams", "source_file_info")
    ]
    mount = mounted(emulator)
    mount.expect_log("refuses calls")
    listing = subprocess.Popen(["ls", "-l", mount.path], stdout=subprocess.PIPE, text=True)
    wait_until(lambda: bool(status(mount)["waiting"]), "the listing to wait")

    def only_the_notice() -> bool:
        (found,) = ran("thunar", mount, ("list", "."))
        assert isinstance(found.value, list)
        assert len(notices(found.value)) == len(found.value) == 1 or found.value == NAMES[:10]
        return found.value != NAMES[:10]

    # for a moment before each retry, all sizes are expected soon, and the listing has all files
    wait_until(only_the_notice, "a listing without files")
    assert listing.poll() is None
    for rule in rules:
        emulator.faults.remove(rule)
    output, _ = listing.communicate(timeout=90)
    assert listing.returncode == 0
    assert [int(line.split()[4]) for line in output.splitlines()[1:]] == list(range(1000, 1010))
    (found,) = ran("thunar", mount, ("list", "."))
    assert found.value == NAMES[:10]


@pytest.mark.parametrize("what", ["hide", "fail"])
def test_unsized(serve: Serve, mounted: MountIt, what: str) -> None:
    """``--unsized``: for every program that is on no list; shells see all names all the same."""
    mount = mounted(serve(*ASSETS, **HOUR), "--unsized", what)
    mount.expect_log("API credit|clip-|API refuses")
    hidden = hidden_names(mount)
    name = hidden[-1]
    listed, stated, opened = ran("somebody", mount, ("list", "."), ("stat", name), ("open", name))
    assert isinstance(listed.value, list)
    if what == "hide":
        assert len(notices(listed.value)) == 1
        assert name not in listed.value
    else:
        assert listed.value == NAMES
    expected = errno.ENOENT if what == "hide" else errno.EAGAIN
    assert (stated.errno, opened.errno) == (expected, expected)
    assert max(step.took_s for step in (listed, stated, opened)) < AT_ONCE_S
    pattern = subprocess.run(
        ["sh", "-c", f"echo '{mount.path}'/*"], check=True, capture_output=True, text=True
    )
    assert sum(each in pattern.stdout for each in NAMES) == len(NAMES)


@pytest.mark.long
@pytest.mark.parametrize("what", ["hide", "fail"])
def test_our_own_commands_are_complete(
    serve: Serve, mounted: MountIt, tmp_path: Path, what: str
) -> None:
    """They wait for sizes whatever ``--unsized`` says, say so, and end by themselves."""
    assets = ASSETS[:45]
    mount = mounted(serve(*assets, rate_limit=40, rate_window_s=12.0), "--unsized", what)
    mount.expect_log("API credit|API refuses")
    done = commands.run("thumbnails", mount.path, home=mount.folder)
    assert done.returncode == 0, done.stderr
    assert "waiting for API credits: more in " in done.stderr
    done = commands.run("export", f"{mount.path}/", tmp_path / "copies", home=mount.folder)
    assert done.returncode == 0, done.stderr
    for asset in assets:
        assert_same_bytes(tmp_path / "copies" / str(asset.original_file_name), asset)
