"""The cache folder: there, ours alone, writable, with room; and whether URLs are kept in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from backlotfs.config.settings import GIB, MountSettings
from backlotfs.doctor.finding import Finding, failed, fine, note
from backlotfs.trusted_paths import UntrustedPath, check_folder

_SETTINGS = 2
#: With less, hardly a block is kept over restarts.
LITTLE_BYTES = GIB


def check_cache_folder(folder: Path) -> Finding:
    """Could a mount keep its things there? Makes nothing but a file that is gone again."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    mend = f"install -d -m 700 {folder}, or name another with --cache-dir"
    if not place.is_dir():
        return failed("cache folder", f"{place} is not a folder", mend, _SETTINGS)
    try:
        for one in (place, folder / "catalog", folder / "blocks"):
            check_folder(one)
    except NotADirectoryError as error:
        return failed("cache folder", str(error.strerror), mend, _SETTINGS)
    except UntrustedPath as error:
        reason, _, remedy = str(error).partition("; ")
        return failed("cache folder", f"nothing is kept there: {reason}", remedy, _SETTINGS)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return failed("cache folder", f"{place}: {error.strerror}", mend, _SETTINGS)
    free = shutil.disk_usage(place).free
    if place == folder:
        status = folder.stat()
        if status.st_uid not in (os.geteuid(), 0):
            return failed("cache folder", f"{folder} belongs to another user", mend, _SETTINGS)
        if status.st_mode & 0o077:
            return note("cache folder", f"{folder} is open to others", f"chmod 700 {folder}")
    if free < LITTLE_BYTES:
        return note(
            "cache folder",
            f"only {free // 1024**2} MiB are free at {place}",
            "make room, or mount with --cache-size 0 or another --cache-dir",
        )
    made = "" if place == folder else ", will be made"
    return fine("cache folder", f"{folder}{made}; {free / GIB:.1f} GiB free")


def check_saved_urls(settings: MountSettings) -> Finding:
    """Would a mount with these settings keep presigned URLs over restarts, and why?"""
    if settings.keeps_urls:
        where = settings.cache_dir / "urls"
        return fine("signed URLs", f"kept in {where} over restarts (--no-keep-urls: not)")
    if settings.keep_urls is not None:
        return fine("signed URLs", "not kept over restarts, as the profile says")
    return fine(
        "signed URLs",
        f"not kept over restarts, as the secret is from {settings.account.secret_place} and in no"
        " file (--keep-urls: kept)",
    )
