# SPDX-License-Identifier: Apache-2.0
"""What the session does at the worst moments: forced unmounts, kills, upgrades, other kernels."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from backlotfs.emulator import EmulatedAsset, EmulatedLabel, Fault
from backlotfs.mount.control.client import ask
from tests.conftest import MountIt, Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes, current, origin_bytes
from tests.support.made_assets import KIB, MIB, video
from tests.support.mounting import END_S, Mount, held_open, is_mounted
from tests.support.patched_daemon import patched
from tests.support.stalled_readers import (
    readers,
    stall_source,
    wait_until_reading,
    wait_until_stalled,
)

pytestmark = pytest.mark.mounted
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do it")

CLIPS = [video(f"{number:03}.mov", 1000 + number) for number in range(100)]
BAD = video("bad.mov", 64 * MIB)
ENDED = (errno.ENOTCONN, errno.ECONNABORTED)


def hanging(mount: Mount, resources: ExitStack, count: int) -> list[subprocess.Popen[bytes]]:
    """Readers of a source that sends nothing."""
    mount.file_of(BAD).stat()
    stall_source(mount.emulator, BAD)
    offsets = [number * 4 * MIB for number in range(count)]
    started = resources.enter_context(readers(mount.file_of(BAD), offsets))
    wait_until_reading(mount.file_of(BAD), started)
    wait_until_stalled(mount.emulator, BAD)
    return started


def test_a_killed_daemon_with_100_open_files(serve: Serve, mounted: MountIt) -> None:
    """Every reader gets an error at once, one that waits too; the next mount is a sound one."""
    mount = mounted(serve(*CLIPS, BAD))
    with ExitStack() as resources:
        waiting = hanging(mount, resources, 8)
        opened = [resources.enter_context(held_open(mount.file_of(clip))) for clip in CLIPS]
        mount.kill()
        for reader in waiting:
            assert reader.wait(END_S) == 1
        for descriptor in opened:
            with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is checked below
                os.pread(descriptor, 10, 0)
            assert caught.value.errno in ENDED
        mount.emulator.faults.clear()
        again = Mount(mount.emulator, mount.folder)
        again.expect_log("cleared the dead mount on")
        again.launch()
        resources.callback(again.close)
        wait_until(lambda: "serve: mounted" in again.log_text(), "the next mount")
        for clip in CLIPS[:5]:
            assert_same_bytes(again.file_of(clip), clip)
        assert commands.run("umount", again.path, home=again.folder).returncode == 0
        assert not is_mounted(again.path), "one mount lay on the other"


@needs_root
def test_a_forced_unmount(serve: Serve, mounted: MountIt) -> None:
    """Who waits gets an error, the process ends, and what is left can be cleared."""
    mount = mounted(serve(CLIPS[0], BAD))
    with ExitStack() as resources:
        waiting = hanging(mount, resources, 4)
        opened = resources.enter_context(held_open(mount.file_of(CLIPS[0])))
        done = subprocess.run(["umount", "-f", mount.path], capture_output=True, timeout=90)
        assert done.returncode, "a file is open"
        for reader in waiting:
            assert reader.wait(END_S) == 1
        with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is checked below
            os.pread(opened, 10, 0)
        assert caught.value.errno in ENDED
        assert mount.process.wait(END_S) == 0
        mount.emulator.faults.clear()
        assert commands.run("umount", mount.path, home=mount.folder).returncode == 0
    assert not is_mounted(mount.path)


_LOOKS_UP = """
import os, sys
for number in range(5000):
    assert not os.path.lexists(f"{sys.argv[1]}/no {number}")
