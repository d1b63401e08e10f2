# SPDX-License-Identifier: Apache-2.0
"""One file of the cache folder holds signed URLs; no other, nor the log, lets anybody in."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import EmulatedLabel, Emulator
from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import KeptLibrary, shown, wait_until_sized
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.long_runs import few_of
from tests.support.made_assets import MIB, video
from tests.support.mounting import END_S, Mount, detach

pytestmark = pytest.mark.mounted

LABEL = EmulatedLabel("a" * 32, "Sports")
ASSETS = [video(f"clip-{n}.mov", MIB, label_ids=(LABEL.label_id,)) for n in range(20)]
#: What every signed URL and every signed request has in it, encoded or not.
SIGNED = re.compile(
    rb"signature=|awsaccesskeyid|expires=\d|api_key=|AKIA[0-9A-Z]{8}", re.IGNORECASE
)


@pytest.fixture
def openhanded() -> Iterator[None]:
    """A user whose umask takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def kept(keep: Keep) -> KeptLibrary:
    """A library with labels."""
    found = keep(*ASSETS)
    found.emulator.library.put_label(LABEL)
    return found


def files_of(mount: Mount, cache: Path) -> list[Path]:
    """Every file the mount has written, its log too, but not the profile."""
    home = [path for path in mount.folder.rglob("*") if mount.path not in (path, *path.parents)]
    return [
        path for path in [*home, *cache.rglob("*")] if path.is_file() and path.suffix != ".toml"
    ]


def assert_harmless(paths: list[Path], emulator: Emulator) -> None:
    """No secret and no key in any of them; signatures in the file of URLs alone."""
    assert any(path.suffix == ".sqlite3" for path in paths)
    for path in paths:
        data = path.read_bytes()
        assert emulator.api_secret.encode() not in data, path
        assert emulator.api_key.encode() not in data, path
        assert emulator.settings.source_secret.encode() not in data, path
        if path.parent.name == "urls":
            assert b"api_key=" not in data, path
        else:
            assert SIGNED.search(data) is None, path


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_signed_is_written_but_the_file_of_urls(
    kept: KeptLibrary, ending: signal.Signals
) -> None:
    """While it runs, with debug log, and after it ended, cleanly or not."""
    mount = kept.mount("--layout", "labels,flat", "--log-level", "debug")
    for asset in ASSETS[:5]:
        assert_same_bytes(mount / "flat" / str(asset.original_file_name), asset)
    wait_until_sized(mount)
    wait_until(lambda: b"Signature=" in kept.urls.read_bytes(), "the URLs to be written")
    # What is written there is being written: whole files are looked at once it has ended.
    outside = [path for path in files_of(mount, kept.cache) if path.parent != kept.urls.parent]
    assert_harmless(outside, kept.emulator)
    mount.expect_exit(0 if ending is signal.SIGTERM else -ending)
    mount.process.send_signal(ending)
    mount.process.wait(END_S)
    detach(mount.path)
    assert_harmless(files_of(mount, kept.cache), kept.emulator)
    assert b"Signature=" in kept.urls.read_bytes()
    assert_private(kept.urls.parent)


@pytest.mark.parametrize(
    "how", few_of(["switched off", "secret in the environment"], "secret in the environment")
)
def test_nothing_signed_is_written_at_all(kept: KeptLibrary, how: str) -> None:
    """Neither there, where the URLs are not to be kept."""
    if how == "switched off":
        mount = kept.mount("--no-keep-urls")
    else:
        mount = kept.mount(extra={"BACKLOT_API_SECRET": kept.emulator.api_secret})
    for asset in ASSETS[:5]:
        assert_same_bytes(mount.file_of(asset), asset)
    mount.close()
    assert not kept.urls.exists()
    assert_harmless(files_of(mount, kept.cache), kept.emulator)


@pytest.mark.usefixtures("openhanded")
def test_only_the_owner_can_read_it(keep: Keep) -> None:
    """Folders 0700 and files 0600 whatever the umask; a file that was wider is narrowed."""
    kept = keep(*ASSETS)
    kept.cache.rmdir()
    kept.cache.parent.chmod(0o755)  # nothing is kept below a folder that all can write to
    for _ in range(2):
        mount = kept.mount()
        shown(mount)
        wait_until(kept.urls.exists, "the file of URLs")
        assert_private(kept.cache / "catalog")
        mount.close()
        for file in (kept.catalog, kept.urls):
            assert_private(file.parent)
            file.chmod(0o666)
            file.parent.chmod(0o755)


def assert_private(folder: Path) -> None:
    """It and everything in it are the owner's alone."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes
    assert set(modes.values()) == {0o600}, modes
