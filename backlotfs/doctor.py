# SPDX-License-Identifier: Apache-2.0
"""Checks each precondition of a mount, and names the command that fixes what is missing.

A check looks at one precondition and returns a `Finding`. `cli.doctor` runs the checks of the
system first, then those of the cache folder, then those of the API and of one source.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import ssl
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from backlotfs.api.client import ApiClient
from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.api.transport import explain
from backlotfs.catalog.library import SOURCE_TYPES, AssetFilter
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.settings import GIB, Account, MountSettings, ignored_proxy
from backlotfs.errors import (
    BacklotError,
    ClockSkewed,
    FuseUnusable,
    RemoteUnavailable,
    SettingsError,
    SourceGone,
    SourceMissing,
)
from backlotfs.fetch.hosts import HostRegistry
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.backoff import RetryPolicy
from backlotfs.http.dialer import Dialer, client_context
from backlotfs.http.pool import ConnectionPool
from backlotfs.http.proxy_tunnel import connect_through, dial_for
from backlotfs.kernel.fusepy_adapter import NO_FUSEPY, load_fuse
from backlotfs.kernel.lifecycle import READ_AHEAD_KB, uses_session
from backlotfs.kernel.mount_table import FUSE_TYPE, mount_of
from backlotfs.kernel.mounting import may_ever_mount, may_pass_through
from backlotfs.kernel.mountpoint import MAKE_MTAB, MTAB, check_mountpoint, resolved
from backlotfs.kernel.passthrough import OLD_KERNEL, STACKED, STACKED_TYPES
from backlotfs.log.terminal import counted
from backlotfs.mount.stack import open_api_session
from backlotfs.mount.transport import USER_AGENT
from backlotfs.source.range_reader import SourceProbe
from backlotfs.source.signed_get import SignedGet
from backlotfs.source.url_resolver import UrlResolver
from backlotfs.trusted_paths import UntrustedPath, check_folder

OLDEST_PYTHON = (3, 11)
#: Enough open files: a busy mount has fewer connections, cache files and sockets in total.
ENOUGH_FILES = 1024
#: The folders where mount(8) looks for the helper of a file system type.
_HELPERS = "/sbin:/usr/sbin"
#: With less free disk space, few blocks are kept over restarts.
LITTLE_BYTES = GIB
#: Time limit for a connection through the proxy, and for one to the API's host with TLS.
ANSWER_S = 8.0
#: A larger difference of the clocks is reported; signatures are valid for minutes.
SKEW_S = 30.0
#: A certificate that expires in fewer days is reported.
CERTIFICATE_DAYS = 14
#: Largest number of assets that are tried until one has a source: each costs a call of the API.
SOURCES_TRIED = 3
_SET_CLOCK = "sudo timedatectl set-ntp true"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Verdict(StrEnum):
    """The result of one check: a mount works, works with a limitation, or fails."""

    OK = "ok"
    NOTE = "note"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check, with details.

    :ivar check: name of the check, the same in every release.
    :ivar detail: what was found, in a few words.
    :ivar remedy: the command or the step that fixes the problem; None: there is none.
    :ivar exit_code: exit code of a mount that fails because of this; 0 unless the check failed.
    """

    check: str
    verdict: Verdict
    detail: str
    remedy: str | None = None
    exit_code: int = 0


def fine(check: str, detail: str) -> Finding:
    """Make a finding that the precondition is met."""
    return Finding(check, Verdict.OK, detail)


def note(check: str, detail: str, remedy: str | None = None) -> Finding:
    """Make a finding of a limitation: a mount works in spite of it."""
    return Finding(check, Verdict.NOTE, detail, remedy)


def failed(
    check: str, detail: str, remedy: str, error: type[BacklotError] = BacklotError
) -> Finding:
    """Make a finding that a mount would fail with this error."""
    return Finding(check, Verdict.FAILED, detail, remedy, error.exit_code)