"""


def test_thousands_of_look_ups_beside_a_stalled_host(serve: Serve, mounted: MountIt) -> None:
    """They are answered while readers, and programs that wait for sizes, still wait."""
    emulator = serve(*CLIPS[:20], BAD)
    # No head comes either: of a host that sends one, the size would be known without the body.
    emulator.faults.add(Fault.delay(600), route="source", embed_code=CLIPS[0].embed_code)
    mount = mounted(emulator, "--read-timeout", "5m", "--stat-timeout", "5m")
    with ExitStack() as resources:
        waiting = hanging(mount, resources, 8)
        for _ in range(8):
            program = subprocess.Popen(
                ["stat", mount.file_of(CLIPS[0])],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip  # one program's arguments
            resources.callback(program.wait)
            resources.callback(program.kill)
            waiting.append(program)
        subprocess.run([sys.executable, "-c", _LOOKS_UP, mount.path], check=True, timeout=80)
        assert sorted(os.listdir(mount.path))[0] == "000.mov"
        assert mount.file_of(CLIPS[1]).read_bytes() == origin_bytes(CLIPS[1])
        assert [program.poll() for program in waiting] == [None] * 16
        mount.emulator.faults.clear()


#: As an older kernel would.
_OFFERS_LESS = """
from backlotfs.kernel import protocol
real = protocol.parse_init
def less(message):
    offer = real(message)
    return offer._replace(minor=31, features=0)
protocol.parse_init = less
"""


def test_a_kernel_that_offers_less(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """The protocol of Linux 5.4 and not one feature: all is right, and stays so."""
    label = EmulatedLabel("3" * 32, "Racing")
    film = video("film.mov", 3 * MIB + 1, label_ids=(label.label_id,))
    emulator = serve(film, *CLIPS[:5])
    emulator.library.put_label(label)
    extra = patched(tmp_path / "patch", _OFFERS_LESS)
    mount = mounted(emulator, "--layout", "labels,flat", "--cache-size", "64M", extra=extra)
    folder, flat = mount / "labels" / "Racing", mount / "flat"
    assert [entry.stat().st_size for entry in os.scandir(folder)] == [3 * MIB + 1]
    assert_same_bytes(folder / "film.mov", film)
    with held_open(folder / "film.mov") as old:
        emulator.library.replace(film.embed_code, size=MIB)
        emulator.library.delete(CLIPS[0].embed_code)
        emulator.library.add(CLIPS[9])
        mount.process.send_signal(signal.SIGHUP)
        wait_until(lambda: (flat / "film.mov").stat().st_size == MIB, "the new version")
        wait_until(lambda: not (flat / "000.mov").exists(), "the deletion")
        wait_until(lambda: (flat / "009.mov").exists(), "the upload")
        assert_same_bytes(folder / "film.mov", current(emulator, film))
        assert os.pread(old, 4 * KIB, 2 * MIB) == origin_bytes(film, 2 * MIB, 4 * KIB)
        assert os.fstat(old).st_size == 3 * MIB + 1
    assert len(os.listdir(flat)) == 6
    assert ask(mount.path, "status")["passthrough"]["off"]


#: Writes the number of nodes that the kernel knows into a file, again and again.
_COUNTS = """
import os, threading, time
from backlotfs.kernel import session
class Counted(session.NodeTable):
    def __init__(self, namespace):
        super().__init__(namespace)
        threading.Thread(target=self.count, daemon=True).start()
    def count(self):
        while True:
            with open({place!r} + "+", "w") as file:
                file.write(str(len(self)))
            os.rename({place!r} + "+", {place!r})
            time.sleep(0.02)
