# SPDX-License-Identifier: Apache-2.0
"""What the system lacks is found, and the command that mends it is named."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backlotfs import doctor
from backlotfs.config.proxy import parse_proxy
from backlotfs.config.settings import Account
from backlotfs.doctor import Verdict, check_cache_folder, failed_by
from backlotfs.errors import FuseUnusable, SettingsError
from tests.support.connect_proxy import ConnectProxy


def test_an_old_python() -> None:
    """One of today is fine."""
    assert doctor.check_python((3, 9, 2)).verdict is Verdict.FAILED
    assert doctor.check_python().verdict is Verdict.OK


@pytest.mark.parametrize(
    ("conf", "verdict"),
    [
        (None, Verdict.OK),
        ('PRUNEFS="NFS fuse.backlotfs tmpfs"\n', Verdict.OK),
        ('# PRUNEFS="fuse.backlotfs"\nPRUNEFS = "NFS fuse.sshfs"\n', Verdict.NOTE),
        ('PRUNEFS="fuse.backlotfs2"\n', Verdict.NOTE),
        ('PRUNEPATHS="/tmp"\n', Verdict.NOTE),
        ("", Verdict.NOTE),
    ],
)
def test_updatedb(tmp_path: Path, conf: str | None, verdict: Verdict) -> None:
    """It walks a mount unless PRUNEFS has its type; the remedy, once run, is enough."""
    path = tmp_path / "updatedb.conf"
    if conf is not None:
        path.write_text(conf)
    found = doctor.check_updatedb(path)
    assert found.verdict is verdict
    if found.remedy is not None:
        subprocess.run(["sh", "-c", found.remedy.replace("sudo ", "")], check=True)
        assert doctor.check_updatedb(path).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, None),
        ({"https_proxy": ""}, None),
        ({"https_proxy": "http://user:word@p:1"}, "https_proxy"),
        ({"HTTPS_PROXY": "p:1"}, "HTTPS_PROXY"),
        ({"all_proxy": "socks5://p"}, "all_proxy"),
        ({"http_proxy": "p"}, "http_proxy"),
        ({"https_proxy": "p", "no_proxy": "*"}, None),
        ({"https_proxy": "p", "no_proxy": "localhost,.example"}, None),
        ({"https_proxy": "p", "NO_PROXY": "other.example"}, "https_proxy"),
    ],
)
def test_proxy_variables_are_named(environ: dict[str, str], named: str | None) -> None:
    """Never with their values; not where `no_proxy` has the host."""
    found = doctor.check_proxy(Account("https://api.example", "key", "secret"), environ)
    assert found.verdict is (Verdict.NOTE if named else Verdict.OK)
    assert named is None or found.detail.startswith(f"{named} is set")
    assert "word" not in found.detail + (found.remedy or "")


def test_a_proxy_of_ones_own() -> None:
    """It is asked for the API's host; no variable matters then."""
    with ConnectProxy(credentials="me:word") as proxy:
        proxy.reply = b"HTTP/1.1 200 OK\r\n\r\n"
        account = Account(
            "https://api.example", "k", "s", proxy=parse_proxy(f"http://me:word@{proxy}", "x")
        )
        found = doctor.check_proxy(account, {"https_proxy": "http://other:1"})
        assert (found.verdict, found.detail) == (
            Verdict.OK,
            f"{proxy} connects to api.example; all connections go through it",
        )
        assert proxy.asked == ["api.example:443"]
        proxy.reply = b"HTTP/1.1 407 No\r\n\r\n"
        found = doctor.check_proxy(account, {})
    assert (found.verdict, found.exit_code) == (Verdict.FAILED, 4)
    assert found.detail == f"proxy {proxy}: it refuses the name and the password (407)"
    assert found.remedy == "correct them in `proxy` of the profile, or in BACKLOT_PROXY"


def test_a_missing_libfuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is what a mount would exit with 5 for, where it is wanted; else not a word is said of it."""

    def missing() -> None:
        raise FuseUnusable("libfuse 2 is missing; install it")

    monkeypatch.setattr(doctor, "load_fuse", missing)
    monkeypatch.setattr(sys, "platform", "linux")
    assert doctor.check_libfuse("auto") is None
    found = [doctor.check_libfuse("fusepy")]
    monkeypatch.setattr(sys, "platform", "darwin")
    found.append(doctor.check_libfuse("auto"))
    for one in found:
        assert one is not None
        assert (one.detail, one.exit_code) == ("libfuse 2 is missing", 5)
        assert "sudo apt-get install libfuse2" in (one.remedy or "")


def test_a_missing_fusepy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a remedy of its own: libfuse alone would not do."""
    monkeypatch.setitem(sys.modules, "fuse", None)
    found = doctor.check_libfuse("fusepy")
    assert found is not None
    assert (found.exit_code, found.remedy) == (5, "sudo apt-get install python3-fusepy")


def test_a_missing_device(tmp_path: Path) -> None:
    """The module, or what a container has to be given."""
    found = doctor.check_device(tmp_path / "fuse")
    assert (found.verdict, found.exit_code) == (Verdict.FAILED, 5)
    assert "modprobe fuse" in (found.remedy or "")


