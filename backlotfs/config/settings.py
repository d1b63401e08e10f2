# SPDX-License-Identifier: Apache-2.0
"""All settings with their defaults, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from backlotfs.config.api_share import WHOLE
from backlotfs.config.listen_address import ListenAddress
from backlotfs.config.proxy import Proxy
from backlotfs.config.time_limits import API_TIMEOUT_S, CREDIT_WAIT_S, TimeLimits

#: The API of the hosted service: retired, but still the default of its clients.
DEFAULT_API_URL = "https://api.ooyala.com"
_HOSTED_CDN_URL = "https://cdn-api.ooyala.com"

MIB = 1024 * 1024
GIB = 1024 * MIB


def default_cdn_url(api_url: str) -> str | None:
    """The CDN host for an API host; only the hosted service has one."""
    return _HOSTED_CDN_URL if urlsplit(api_url).hostname == "api.ooyala.com" else None


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """The default cache folder: systemd's ``CacheDirectory=``, else the user's cache folder."""
    given = environ.get("CACHE_DIRECTORY", "").split(":")[0]
    return Path(given or platformdirs.user_cache_dir("backlotfs"))


def ignored_proxy(environ: Mapping[str, str], host: str) -> str | None:
    """The name of a proxy variable that curl or `requests` would use for a host; None: no such one.

    Its value is never shown, because it may contain a password.
    """
    # imported here because the import takes 20 ms; typeshed lacks the function
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    names = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY")
    found = next((name for name in names if environ.get(name, "").strip()), None)
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if found is None or proxy_bypass_environment(host, {"no": exempt}):
        return None
    return found


def hint_at_ignored_proxy(environ: Mapping[str, str], host: str) -> str:
    """A hint for a host that may need the proxy of a variable; empty without `ignored_proxy`."""
    variable = ignored_proxy(environ, host)
    if variable is None:
        return ""
    return (
        f"{variable} is set, but is not used: if {host} is behind that proxy, name it with --proxy "
        "or `proxy` of the profile"
    )


class SecretOrigin(Enum):
    """The kind of place that the API secret came from; the values are texts for people."""

    ENVIRONMENT = "the environment"
    PROGRAM = "the program"
    PROFILE = "the profile"
    FILE = "a secret file"
    COMMAND = "api_secret_command"
    KEYRING = "the key store"
    CREDENTIALS = "systemd's credentials"

    @property
    def is_file(self) -> bool:
        """Whether the secret is in a file on this machine."""
        return self in (SecretOrigin.PROFILE, SecretOrigin.FILE)


@dataclass(frozen=True, slots=True)
class Account:
    """The API account of a library. The `repr` shows no secret.

    :ivar profile: the name of the profile, or None.
    :ivar secret_origin: the kind of place that the secret came from.
    :ivar secret_place: the place itself (a path, the name of a key store), for people.
    :ivar mount_options: mount options of the profile, as for ``-o``.
    :ivar ca_bundle: PEM file with the authorities to trust instead of the system's.
    :ivar allow_source_hosts: hosts, ``*.domains`` and networks that sources may be on.
    :ivar api_timeout_s: longest silence of the API in seconds.
    :ivar proxy: the proxy of all connections to the API and to sources; None: they are direct.
    :ivar api_shares: the profile's names for shares of the account's API credits.
    """

    api_url: str
    api_key: str
    api_secret: str = field(repr=False)
    cdn_url: str | None = None
    profile: str | None = None
    mount_options: str = ""
    ca_bundle: str | None = None
    allow_source_hosts: tuple[str, ...] = ()
    secret_origin: SecretOrigin = SecretOrigin.ENVIRONMENT
    secret_place: str = ""
    api_timeout_s: float = API_TIMEOUT_S
    proxy: Proxy | None = None
    api_shares: tuple[tuple[str, Fraction], ...] = ()

    @property
    def limits(self) -> TimeLimits:
        """The time limits that follow from ``api_timeout_s``."""
        return TimeLimits(self.api_timeout_s)

    @property
    def source(self) -> str:
        """The name of the mount's source: ``backlot:PROFILE``, or with the API's host."""
        return f"backlot:{self.profile or urlsplit(self.api_url).hostname or 'library'}"


@dataclass(frozen=True, slots=True)
class Quota:
    """A part of a number of bytes.

    :ivar share: from 0 to 1. :ivar size: in bytes, instead of the share; None: use the share.
    """

    share: float = 1.0
    size: int | None = None

    def of(self, whole_bytes: int) -> int:
        """The part of ``whole_bytes`` in bytes, at most all."""
        return int(whole_bytes * self.share) if self.size is None else min(self.size, whole_bytes)


#: The part of the disk cache for pinned files; the other part is for files that are only read.
PIN_QUOTA = Quota(0.8)


class NameMode(StrEnum):
    """The modes of names, as ``--names`` accepts them."""

    ORIGINAL = "original"
    ALWAYS_ID = "always-id"
    PORTABLE = "portable"


#: How assets are arranged in folders; the first is the default.
LAYOUTS = ("flat", "labels", "dates", "by-id")
#: What a program gets for a file of unknown size; the first is the default.
UNSIZED = ("wait", "hide", "fail")
#: How the mount communicates with the kernel; ``auto`` is ``session`` on Linux, else ``fusepy``.
FUSE_BINDINGS = ("auto", "session", "fusepy")
#: Whether listings of folders contain their ``.sh_thumbnails``.
SHARED_THUMBNAILS = ("hidden", "listed")
#: File system types of a mount: its own, and one that programs recognize as remote.
SUBTYPES = ("backlotfs", "sshfs")


@dataclass(frozen=True, slots=True)
class MountSettings:
    """The settings of one mount.

    :ivar memory_bytes: memory for cached and in-flight blocks of all files together.
    :ivar cache_bytes: size of the disk cache; 0: none; None: depends on the free disk space.
    :ivar pin_quota: part of the disk cache for pinned files.
    :ivar bandwidth_bytes_s: limit for all transfers together; 0: no limit.
    :ivar cache_dir: folder of the catalog, the blocks and the URLs.
    :ivar keep_urls: save signed URLs for the next mount; None: only if the secret is in a file.
    :ivar forget_urls: delete the URLs that earlier mounts saved.
    :ivar layouts: how assets are arranged in folders; several become top-level folders.
    :ivar names: how files are named: ``original``, ``always-id`` or ``portable``.
    :ivar stat_timeout_s: limit for a `stat`, including waits for API credits; None: the default
        limit (`TimeLimits.stat_s`), which does not include waits for API credits.
    :ivar read_timeout_s: the same for an open or a read.
    :ivar credit_wait_s: longest wait for an API credit.
    :ivar api_share: part of the account's API credits that this process may use.
    :ivar unsized: what programs get for a file of unknown size: ``wait``, ``hide`` or ``fail``.
    :ivar fuse_binding: one of `FUSE_BINDINGS`.
    :ivar passthrough: whether the kernel may read complete files of the disk cache itself.
    :ivar no_wait: names of programs that never wait for sizes.
    :ivar metadata_ttl_s: an older listing is refreshed when the mount is used.
    :ivar max_assets: largest number of records in a listing; a longer listing fails.
    :ivar max_listing_bytes: largest total size of the unpacked answers of a listing, likewise.
    :ivar types: presented asset types; empty: all types that have a source.
    :ivar statuses: presented statuses; empty: all.
    :ivar include: rules of the assets that are shown; none: all. See `catalog.choice`.
    :ivar exclude: rules of the assets that are not shown.
    :ivar sidecars: add a ``.json`` with the metadata beside each source.
    :ivar shared_thumbnails: one of `SHARED_THUMBNAILS`; None: no such folders.
    :ivar captions: fetch the captions of each asset and add them beside its source.
    :ivar include_unavailable: list assets without a source too.
    :ivar subtype: one of `SUBTYPES`, shown by the kernel after ``fuse.``.
    :ivar fsname: name in ``df`` and mountinfo; None: `Account.source`.
    :ivar log_place: ``stderr``, ``syslog`` or a file.
    :ivar metrics: where scrapes of Prometheus are answered; None: nowhere.
    :ivar traces: send spans of reads by OpenTelemetry.
    """

    account: Account
    mountpoint: Path
    cache_dir: Path
    keep_urls: bool | None = None
    forget_urls: bool = False
    layouts: tuple[str, ...] = ("flat",)
    names: str = "original"
    stat_timeout_s: float | None = None
    read_timeout_s: float | None = None
    credit_wait_s: float = CREDIT_WAIT_S
    api_share: Fraction = WHOLE
    unsized: str = UNSIZED[0]
    fuse_binding: str = FUSE_BINDINGS[0]
    passthrough: bool = True
    no_wait: tuple[str, ...] = ()
    memory_bytes: int = 256 * MIB
    cache_bytes: int | None = None
    pin_quota: Quota = PIN_QUOTA
    bandwidth_bytes_s: float = 0.0
    metadata_ttl_s: float = 300.0
    max_assets: int = 5_000_000
    max_listing_bytes: int = 20 * GIB
    types: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include_unavailable: bool = False
    sidecars: bool = False
    shared_thumbnails: str | None = None
    captions: bool = False
    uid: int = 0
    gid: int = 0
    umask: int = 0o022
    allow_other: bool = False
    subtype: str = SUBTYPES[0]
    fsname: str | None = None
    log_level: str = "info"
    log_format: str = "text"
    log_place: str = "stderr"
    metrics: ListenAddress | None = None
    traces: bool = False

    @property
    def limits(self) -> TimeLimits:
        """The time limits of the mount."""
        return TimeLimits(self.account.api_timeout_s, self.stat_timeout_s, self.read_timeout_s)

    @property
    def keeps_urls(self) -> bool:
        """Whether signed URLs are saved for the next mount."""
        return self.account.secret_origin.is_file if self.keep_urls is None else self.keep_urls

    @property
    def makes_files(self) -> bool:
        """Whether the mount contains generated files, which have no source."""
        return self.sidecars or self.captions or self.shared_thumbnails is not None

    @property
    def source(self) -> str:
        """The name of the source in ``df``, mountinfo and the log."""
        return self.fsname or self.account.source