def failed_by(check: str, error: BacklotError, remedy: str | None = None) -> Finding:
    """Make a finding from an error.

    :param remedy: None: the part of the error's advice after the semicolon.
    """
    detail, _, said = error.advice().partition("; ")
    return Finding(check, Verdict.FAILED, detail, remedy or said or None, error.exit_code)


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Check that Python is new enough."""
    text = ".".join(map(str, version))
    if version >= OLDEST_PYTHON:
        return fine("python", f"{text} ({platform.python_implementation()})")
    return failed("python", f"{text} is too old", "sudo apt-get install python3 (3.11 or newer)")


def check_libfuse(binding: str) -> Finding | None:
    """Check that fusepy and libfuse 2 can be loaded.

    :param binding: one of `FUSE_BINDINGS`, from the profile or the default.
    :returns: None: this binding needs neither of them.
    """
    if uses_session(binding):
        return None
    try:
        load_fuse()
    except FuseUnusable as error:
        if str(error) == NO_FUSEPY:
            remedy = "sudo apt-get install python3-fusepy"
        else:
            remedy = "sudo apt-get install libfuse2 || sudo apt-get install libfuse2t64"
        return failed_by("libfuse 2", error, remedy)
    return fine("libfuse 2", "found")


def check_device(device: Path = Path("/dev/fuse")) -> Finding:
    """Check that the device can be opened; a container may have it but forbid to open it."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return failed(
            "/dev/fuse",
            "missing",
            "sudo modprobe fuse; for a container: --device /dev/fuse --cap-add SYS_ADMIN",
            FuseUnusable,
        )
    except PermissionError:
        return failed(
            "/dev/fuse",
            "may not be opened by this user",
            f"sudo chmod 666 {device} (see /etc/udev/rules.d if it does not stay so); "
            "for a container: --device /dev/fuse --cap-add SYS_ADMIN",
            FuseUnusable,
        )
    except OSError as error:
        return failed("/dev/fuse", error.strerror or "unusable", "sudo modprobe fuse", FuseUnusable)
    if not may_ever_mount():
        return failed(
            "/dev/fuse",
            "can be opened, but nothing can be mounted: CAP_SYS_ADMIN is not allowed here",
            "for a container: --device /dev/fuse --cap-add SYS_ADMIN",
            FuseUnusable,
        )
    return fine("/dev/fuse", "can be opened")


def check_fusermount(*, is_root: bool, path: str | None = None, mtab: Path = Path(MTAB)) -> Finding:
    """Check that the helper that mounts for ordinary users is installed and setuid root.

    :param path: a search path to use instead of ``PATH``.
    :param mtab: the mount table that the helper reads to unmount.
    """
    found = shutil.which("fusermount3", path=path) or shutil.which("fusermount", path=path)
    if found is None:
        remedy = "sudo apt-get install fuse3"
        if is_root:
            return note("fusermount", "missing; ordinary users cannot mount", remedy)
        return failed("fusermount", "missing", remedy, FuseUnusable)
    status = os.stat(found)
    if not is_root and not (status.st_mode & stat.S_ISUID and status.st_uid == 0):
        return failed("fusermount", "is not setuid root", f"sudo chmod u+s {found}", FuseUnusable)
    if not is_root and not mtab.exists():
        found += f" cannot unmount: {mtab} is missing; backlotfs umount takes umount instead"
        return note("fusermount", found, MAKE_MTAB)
    return fine("fusermount", found)


def check_allow_other(
    *, is_root: bool, wanted: bool, conf: Path = Path("/etc/fuse.conf")
) -> Finding:
    """Check that an ordinary user may allow other users to access a mount.

    :param wanted: whether the profile has the option ``allow_other``.
    """
    try:
        text = conf.read_text("utf-8", "replace")
    except OSError:
        text = ""
    if re.search(r"^[ \t]*user_allow_other[ \t]*(#.*)?$", text, re.M):
        return fine("allow_other", f"user_allow_other is in {conf}")
    if is_root:
        return fine("allow_other", "not needed as root")
    remedy = f"echo user_allow_other | sudo tee -a {conf}"
    if wanted:
        return failed(
            "allow_other",
            f"the profile asks for it, {conf} forbids it",
            remedy,
            FuseUnusable,
        )
    return note("allow_other", f"not possible: no user_allow_other in {conf}", remedy)


def check_read_ahead(*, is_root: bool) -> Finding:
    """Check that the kernel will read ahead in large pieces."""
    if is_root and os.access("/sys/class/bdi", os.W_OK):
        return fine("read-ahead", f"the mount raises it to {READ_AHEAD_KB} KiB")
    return note(
        "read-ahead",
        "stays at the kernel's 128 KiB: copies cost more CPU",
        "mount as root (systemd/ has a unit), with allow_other and uid=",
    )