session.NodeTable = Counted
"""
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32


def drop_names(mount: Mount) -> None:
    """Let the kernel forget the names of this mount that are not in use, and of no other."""
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_REMOUNT
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.mount(b"none", os.fsencode(mount.path), None, ctypes.c_ulong(flags), None)
    assert not done, os.strerror(ctypes.get_errno())


@needs_root
def test_every_reference_is_given_back(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """Of look-ups, listings and replaced files: the kernel's count and ours are the same."""
    place = tmp_path / "count"
    emulator = serve(*CLIPS)
    extra = patched(tmp_path / "patch", _COUNTS.format(place=str(place)))
    mount = mounted(emulator, "--sidecars", "--layout", "flat,dates", extra=extra)

    def come_to(count: int) -> None:
        def is_there() -> bool:
            drop_names(mount)
            return place.read_text() == str(count)

        wait_until(is_there, f"{count} nodes", every_s=0.1)

    for command in ("ls -lR", "find -name 0*.mov", "stat flat/001.mov flat/001.mov.json"):
        subprocess.run([*command.split()], cwd=mount.path, check=True, stdout=subprocess.DEVNULL)
    wait_until(lambda: int(place.read_text()) >= 200, "the count")
    clip = mount / "flat" / "007.mov"
    with held_open(clip) as old, held_open(mount / "flat" / "001.mov.json"):
        assert os.pread(old, 10, 0) == origin_bytes(CLIPS[7], 0, 10)
        emulator.library.replace(CLIPS[7].embed_code, size=500)
        mount.process.send_signal(signal.SIGHUP)
        wait_until(lambda: clip.stat().st_size == 500, "the new version")
        with held_open(clip):
            come_to(4)  # three files and their folder
        come_to(3)
    come_to(0)


_MAPS = """
import mmap, os, sys
opened, expected = sys.argv[1:]
with open(opened, "rb") as file, open(expected, "rb") as right:
    said = right.read()
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    assert mapped[:4096] == said[:4096]
    print("mapped", flush=True)
    sys.stdin.read()
    for at in range(0, len(said), 4096):
        if mapped[at : at + 4096] != said[at : at + 4096]:
            os._exit(3)
    os._exit(0)  # to close it fails when its mount is gone
"""


def mapping(mount: Mount, asset: EmulatedAsset, resources: ExitStack) -> subprocess.Popen[bytes]:
    """A program that has mapped a file, and compares all of it when its input ends."""
    expected = mount.folder / f"expected {asset.original_file_name}"
    expected.write_bytes(origin_bytes(asset))
    program = resources.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", _MAPS, mount.file_of(asset), expected],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    )
    resources.callback(program.kill)
    assert program.stdout is not None
    assert program.stdout.readline() == b"mapped\n"
    return program


def test_an_upgrade_while_files_are_mapped(serve: Serve, mounted: MountIt) -> None:
    """A mapping of the old mount keeps its bytes or ends with SIGBUS, whatever the new one shows.

    One that the kernel reads itself keeps them all.
    """
    warmed, plain = video("warmed.mov", 4 * MIB), video("plain.mov", 32 * MIB)
    emulator = serve(warmed, plain)
    mount = mounted(emulator, "--cache-size", "64M")
    assert commands.run("warm", mount.file_of(warmed), home=mount.folder).returncode == 0

    def opens_passed_through() -> bool:
        mount.file_of(warmed).read_bytes()
        found = ask(mount.path, "status")["passthrough"]
        return bool(found["off"] or found["opens"])

    wait_until(opens_passed_through, "its file", every_s=0.1)
    off = ask(mount.path, "status")["passthrough"]["off"]
    with ExitStack() as resources:
        programs = [(asset, mapping(mount, asset, resources)) for asset in (warmed, plain)]
        assert mount.terminate() == 0
        for asset, _ in programs:
            assert asset.content is not None
            emulator.library.replace(asset.embed_code, size=asset.content.size)
        again = resources.enter_context(Mount(emulator, mount.folder, *mount.options))
        for asset, program in programs:
            new = current(emulator, asset)

            def is_shown(new: EmulatedAsset = new) -> bool:
                with again.file_of(new).open("rb") as file:
                    return file.read(100) == origin_bytes(new, 0, 100)

            wait_until(is_shown, "the new version", every_s=0.1)
            assert_same_bytes(again.file_of(asset), new)
            program.communicate(timeout=90)
            may_fail = (-signal.SIGBUS,) if off or asset is plain else ()
            assert program.returncode in (0, *may_fail)