def test_a_forbidden_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown by a container, but not to be opened."""

    def forbidden(*_arguments: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "open", forbidden)
    assert "--device /dev/fuse" in (doctor.check_device().remedy or "")


def test_a_missing_helper_matters_to_ordinary_users_only(tmp_path: Path) -> None:
    """Root mounts without it."""
    nowhere = str(tmp_path)
    assert doctor.check_fusermount(is_root=False, path=nowhere).exit_code == 5
    assert doctor.check_fusermount(is_root=True, path=nowhere).verdict is Verdict.NOTE


def test_a_helper_without_its_right(tmp_path: Path) -> None:
    """The command has its very path."""
    helper = tmp_path / "fusermount"
    helper.touch(mode=0o755)
    found = doctor.check_fusermount(is_root=False, path=str(tmp_path))
    assert found.remedy == f"sudo chmod u+s {helper}"
    assert doctor.check_fusermount(is_root=True, path=str(tmp_path)).verdict is Verdict.OK


def test_a_missing_mtab_matters_to_ordinary_users_only(tmp_path: Path) -> None:
    """Their helper reads it to unmount."""
    helper = shutil.which("fusermount3")
    assert helper is not None
    absent = tmp_path / "mtab"
    found = doctor.check_fusermount(is_root=False, mtab=absent)
    assert (found.verdict, found.detail) == (
        Verdict.NOTE,
        f"{helper} cannot unmount: {absent} is missing; backlotfs umount takes umount instead",
    )
    assert found.remedy == "sudo ln -s /proc/self/mounts /etc/mtab"
    assert doctor.check_fusermount(is_root=True, mtab=absent).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("conf", "is_root", "wanted", "verdict"),
    [
        ("user_allow_other\n", False, True, Verdict.OK),
        ("#user_allow_other\n", False, True, Verdict.FAILED),
        ("#user_allow_other\n", False, False, Verdict.NOTE),
        ("", True, True, Verdict.OK),
    ],
)
def test_leave_for_others(
    tmp_path: Path, conf: str, is_root: bool, wanted: bool, verdict: Verdict
) -> None:
    """A line that is commented out gives none."""
    path = tmp_path / "fuse.conf"
    path.write_text(conf)
    found = doctor.check_allow_other(is_root=is_root, wanted=wanted, conf=path)
    assert found.verdict is verdict
    if verdict is not Verdict.OK:
        assert found.remedy == f"echo user_allow_other | sudo tee -a {path}"


def test_the_read_ahead_of_ordinary_users_is_a_note() -> None:
    """Slower, not broken."""
    assert doctor.check_read_ahead(is_root=False).verdict is Verdict.NOTE


def test_a_low_limit_of_open_files() -> None:
    """A mount works, until many files are read at a time."""
    found = doctor.check_open_files(256)
    assert (found.verdict, found.remedy) == (
        Verdict.NOTE,
        "ulimit -n 1024, or LimitNOFILE= of the unit",
    )
    assert doctor.check_open_files(1024).verdict is Verdict.OK
    assert doctor.check_open_files(resource.RLIM_INFINITY).detail == "any number at a time"


def test_what_mount_8_runs(tmp_path: Path) -> None:
    """Not there is no fault: our own command mounts without it."""
    assert doctor.check_mount_helper(str(tmp_path)).verdict is Verdict.NOTE
    (tmp_path / "mount.backlotfs").touch(mode=0o755)
    assert doctor.check_mount_helper(str(tmp_path)).verdict is Verdict.OK


def test_a_folder_that_will_be_made(tmp_path: Path) -> None:
    """Nothing is made by looking."""
    found = check_cache_folder(tmp_path / "a" / "b")
    assert found.verdict in (Verdict.OK, Verdict.NOTE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_open_to_others(tmp_path: Path) -> None:
    """It holds names and media."""
    tmp_path.chmod(0o755)
    found = check_cache_folder(tmp_path)
    assert (found.verdict, found.remedy) == (Verdict.NOTE, f"chmod 700 {tmp_path}")


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """Or below one."""
    (tmp_path / "file").touch()
    found = check_cache_folder(tmp_path / "file" / "cache")
    assert (found.verdict, found.exit_code) == (Verdict.FAILED, 2)


def test_a_folder_that_cannot_be_written() -> None:
    """Not even by root."""
    assert check_cache_folder(Path("/proc/backlotfs")).verdict is Verdict.FAILED


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount works; it keeps little."""
    monkeypatch.setattr(doctor, "LITTLE_BYTES", 1 << 80)
    assert "MiB are free" in check_cache_folder(tmp_path).detail


def test_an_errors_sentence_has_its_remedy_after_a_semicolon() -> None:
    """That is how all our sentences are made."""
    found = failed_by("credentials", SettingsError("no API key; set BACKLOT_API_KEY"))
    assert (found.detail, found.remedy) == ("no API key", "set BACKLOT_API_KEY")
    assert found.exit_code == 2