def check_passthrough(
    cache_dir: Path | None = None, *, may: bool | None = None, release: str | None = None
) -> Finding:
    """Check whether the kernel can read files of the disk cache itself.

    :param cache_dir: the folder of the cache; None: the folder is not checked.
    :param may: whether this process may request passthrough; None: find out.
    :param release: release of the kernel, as ``uname -r`` shows it; None: of this machine's kernel.
    """
    found = re.match(r"(\d+)\.(\d+)", platform.release() if release is None else release)
    if found is None or (int(found[1]), int(found[2])) < (6, 9):
        return note("passthrough", f"off: {OLD_KERNEL}; cached files are read through the mount")
    if not (may_pass_through() if may is None else may):
        return note(
            "passthrough",
            "off: the kernel allows it only to this machine's own root; cached files are read "
            "through the mount",
            "mount as root (systemd/ has a unit), with allow_other and uid=",
        )
    disk = None if cache_dir is None else mount_of(Path(os.path.realpath(cache_dir)))
    if disk is not None and disk.fs_type in STACKED_TYPES:
        return note(
            "passthrough",
            f"off: {STACKED} ({disk.fs_type}); cached files are read through the mount",
            "name a folder on another disk with --cache-dir; in a container: a volume",
        )
    return fine("passthrough", "the kernel reads files that are wholly in the disk cache itself")


def check_open_files(limit: int | None = None) -> Finding:
    """Check how many files and connections a mount may have open.

    :param limit: the soft limit; None: that of this process.
    """
    if limit is None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= ENOUGH_FILES:
        words = "any number" if limit == resource.RLIM_INFINITY else str(limit)
        return fine("open files", f"{words} at a time")
    return note(
        "open files",
        f"no more than {limit} at a time: reads fail when many are open",
        f"ulimit -n {ENOUGH_FILES}, or LimitNOFILE= of the unit",
    )


def check_mount_helper(path: str = _HELPERS) -> Finding:
    """Check that mount(8) finds the helper, for ``mount -t backlotfs`` and for fstab."""
    found = shutil.which("mount.backlotfs", path=path)
    if found is None:
        return note(
            "mount(8)",
            "mount -t backlotfs, fstab and systemd are not set up; backlotfs mount works",
            "sudo make install, in the checkout",
        )
    return fine("mount(8)", found)


def check_updatedb(conf: Path = Path("/etc/updatedb.conf")) -> Finding:
    """Check that the nightly updatedb(8) does not list the whole library."""
    try:
        text = conf.read_text("utf-8", "replace")
    except OSError:
        return fine("updatedb", "not set up: nothing walks a mount at night")
    given = re.search(r'^[ \t]*PRUNEFS[ \t]*=[ \t]*"([^"]*)"', text, re.M)
    if given is None:
        remedy = f"echo 'PRUNEFS = \"{FUSE_TYPE}\"' | sudo tee -a {conf}"
    elif FUSE_TYPE in given[1].lower().split():
        return fine("updatedb", f"PRUNEFS in {conf} leaves mounts out")
    else:
        remedy = f"sudo sed -i 's/^[ \\t]*PRUNEFS[ \\t]*=[ \\t]*\"/&{FUSE_TYPE} /' {conf}"
    return note("updatedb", f"walks each mount at night: {FUSE_TYPE} is not in PRUNEFS", remedy)


def check_proxy(account: Account, environ: Mapping[str, str]) -> Finding:
    """Check that the proxy connects to the API; without a proxy, that no variable names one."""
    parts = urlsplit(account.api_url)
    host = parts.hostname or ""
    if account.proxy is not None:
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 80)
        try:
            connect_through(account.proxy, host, port, ANSWER_S).close()
        except (OSError, UnicodeError) as error:
            return failed_by("proxy", explain(error, host, proxied=True))
        return fine("proxy", f"{account.proxy} connects to {host}; all connections go through it")
    variable = ignored_proxy(environ, host)
    if variable is None:
        return fine("proxy", "none is named for this host, and none is used")
    return note(
        "proxy",
        f"{variable} is set, and is not used: a mount connects directly",
        "if it is needed: --proxy http://HOST:PORT, or proxy in the profile",
    )


def check_place(mountpoint: Path) -> Finding:
    """Check that a library can be mounted on ``mountpoint``."""
    place = resolved(mountpoint)
    try:
        check_mountpoint(place)
    except FuseUnusable as error:
        return failed_by("mountpoint", error)
    return fine("mountpoint", f"{place} is there, and empty")


