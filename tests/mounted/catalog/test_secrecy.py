"""Nothing in the cache folder or the log lets anybody in, and nobody else can read it."""

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
from tests.support.expected_bytes import assert_same_bytes
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
    """No secret, no key, no signature, no signed URL in any of them."""
    assert any(path.suffix == ".sqlite3" for path in paths)
    for path in paths:
        data = path.read_bytes()
        assert emulator.api_secret.encode() not in data, path
        assert emulator.api_key.encode() not in data, path
        assert emulator.settings.source_secret.encode() not in data, path
        assert SIGNED.search(data) is None, path


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_signed_is_written(kept: KeptLibrary, ending: signal.Signals) -> None:
    """While it runs, with debug log, and after it ended, cleanly or not."""
    mount = kept.mount("--layout", "labels,flat", "--log-level", "debug")
    for asset in ASSETS[:5]:
        assert_same_bytes(mount / "flat" / str(asset.original_file_name), asset)
    wait_until_sized(mount)
    assert_harmless(files_of(mount, kept.cache), kept.emulator)
    mount.expect_exit(0 if ending is signal.SIGTERM else -ending)
    mount.process.send_signal(ending)
    mount.process.wait(END_S)
    detach(mount.path)
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
        assert_private(kept.cache / "catalog")
        mount.close()
        assert_private(kept.cache / "catalog")
        kept.catalog.chmod(0o666)
        kept.catalog.parent.chmod(0o755)


def assert_private(folder: Path) -> None:
    """It and everything in it are the owner's alone."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes
    assert set(modes.values()) == {0o600}, modes
