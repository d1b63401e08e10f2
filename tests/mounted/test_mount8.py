# SPDX-License-Identifier: Apache-2.0
"""mount(8), umount(8) and fstab, by the helpers that ``make install`` puts into /sbin."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backlotfs.kernel.mount_table import MountEntry, mount_at, our_mounts
from tests.conftest import Serve
from tests.support import commands, installing
from tests.support.connect_proxy import ConnectProxy
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.installing import Installation
from tests.support.long_runs import few_of
from tests.support.made_assets import MIB, video
from tests.support.mounting import END_S, detach, is_mounted

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(os.geteuid() != 0, reason="mount(8) finds helpers in /sbin: needs root"),
]

REEL = video("reel.mov", MIB + 1)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with backlotfs installed and one library to mount.

    :ivar folder: home of whoever mounts, with the profile file.
    """

    installation: Installation
    folder: Path

    @property
    def mountpoint(self) -> Path:
        """An empty folder to mount on."""
        return self.folder / "library"

    @property
    def options(self) -> str:
        """What keeps the mount's files in our folder."""
        return (
            f"config={self.folder}/config.toml,cache_dir={self.folder}/cache,"
            f"log_file={self.folder}/log"
        )

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """A system command."""
        return installing.run(*words, environment=commands.environment(self.folder))

    def mount(
        self,
        options: str = "",
        *flags: str,
        source: str = "backlot:test",
        fs_type: str = "backlotfs",
    ) -> subprocess.CompletedProcess[str]:
        """``mount -t backlotfs`` with ``options`` beside our own."""
        chosen = f"{self.options},{options}" if options else self.options
        return self.run("mount", *flags, "-t", fs_type, source, self.mountpoint, "-o", chosen)

    def daemons(self) -> list[str]:
        """Command lines of the processes that serve the mountpoint."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended meanwhile
            if os.fsencode(self.mountpoint) in words:
                found.append(str(words))
        return found


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Installed, and found by mount(8)."""
    made = installing.install(tmp_path_factory.mktemp("installed"))
    with installing.helpers_in_sbin(made):
        yield made


@pytest.fixture
def machine(serve: Serve, installation: Installation, tmp_path: Path) -> Iterator[Machine]:
    """With a library of one file; whatever was mounted is gone afterwards."""
    commands.write_config(tmp_path / "config.toml", serve(REEL))
    machine = Machine(installation, tmp_path)
    machine.mountpoint.mkdir()
    yield machine
    detach(machine.mountpoint)
    wait_until(lambda: not machine.daemons(), "the daemon's end", timeout_s=END_S)


def test_mount_and_umount(machine: Machine) -> None:
    """By type and source; silent, usable at once, and gone with its process after umount(8)."""
    done = machine.mount("uid=1234,umask=077")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    entry = mount_at(machine.mountpoint)
    assert entry is not None
    assert (entry.source, entry.fs_type) == ("backlot:test", "fuse.backlotfs")
    status = (machine.mountpoint / "reel.mov").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (1234, 0o600)
    assert_same_bytes(machine.mountpoint / "reel.mov", REEL)
    done = machine.run("umount", machine.mountpoint)
    assert (done.returncode, done.stderr) == (0, "")
    wait_until(lambda: not machine.daemons(), "the daemon's end", timeout_s=END_S)
    assert "unmounted" in (machine.folder / "log").read_text()


def test_the_type_as_the_kernel_shows_it(machine: Machine) -> None:
    """``-t fuse.backlotfs``, any option of the program, and a value with a comma in it."""
    done = machine.mount('layout="flat,by-id",cache-size=0', fs_type="fuse.backlotfs")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(machine.mountpoint)) == ["by-id", "flat"]
    assert_same_bytes(machine.mountpoint / "flat" / "reel.mov", REEL)


