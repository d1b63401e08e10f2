# SPDX-License-Identifier: Apache-2.0
"""Where a case takes place: an origin with its files, an API that points to it, fresh mounts."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from backlotfs.emulator import Library
from benchmarks import origin_check
from benchmarks.emulation import emulator_process
from benchmarks.mounts import MountProcess, backlotfs_command, mounted, rclone_command
from benchmarks.origin import Origin, OriginProfile, nginx, publish
from benchmarks.read_engine.contestants import OURS, Contestant
from benchmarks.read_engine.sources import MIB, stamped_file
from benchmarks.shared_line import shared_line

_CHECK_FILE = ".check"


class Arena:
    """One case's surroundings.

    :ivar sources: the folder whose files are served; for comparing.
    :ivar folder: for what the case wants to keep, on tmpfs.
    """

    def __init__(self, folder: Path, sources: Path, origin: Origin, config: Path) -> None:
        self.folder = folder
        self.sources = sources
        self.origin = origin
        self._config = config
        self._number = itertools.count()

    @contextlib.contextmanager
    def mount(
        self, contestant: Contestant, *, cache: Path | None = None, prime: bool = True
    ) -> Iterator[MountProcess]:
        """A new mount, the kernel's caches dropped; what it cached goes with it.

        :param cache: a folder to keep instead, that an earlier mount may have filled.
        :param prime: look at every file first, so that sizes and URLs are known.
        """
        drop_caches()
        number = next(self._number)
        mountpoint = self.folder / f"mount-{number}"
        own = self.folder / f"cache-{number}"
        size = None if cache is None else "8G"
        command = self._command(contestant, mountpoint, cache or own, size)
        log = self.folder / f"{contestant.name.replace(' ', '-')}.log"
        try:
            with mounted(contestant.name, command, mountpoint, log=log) as mount:
                if prime:
                    for path in sorted(self.sources.iterdir()):
                        if not path.name.startswith("."):
                            os.stat(mountpoint / path.name)
                self.origin.wait_until_quiet()
                drop_pages()
                yield mount
        finally:
            shutil.rmtree(own, ignore_errors=True)
            with contextlib.suppress(OSError):
                mountpoint.rmdir()

    def _command(
        self, contestant: Contestant, mountpoint: Path, cache: Path, cache_size: str | None
    ) -> list[str]:
        if contestant.name == OURS.name:
            return backlotfs_command(
                self._config, mountpoint, cache_dir=cache, cache_size=cache_size
            )
        flags = [*contestant.flags, f"--cache-dir={cache}"]
        return rclone_command(f"{self.origin.url}/plain/", mountpoint, flags)


class Sources(NamedTuple):
    """A set of files, by the name of its folder.

    :ivar build: puts them into the folder it is given.
    :ivar memory_bytes: what they take of it, and what copies and caches of them will.
    """

    name: str
    build: Callable[[Path], None]
    memory_bytes: int


@contextlib.contextmanager
def arena(work: Path, profile: OriginProfile, sources: Path) -> Iterator[Arena]:
    """Serve ``sources`` from that far away.

    :param work: a folder on tmpfs.
    :raises SystemExit: the origin is not as far away as it should be.
    """
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="arena-", dir=work))
        folder = Path(name)
        if profile.line_bytes_s is not None:
            stack.enter_context(shared_line(profile.line_bytes_s))
        folder.chmod(0o755)  # nginx's worker is nobody
        if not (sources / _CHECK_FILE).exists():
            stamped_file(sources / _CHECK_FILE, 64 * MIB)
        origin = stack.enter_context(nginx(folder, sources, profile))
        origin_check.require(f"{origin.url}/plain/{_CHECK_FILE}", profile)
        for asset in Library.from_folder(sources).ordered():
            publish(folder, asset.object_key, sources / (asset.original_file_name or ""))
        options = ["--media", str(sources), "--source-base-url", origin.url, "--rate-limit", "off"]
        emulator = stack.enter_context(emulator_process(folder, options))
        yield Arena(folder, sources, origin, emulator.config)


def drop_caches() -> None:
    """Pages, dentries and inodes, of everything. Root only."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def drop_pages() -> None:
    """Pages only: what is known about files stays. Root only."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("1")
