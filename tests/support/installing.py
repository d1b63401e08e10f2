# SPDX-License-Identifier: Apache-2.0
"""``make install`` without the network, and mount(8)'s helpers in /sbin for the time of a test."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import ROOT

#: mount(8) looks here and nowhere else.
SBIN = Path("/sbin")
HELPERS = ("mount.backlotfs", "mount.fuse.backlotfs")
_INSTALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Installation:
    """Where it was installed.

    :ivar folder: holds ``prefix`` and ``sbin``.
    """

    folder: Path

    @property
    def prefix(self) -> Path:
        """PREFIX."""
        return self.folder / "prefix"

    @property
    def sbin(self) -> Path:
        """SBINDIR."""
        return self.folder / "sbin"

    def run(self, action: str, *, destdir: str = "") -> None:
        """``install`` or ``uninstall``, as ``make`` runs them, with what is here already.

        :raises AssertionError: it failed.
        """
        places = {"PREFIX": str(self.prefix), "SBINDIR": str(self.sbin), "DESTDIR": destdir}
        # "0" means to pip that the option is in force: the build is not isolated, not downloaded.
        offline = {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1"}
        done = subprocess.run(
            [ROOT / ".ci" / "installation", action],
            env={**os.environ, "PYTHON": sys.executable, **places, **offline},
            capture_output=True,
            text=True,
            timeout=_INSTALL_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def install(folder: Path) -> Installation:
    """Install below another root first, then move it, as a package of a distribution is made."""
    made = Installation(folder)
    stage = folder / "stage"
    made.run("install", destdir=str(stage))
    for place in (made.prefix, made.sbin):
        shutil.move(f"{stage}{place}", place)
    shutil.rmtree(stage)
    (packages,) = (made.prefix / "lib" / "backlotfs" / "lib").glob("python3.*/site-packages")
    # What PIP_NO_DEPS left out; the installed backlotfs comes before the checkout's.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return made


@contextlib.contextmanager
def helpers_in_sbin(installation: Installation) -> Iterator[None]:
    """Link the helpers into /sbin: one test session at a time, never over a real installation."""
    with Path("/run/lock/backlotfs-tests-sbin").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        links = [SBIN / name for name in HELPERS]
        for link in links:
            if link.is_symlink() and not link.exists():
                link.unlink()  # a session that was killed left it
            if os.path.lexists(link):
                pytest.skip(f"{link} is somebody's: make uninstall, to test the helper of here")
        try:
            for link in links:
                link.symlink_to(installation.sbin / link.name)
            yield
        finally:
            for link in links:
                link.unlink(missing_ok=True)


def run(
    *words: str | os.PathLike[str], environment: Mapping[str, str], timeout_s: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """A system command, to its end."""
    return subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
