# SPDX-License-Identifier: Apache-2.0
"""One check for every folder and file of ours: who could have made or replaced it."""

from __future__ import annotations

import grp
import logging
import os
import pwd
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from backlotfs.cache.disk.tier import kept_budget
from backlotfs.config.profile_file import write_profile
from backlotfs.config.profiles import load_account
from backlotfs.errors import BacklotError, CacheUnusable, SettingsError
from backlotfs.log import output
from backlotfs.thumbnails.cache import Original, ThumbnailCache
from backlotfs.thumbnails.picture import Picture
from backlotfs.trusted_paths import (
    UntrustedPath,
    check_folder,
    open_folder,
    open_log,
    open_private_folder,
    read_secret,
)
from tests.fakes.clocks import ManualClock
from tests.unit.cache.disk_blocks import BLOCK, pin, tier_at
from tests.unit.catalog_db.catalogs import open_db
from tests.unit.thumbnails.images import encoded

STRANGER = 45002
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
PROFILE = '[profiles.a]\napi_key = "k"\napi_secret = "s"\n'


@pytest.fixture(autouse=True)
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _root_logger_restored() -> Iterator[None]:
    root, raises = logging.getLogger(), logging.raiseExceptions
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:], logging.raiseExceptions = handlers, raises
    root.setLevel(level)


def mode_of(path: Path) -> int:
    """Its permissions; of a link, where it leads."""
    return stat.S_IMODE(path.stat().st_mode)


# --- what uses it: each keeps or reads something below a folder, or says why not ---


def use_catalog(folder: Path) -> None:
    store = open_db(folder, ManualClock())
    try:
        if store.path is None:
            raise PermissionError("kept in memory")
    finally:
        store.close()


def use_blocks(folder: Path) -> None:
    with tier_at(folder / "blocks" / "digest"):
        pass


def use_log(folder: Path) -> None:
    output.configure(level="info", log_format="text", place=str(folder / "mount.log"))


def use_profile(folder: Path) -> None:
    write_profile(folder / "config.toml", "main", {"api_key": "k", "api_secret": "s"})


def use_thumbnails(folder: Path) -> None:
    cache = ThumbnailCache(folder / "thumbnails", ["normal"], software="test")
    cache.keep(Original("/m/a.mov", 1, 1), Picture(encoded()))


def use_secret(folder: Path) -> None:
    """A profile that somebody has put there, which is as it should be but for its folder."""
    path = folder / "config.toml"
    path.write_text(PROFILE)
    path.chmod(0o600)
    try:
        load_account({}, config=path, profile="a")
    finally:
        path.unlink()


USERS = [use_catalog, use_blocks, use_log, use_profile, use_thumbnails, use_secret]
each_user = pytest.mark.parametrize("use", USERS)


def foreign_folder(base: Path) -> Path:
    (base / "theirs").mkdir(0o755)
    (base / "theirs" / "sub").mkdir(0o755)
    os.chown(base / "theirs", STRANGER, STRANGER)
    return base / "theirs" / "sub"


def open_folder_above(base: Path) -> Path:
    (base / "open").mkdir(0o777)
    (base / "open" / "sub").mkdir(0o700)
    return base / "open" / "sub"


def foreign_link(base: Path) -> Path:
    (base / "fine").mkdir(0o700)
    (base / "link").symlink_to("fine")
    os.lchown(base / "link", STRANGER, STRANGER)
    return base / "link"


def link_into_an_open_folder(base: Path) -> Path:
    (base / "open").mkdir(0o777)
    (base / "open" / "sub").mkdir(0o700)
    (base / "link").symlink_to("open/sub")
    return base / "link"


def foreign_folder_in_a_sticky_one(base: Path) -> Path:
    (base / "tmp").mkdir()
    (base / "tmp").chmod(0o1777)
    (base / "tmp" / "theirs").mkdir(0o700)
    os.chown(base / "tmp" / "theirs", STRANGER, STRANGER)
    return base / "tmp" / "theirs"