def test_a_part_of_the_library(machine: Machine) -> None:
    """By several rules, and with a comma in one; a rule that is none is refused in one line."""
    done = machine.mount('include=type:audio,include="name:a,b*",include=r*,exclude=*.tmp')
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert os.listdir(machine.mountpoint) == ["reel.mov"]
    assert machine.run("umount", machine.mountpoint).returncode == 0
    wait_until(lambda: not machine.daemons(), "the daemon's end", timeout_s=END_S)
    done = machine.mount("include=reel/*")
    assert done.returncode == 1
    assert "mount.backlotfs: option include: the rule 'reel/*' matches nothing" in done.stderr
    assert "write label:reel" in done.stderr


def test_through_a_proxy(machine: Machine) -> None:
    """As an option; a password in it is refused, because a line of fstab is public."""
    with ConnectProxy() as proxy:
        done = machine.mount(f"proxy=http://name:planted@{proxy}", "-v")
        assert done.returncode == 1
        assert "option proxy takes no name and password" in done.stderr
        assert "planted" not in done.stdout + done.stderr
        assert not proxy.asked
        done = machine.mount(f"proxy=http://{proxy}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert_same_bytes(machine.mountpoint / "reel.mov", REEL)
        assert proxy.asked
        assert machine.run("umount", machine.mountpoint).returncode == 0


def mounted_twice(machine: Machine, source: str, options: str) -> Iterator[MountEntry]:
    """The one mount there is after ``mount -a`` with such a line of fstab, and after another."""
    table = machine.folder / "fstab"
    table.write_text(
        f"{source} {machine.mountpoint} backlotfs {options},{machine.options} 0 0\n", "utf-8"
    )
    for _ in range(2):
        done = machine.run("mount", "-T", table, "-a")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        (entry,) = [e for e in our_mounts() if e.mountpoint == str(machine.mountpoint)]
        yield entry


@pytest.mark.parametrize("source", few_of(["backlot:test", "backlot:", "test"], "backlot:"))
def test_fstab_mounts_once(machine: Machine, source: str) -> None:
    """The line of the documentation; a second ``mount -a`` finds it mounted."""
    options = "defaults,_netdev,nofail,x-systemd.automount,x-gvfs-show,uid=1234,allow_other"
    for entry in mounted_twice(machine, source, options):
        assert entry.source == source
        # "defaults" is rw,suid,dev,exec: accepted, and changes nothing
        assert {"ro", "nosuid", "nodev", "noexec", "allow_other"} <= entry.options
    assert (machine.mountpoint / "reel.mov").stat().st_uid == 1234
    done = machine.run("umount", machine.mountpoint)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "source", "code", "says"),
    [
        ("api_secret=s3cret", "backlot:test", 1, "every user could read it"),
        ("api_url=http://127.0.0.1:9", "backlot:test", 32, "127.0.0.1"),
        *(
            pytest.param(options, source, 1, says, marks=pytest.mark.long)
            for options, source, says in (
                ("colour=blue", "backlot:test", "unknown mount option 'colour'"),
                ("cache_size=big", "backlot:test", "'big' is not a size"),
                ("umask=9", "backlot:test", "option umask=9 is out of range"),
                ("", "backlot:nobody", "no profile nobody"),
            )
        ),
    ],
)
def test_refused(machine: Machine, options: str, source: str, code: int, says: str) -> None:
    """With mount(8)'s own exit codes and one line that says what is wrong; nothing is mounted."""
    done = machine.mount(options, source=source)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.startswith("mount.backlotfs: ")
    assert done.stderr.count("\n") == 1
    assert "s3cret" not in done.stderr
    assert not is_mounted(machine.mountpoint)


def test_flags(machine: Machine) -> None:
    """``-f`` mounts nothing, ``-s`` leaves out what is unknown, ``-v`` says what is done."""
    done = machine.mount("colour=blue", "-f", "-s", "-n", "-v")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"-- {machine.mountpoint}" in done.stdout
    assert not is_mounted(machine.mountpoint)
    done = machine.mount("colour=blue", "-s", "-v")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"mounted backlot:test on {machine.mountpoint}; its log is in" in done.stdout
    assert is_mounted(machine.mountpoint)