def check_cache_folder(folder: Path) -> Finding:
    """Check that a mount can keep its cache in ``folder``; only a temporary file is made."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    remedy = f"install -d -m 700 {folder}, or name another with --cache-dir"
    if not place.is_dir():
        return failed("cache folder", f"{place} is not a folder", remedy, SettingsError)
    try:
        for one in (place, folder / "catalog", folder / "blocks"):
            check_folder(one)
    except NotADirectoryError as error:
        return failed("cache folder", str(error.strerror), remedy, SettingsError)
    except UntrustedPath as error:
        reason, _, remedy = str(error).partition("; ")
        return failed("cache folder", f"nothing is kept there: {reason}", remedy, SettingsError)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return failed("cache folder", f"{place}: {error.strerror}", remedy, SettingsError)
    free = shutil.disk_usage(place).free
    if place == folder:
        status = folder.stat()
        if status.st_uid not in (os.geteuid(), 0):
            return failed(
                "cache folder", f"{folder} belongs to another user", remedy, SettingsError
            )
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
    """Report whether a mount with these settings keeps presigned URLs over restarts, and why."""
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


def check_library(account: Account, clock: Clock) -> Iterator[Finding]:
    """Check TLS, API, clock and source, in this order; stop at the first failure."""
    tls = check_tls(account)
    yield tls
    if tls.exit_code:
        return
    try:
        session = open_api_session(account)
    except BacklotError as error:
        yield failed_by("API", error)
        return
    with closing(session):
        api = ApiClient(account, session, clock, page_limit=20)
        try:
            page = next(api.iter_pages(deadline=Deadline(account.limits.first_call_s, clock)), None)
        except ClockSkewed as error:
            yield failed_by("clock", error, _SET_CLOCK)
            return
        except BacklotError as error:
            yield failed_by("API", error)
            return
        assets = page.items if page is not None else ()
        yield fine("API", f"{urlsplit(account.api_url).hostname} answers, and accepts the key")
        yield check_clock(api.clock_skew_s)
        admit = AssetFilter(SOURCE_TYPES)
        codes = [a.embed_code for a in assets if admit.admits(a.asset_type, a.status)]
        yield check_source(account, api, clock, codes[:SOURCES_TRIED])


def check_tls(account: Account) -> Finding:
    """Check that the certificate of the API's host is trusted, and how long it is valid."""
    parts = urlsplit(account.api_url)
    host = parts.hostname or ""
    if parts.scheme != "https":
        return note(
            "TLS", f"the API of {host} is used without encryption", "use https:// if it can"
        )
    try:
        context = client_context(account.ca_bundle)
        with (
            dial_for(account.proxy)(host, parts.port or 443, ANSWER_S).sock as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            ends = ssl.cert_time_to_seconds(str((secured.getpeercert() or {})["notAfter"]))
            version = secured.version()
    except BacklotError as error:
        return failed_by("TLS", error)
    except ssl.SSLCertVerificationError as error:
        return failed(
            "TLS",
            f"the certificate of {host} is not trusted: {error.verify_message}",
            "sudo apt-get install ca-certificates, or name the authority: --ca-bundle FILE",
            RemoteUnavailable,
        )
    except (OSError, UnicodeError) as error:
        return failed_by("TLS", explain(error, host, proxied=account.proxy is not None))
    days = int((ends - time.time()) // 86400)
    if days < CERTIFICATE_DAYS:
        return note(
            "TLS", f"the certificate of {host} ends in {counted(days, 'day')}", "tell its owner"
        )
    return fine("TLS", f"{version}, {host} is who it says, for {counted(days, 'day')} more")


def check_clock(skew_s: float) -> Finding:
    """Check this machine's clock; ``skew_s`` is the server's time minus this machine's."""
    if abs(skew_s) < SKEW_S:
        return fine("clock", f"within {max(1, round(abs(skew_s)))} s of the API's")
    word = "behind" if skew_s > 0 else "ahead of"
    return note("clock", f"{abs(skew_s):.0f} s {word} the API's; requests are adjusted", _SET_CLOCK)


def check_source(account: Account, api: ApiClient, clock: Clock, codes: list[str]) -> Finding:
    """Check that a source host answers requests for ranges.

    The check uses the first of ``codes`` that has a source.
    """
    policy = SourcePolicy.of(account.api_url, account.allow_source_hosts)
    tls = partial(client_context, account.ca_bundle)
    dialer = Dialer(policy, tls, proxy=account.proxy)
    connections = ConnectionPool(dialer, user_agent=USER_AGENT)
    resolver = UrlResolver(api, ApiRateLimiter(clock), clock)
    signed_get = SignedGet(
        resolver, connections, clock, RetryPolicy(), policy=policy, meter=HostRegistry(clock)
    )
    probe = SourceProbe(signed_get, resolver.reported_size)
    try:
        for code in codes:
            try:
                version = probe.probe(code, Deadline(account.limits.probe_s, clock))
            except (SourceMissing, SourceGone):
                continue
            except BacklotError as error:
                return failed_by(
                    "sources", error, "look at the source host; see also --allow-source-host"
                )
            kind = "an ETag" if version.etag else "no ETag: replaced sources are seen by time only"
            return fine("sources", f"{code}: {counted(version.size, 'byte')}, with {kind}")
    finally:
        connections.close()
    return note("sources", "none was tried: the newest assets have no source file")