def group_of_strangers(base: Path) -> Path:
    (base / "shared").mkdir(0o775)
    (base / "shared").chmod(0o2775)
    os.chown(base / "shared", 0, STRANGER)
    return base / "shared"


HOSTILE = [
    foreign_folder,
    open_folder_above,
    foreign_link,
    link_into_an_open_folder,
    foreign_folder_in_a_sticky_one,
    group_of_strangers,
]


@AS_ROOT
@each_user
@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_others_could_replace_is_not_used(
    use: Callable[[Path], None],
    hostile: Callable[[Path], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is made there, no mode changes, and one sentence says which folder and why."""
    folder = hostile(tmp_path)
    before = {path: (mode_of(path), path.lstat().st_uid) for path in tmp_path.rglob("*")}
    with pytest.raises((OSError, BacklotError)) as caught:
        use(folder)
    said = f"{caught.value} {caplog.text}"
    assert str(tmp_path) in said
    assert "replace files in" in said or "belongs to another user" in said
    assert {path: (mode_of(path), path.lstat().st_uid) for path in tmp_path.rglob("*")} == before


def plain(base: Path) -> Path:
    return base / "plain"


def below_a_sticky_folder(base: Path) -> Path:
    (base / "tmp").mkdir()
    (base / "tmp").chmod(0o1777)
    return base / "tmp" / "mine"


def link_of_ours(base: Path) -> Path:
    (base / "disk" / "cache").mkdir(parents=True, mode=0o755)
    (base / "disk").chmod(0o755)
    (base / "home").mkdir(0o755)
    (base / "home" / "cache").symlink_to("../disk/./cache/")
    return base / "home" / "cache" / "backlotfs"


def absolute_link(base: Path) -> Path:
    (base / "disk").mkdir(0o755)
    (base / "cache").symlink_to(base / "disk")
    return base / "cache"


def by_systemd(base: Path) -> Path:
    """``CacheDirectory=`` is 0755 unless the unit says otherwise."""
    (base / "var").mkdir(0o755)
    (base / "var" / "backlotfs").mkdir(0o755)
    return base / "var" / "backlotfs"


ORDINARY = [plain, below_a_sticky_folder, link_of_ours, absolute_link, by_systemd]


@each_user
@pytest.mark.parametrize("ordinary", ORDINARY)
def test_ordinary_folders_work(
    use: Callable[[Path], None], ordinary: Callable[[Path], Path], tmp_path: Path
) -> None:
    """And what is made is 0700, whatever the umask: missing parents too."""
    folder = ordinary(tmp_path)
    if use is use_secret:
        os.close(open_folder(folder, make=True))
    before = {path: mode_of(path) for path in tmp_path.rglob("*")}
    use(folder)
    for path in tmp_path.rglob("*"):
        if path not in before:
            assert not mode_of(path) & 0o077, path
        else:
            assert mode_of(path) == before[path], path


def test_missing_parents_are_made_for_us_alone(tmp_path: Path) -> None:
    """From the first one on; those that were there stay as they are."""
    (tmp_path / "there").mkdir(0o755)
    (tmp_path / "there").chmod(0o755)
    os.close(open_folder(tmp_path / "there" / "a" / "b" / "c", make=True))
    assert mode_of(tmp_path / "there") == 0o755
    for path in (tmp_path / "there").rglob("*"):
        assert mode_of(path) == 0o700


def groups(monkeypatch: pytest.MonkeyPatch, named: list[str], *uids: int, name: str = "me") -> None:
    """Every group has these members by name, and these accounts have it as their own.

    Every user is called "me".
    """
    group = SimpleNamespace(gr_name=name, gr_mem=named)
    monkeypatch.setattr(grp, "getgrgid", lambda _gid: group)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: SimpleNamespace(pw_name="me"))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=int(name)))
    monkeypatch.setattr(
        pwd, "getpwall", lambda: [SimpleNamespace(pw_uid=uid, pw_gid=os.getgid()) for uid in uids]
    )


@pytest.mark.parametrize(
    ("named", "uids", "ours"),
    [
        ([], ["me"], True),  # the private group of a user: umask 002 makes homes 0775
        (["me"], ["me"], True),
        (["1001"], ["me"], False),
        ([], ["me", 1001], False),
        ([], [], False),  # nobody known: some program's, setgid
    ],
)
def test_a_folder_that_its_group_can_write_to(
    named: list[str],
    uids: list[object],
    ours: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Is ours where nobody else is in the group."""
    me = tmp_path.stat().st_uid
    as_uid = [me if uid == "me" else int(str(uid)) for uid in uids]
    groups(monkeypatch, [name.replace("me", str(me)) for name in named], *as_uid)
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o775)
    os.chown(home, -1, os.getgid())
    if ours:
        check_folder(home)
        home.chmod(0o777)
    with pytest.raises(UntrustedPath, match=f"chmod go-w {home}"):
        check_folder(home)


@AS_ROOT
@pytest.mark.parametrize(("name", "ours"), [("me", True), ("domain users", False)])
def test_a_group_is_private_only_by_its_name(
    name: str, ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory of users (LDAP) need not list those who have a group as their own."""
    groups(monkeypatch, [], STRANGER, name=name)
    monkeypatch.setattr(
        pwd, "getpwall", lambda: [SimpleNamespace(pw_uid=STRANGER, pw_gid=STRANGER)]
    )
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o775)
    os.chown(home, STRANGER, STRANGER)
    if ours:
        check_folder(home)
    else:
        with pytest.raises(UntrustedPath, match=f"chmod go-w {home}"):
            check_folder(home)


@AS_ROOT
def test_a_folder_of_roots_with_a_group_of_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its number, though only a system account is known to be in it."""
    groups(monkeypatch, ["104"])
    log = tmp_path / "log"
    log.mkdir()
    log.chmod(0o775)
    check_folder(log)
    os.chown(log, 0, 20_000)
    with pytest.raises(UntrustedPath):
        check_folder(log)


@AS_ROOT
@pytest.mark.parametrize(("uid", "ours"), [(104, True), (1001, False)])
def test_a_folder_of_roots_with_a_group_of_a_daemon(
    uid: int, ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``/var/log`` is root:syslog 0775 on Ubuntu: fine while no person is in the group."""
    groups(monkeypatch, [], uid)
    log = tmp_path / "log"
    log.mkdir()
    log.chmod(0o775)
    if ours:
        check_folder(log)
    else:
        with pytest.raises(UntrustedPath):
            check_folder(log)


def test_an_access_control_list_counts_as_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lets others in, and looks like permissions of the group."""
    groups(monkeypatch, [], tmp_path.stat().st_uid)
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o775)
    check_folder(home)
    entries = [(1, 7, -1), (2, 7, STRANGER), (4, 5, -1), (16, 7, -1), (32, 5, -1)]
    packed = b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(home, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    except OSError:
        pytest.skip("no access control lists here")
    with pytest.raises(UntrustedPath):
        check_folder(home)


def test_links_that_go_round(tmp_path: Path) -> None:
    """End with an error of their own."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="too many links"):
        open_folder(tmp_path / "a", make=True)


def test_dots_are_walked(tmp_path: Path) -> None:
    """``..`` after a link leads to the parent of where it went, as for the kernel."""
    (tmp_path / "x" / "y").mkdir(parents=True, mode=0o700)
    (tmp_path / "x").chmod(0o700)
    (tmp_path / "link").symlink_to("x/y")
    os.close(open_folder(tmp_path / "link" / ".." / "new", make=True))
    assert (tmp_path / "x" / "new").is_dir()


# --- the files ---


def fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)


def folder(path: Path) -> None:
    path.mkdir(0o700)


def listening_socket(path: Path) -> None:
    # bound below a short name: a path of a test may be longer than a socket's may be
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(path.parent, os.O_PATH)
        server.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


def link_to_an_open_folder(path: Path) -> None:
    place = path.parent / "open-to-all"
    place.mkdir(exist_ok=True)
    place.chmod(0o777)
    (place / "file").write_text("x")
    path.symlink_to(place / "file")


def second_name(path: Path) -> None:
    other = path.parent / f"{path.name}-first-name"
    other.write_text("precious")
    other.chmod(0o644)
    os.link(other, path)


KINDS = [fifo, folder, listening_socket, link_to_an_open_folder, second_name]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", KINDS)
def test_a_log_file_that_is_none(kind: Callable[[Path], None], tmp_path: Path) -> None:
    """A FIFO stops no mount, and nothing behind a name is written to or changed."""
    path = tmp_path / "mount.log"
    kind(path)
    before = {found: mode_of(found) for found in tmp_path.rglob("*")}
    with pytest.raises(OSError, match=str(tmp_path)):
        output.configure(level="info", log_format="text", place=str(path))
    assert {found: mode_of(found) for found in tmp_path.rglob("*")} == before


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", [fifo, folder, listening_socket, link_to_an_open_folder])
@pytest.mark.parametrize("which", ["config.toml", "secret"])
def test_a_config_or_secret_file_that_is_none(
    kind: Callable[[Path], None], which: str, tmp_path: Path
) -> None:
    """Is refused in a sentence that names it, at once."""
    secret, config = tmp_path / "secret", tmp_path / "config.toml"
    if which == "secret":
        config.write_text(f'[profiles.a]\napi_key = "k"\napi_secret_file = "{secret}"\n')
        config.chmod(0o600)
    kind(tmp_path / which)
    with pytest.raises(SettingsError, match=str(tmp_path)) as caught:
        load_account({}, config=config, profile="a")
    assert "; " in str(caught.value)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", [fifo, folder, listening_socket])
def test_a_profile_is_not_put_into_what_is_no_file(
    kind: Callable[[Path], None], tmp_path: Path
) -> None:
    """Nor does reading it wait for ever."""
    kind(tmp_path / "config.toml")
    with pytest.raises(SettingsError, match=r"config\.toml"):
        use_profile(tmp_path)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "suffix", [".sqlite3", ".sqlite3-wal", ".sqlite3-shm", ".sqlite3-journal", ".lock"]
)
def test_a_catalog_that_is_none(
    kind: Callable[[Path], None], suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The mount keeps its catalog in memory, and says why."""
    store = open_db(tmp_path, ManualClock())
    assert store.path is not None
    path = store.path.with_name(store.path.stem + suffix)
    store.close()
    path.unlink(missing_ok=True)
    kind(path)
    before = {found: mode_of(found) for found in path.parent.iterdir()}
    with pytest.raises(PermissionError):
        use_catalog(tmp_path)
    assert str(path) in caplog.text
    assert {found: mode_of(found) for found in path.parent.iterdir()} == before


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", [*KINDS[:3], "link"])
def test_a_folder_of_the_catalog_that_is_none(
    kind: Callable[[Path], None] | str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither is what a link of that name leads to, whose modes stay as they are."""
    (tmp_path / "victim").mkdir(0o755)
    if callable(kind):
        kind(tmp_path / "catalog")
        (tmp_path / "catalog").chmod(0o777)
    else:
        (tmp_path / "catalog").symlink_to("victim")
    with pytest.raises(PermissionError):
        use_catalog(tmp_path)
    assert f"{tmp_path}/catalog" in caplog.text
    assert mode_of(tmp_path / "victim") == 0o755
    assert not list((tmp_path / "victim").iterdir())


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["pins", "slab", "index", "heads", "lock"])
@pytest.mark.parametrize("kind", [fifo, listening_socket])
def test_blocks_that_are_none(kind: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    """The disk tier is left out, or begins anew; it does not wait."""
    with tier_at(tmp_path / "t"):
        pass
    (tmp_path / "t" / name).unlink(missing_ok=True)
    kind(tmp_path / "t" / name)
    kept_budget(tmp_path / "t", BLOCK)
    if name == "pins":
        with tier_at(tmp_path / "t") as tier:
            pin(tier)
    else:
        with pytest.raises(CacheUnusable):
            tier_at(tmp_path / "t").__enter__()


def test_a_cache_folder_that_is_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither catalog nor blocks are kept, and the reason names it."""
    (tmp_path / "cache").write_text("precious")
    with pytest.raises(PermissionError):
        use_catalog(tmp_path / "cache")
    with pytest.raises(CacheUnusable, match="cache is not a folder"):
        use_blocks(tmp_path / "cache")
    assert f"{tmp_path}/cache is not a folder" in caplog.text
    assert (tmp_path / "cache").read_text() == "precious"


def test_a_private_folder_is_closed_where_it_could_be_read(tmp_path: Path) -> None:
    """Where it could be written to it is refused: its files may be anybody's."""
    path = tmp_path / "catalog"
    path.mkdir(0o755)
    os.close(open_private_folder(path, make=True, tighten=True))
    assert mode_of(path) == 0o700
    for mode in (0o770, 0o702, 0o777):
        path.chmod(mode)
        with pytest.raises(UntrustedPath, match=f"chmod -R go= {path}"):
            open_private_folder(path, make=True, tighten=True)
        assert mode_of(path) == mode


def test_a_log_that_was_rotated_is_made_as_the_first_was(tmp_path: Path) -> None:
    """0600; and what others put in its place is not written to: the lines are lost, not given."""
    path = tmp_path / "log" / "mount.log"
    output.configure(level="info", log_format="text", place=str(path))
    log = logging.getLogger("backlotfs.test")
    log.info("first")
    path.rename(path.with_suffix(".1"))
    log.info("second")
    assert mode_of(path) == 0o600
    assert "second" in path.read_text()
    path.rename(path.with_suffix(".2"))
    os.mkfifo(path, 0o622)
    log.info("third")
    path.unlink()
    log.info("fourth")
    assert "fourth" in path.read_text()
    assert "third" not in path.read_text()


def test_a_log_file_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    """It may have been made by hand."""
    path = tmp_path / "mount.log"
    path.write_text("before\n")
    path.chmod(0o666)
    output.configure(level="info", log_format="text", place=str(path))
    assert mode_of(path) == 0o600
    assert path.read_text() == "before\n"


def test_logs_may_go_through_links_of_ours_and_to_devices(tmp_path: Path) -> None:
    """``/dev/null``, a link to another disk, and a stream that is open already."""
    (tmp_path / "disk").mkdir(0o755)
    (tmp_path / "mount.log").symlink_to("disk/mount.log")
    output.configure(level="info", log_format="text", place=str(tmp_path / "mount.log"))
    logging.getLogger("backlotfs.test").info("here")
    assert "here" in (tmp_path / "disk" / "mount.log").read_text()
    os.close(open_log(Path("/dev/null")))
    reading, writing = os.pipe()
    os.close(open_log(Path(f"/dev/fd/{writing}")))
    os.close(reading)
    os.close(writing)


def test_a_secret_from_a_pipe_of_the_shell(tmp_path: Path) -> None:
    """``--config <(…)`` is a descriptor that is open already."""
    reading, writing = os.pipe()

    def feed() -> None:
        os.write(writing, b"s3cret")
        os.close(writing)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    assert read_secret(Path(f"/dev/fd/{reading}")) == b"s3cret"
    thread.join()
    os.close(reading)


def test_a_secret_without_end(tmp_path: Path) -> None:
    """Is read up to a bound."""
    path = tmp_path / "secret"
    path.touch(0o600)
    os.truncate(path, 2**40)
    with pytest.raises(OSError, match="larger than 1 MiB"):
        read_secret(path)
    with open("/dev/zero", "rb") as zero, pytest.raises(OSError, match="larger than 1 MiB"):
        read_secret(Path(f"/dev/fd/{zero.fileno()}"))