def test_closed_standard_streams(machine: Machine) -> None:
    """As some starters leave them: the pipe between parent and daemon must not become one."""
    closing = 'exec mount -t backlotfs backlot:test "$1" -o "$2" <&- >&- 2>&-'
    done = machine.run("sh", "-c", closing, "sh", machine.mountpoint, machine.options)
    assert done.returncode == 0
    assert os.listdir(machine.mountpoint) == ["reel.mov"]


def test_what_is_installed(installation: Installation) -> None:
    """The program runs, and the units name the place where it is; nothing is there twice."""
    program = installation.prefix / "bin" / "backlotfs"
    done = installing.run(program, "--version", environment={"PYTHONPATH": "/nowhere"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("backlotfs, version")
    python = installation.prefix / "lib" / "backlotfs" / "bin" / "python"
    script = f"import runpy; runpy.run_path({str(program)!r}, run_name='__mp_main__')"
    imported = installing.run(
        python, "-I", "-c", script, environment={}
    )  # as a process of multiprocessing does
    assert (imported.returncode, imported.stdout, imported.stderr) == (0, "", "")
    unit = installation.prefix / "lib" / "systemd" / "system" / "backlotfs@.service"
    assert f"ExecStart={program} mount" in unit.read_text()
    assert list((installation.prefix / "lib" / "backlotfs").rglob("*.service")) == []
    assert sorted(path.name for path in installation.sbin.iterdir()) == list(installing.HELPERS)
    share = installation.prefix / "share"
    pages = {path.name for path in share.glob("man/man[158]/*")}
    assert {"backlotfs.1", "backlotfs-mount.1", "backlotfs.toml.5", "mount.backlotfs.8"} <= pages
    for completion in (
        "bash-completion/completions/backlotfs",
        "zsh/site-functions/_backlotfs",
        "fish/vendor_completions.d/backlotfs.fish",
    ):
        assert "_BACKLOTFS_COMPLETE" in (share / completion).read_text()


def test_uninstalling_leaves_nothing(installation: Installation, tmp_path: Path) -> None:
    """Of ours, of whatever version; what others put beside it stays."""
    for place in (installation.prefix, installation.sbin):
        shutil.copytree(place, Path(f"{tmp_path}{place}"), symlinks=True)
    home = Path(f"{tmp_path}{installation.prefix}") / "lib" / "backlotfs"
    theirs = home.parent / "systemd" / "system" / "other.mount"
    theirs.touch()
    with (home / "installed-files").open("a") as record:  # as an earlier version may have
        record.write(f"{installation.prefix}/share/man/man1/backlotfs-old.1\n")
    (home.parent.parent / "share" / "man" / "man1" / "backlotfs-old.1").touch()
    installation.run("uninstall", destdir=str(tmp_path))
    left = [path for path in tmp_path.rglob("*") if not path.is_dir() or path.is_symlink()]
    assert left == [theirs]
    assert [path for path in tmp_path.rglob("*") if path.is_dir() and not any(path.iterdir())] == []


def test_options_for_others_and_a_borrowed_type(machine: Machine) -> None:
    """``x-`` options are left to those they are for; ``mount -a`` knows the mount by its source."""
    options = "x-gvfs-show,x-gvfs-name=Films%20here,x-backup.skip,subtype=sshfs"
    for entry in mounted_twice(machine, "backlot:test", options):
        assert (entry.source, entry.fs_type) == ("backlot:test", "fuse.sshfs")
        assert not any("x-" in option for option in entry.options)
    shown = machine.run("findmnt", "--mtab", "-n", "-o", "OPTIONS", machine.mountpoint)
    assert {"x-gvfs-show", "x-gvfs-name=Films%20here"} <= set(shown.stdout.strip().split(","))
    done = machine.run("umount", machine.mountpoint)
    assert done.returncode == 0, done.stderr
