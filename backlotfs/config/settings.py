"""What can be set, with its default, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from backlotfs.config.time_limits import API_TIMEOUT_S, TimeLimits

#: The hosted service's API; retired, but still the default of everything that spoke to it.
DEFAULT_API_URL = "https://api.ooyala.com"
_HOSTED_CDN_URL = "https://cdn-api.ooyala.com"

MIB = 1024 * 1024
GIB = 1024 * MIB


def default_cdn_url(api_url: str) -> str | None:
    """The CDN host that belongs to an API host; only the hosted service had one of its own."""
    return _HOSTED_CDN_URL if urlsplit(api_url).hostname == "api.ooyala.com" else None


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """Where caches go when no option says so: systemd's ``CacheDirectory=``, else the user's."""
    given = environ.get("CACHE_DIRECTORY", "").split(":")[0]
    return Path(given or platformdirs.user_cache_dir("backlotfs"))


class SecretOrigin(Enum):
    """Where the API secret was read from; the value is for people."""

    ENVIRONMENT = "the environment"
    PROFILE = "the profile"
    FILE = "a secret file"
    COMMAND = "api_secret_command"
    KEYRING = "the key store"
    CREDENTIALS = "systemd's credentials"

    @property
    def is_file(self) -> bool:
        """Whether the secret lies in a file on this machine, outside of memory."""
        return self in (SecretOrigin.PROFILE, SecretOrigin.FILE)


@dataclass(frozen=True, slots=True)
class Account:
    """Which library, and as whom. Shows no secret.

    :ivar profile: its name in the configuration file, or None.
    :ivar secret_origin: the kind of place where the secret was found.
    :ivar secret_place: the place itself (a path, the name of a key store), for people.
    :ivar mount_options: what the profile gives to ``-o``.
    :ivar ca_bundle: PEM file of authorities that are trusted instead of the system's.
    :ivar allow_source_hosts: hosts, ``*.domains`` and networks that sources may be on.
    :ivar api_timeout_s: the longest silence of the API, in seconds.
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

    @property
    def limits(self) -> TimeLimits:
        """All limits of time that follow from ``api_timeout_s``."""
        return TimeLimits(self.api_timeout_s)

    @property
    def source(self) -> str:
        """The documented spelling of what is mounted: ``backlot:PROFILE``, or the host's name."""
        return f"backlot:{self.profile or urlsplit(self.api_url).hostname or 'library'}"


@dataclass(frozen=True, slots=True)
class Quota:
    """A part of something that has so many bytes.

    :ivar share: of it, from 0 to 1. :ivar size: in bytes, instead of the share; None: the share.
    """

    share: float = 1.0
    size: int | None = None

    def of(self, whole_bytes: int) -> int:
        """In bytes, never more than there are."""
        return int(whole_bytes * self.share) if self.size is None else min(self.size, whole_bytes)


#: What pinned files may take of the disk tier: the rest is for what is merely read.
PIN_QUOTA = Quota(0.8)


#: What programs get for a file of unknown size: the first is the default.
UNSIZED = ("wait", "hide", "fail")
#: What folders do about their ``.sh_thumbnails``: answer who knows its name, or list it as well.
SHARED_THUMBNAILS = ("hidden", "listed")
#: Types a mount may show: its own, and the one that programs know as a network's.
SUBTYPES = ("backlotfs", "sshfs")


@dataclass(frozen=True, slots=True)
class MountSettings:
    """One mount.

    :ivar memory_bytes: budget for blocks, cached and under way, of all files together.
    :ivar cache_bytes: budget for blocks on disk; 0: none; None: by the free disk.
    :ivar pin_quota: what pinned files may take of those.
    :ivar bandwidth_bytes_s: what all transfers together may take; 0: no limit.
    :ivar cache_dir: where the catalog and the blocks are kept over restarts.
    :ivar keep_urls: keep presigned URLs over restarts; None: if the secret lies in a file too.
    :ivar forget_urls: delete those that earlier mounts kept.
    :ivar layouts: how assets are put into folders; several are top-level folders.
    :ivar names: how files are named: ``original``, ``always-id`` or ``portable``.
    :ivar stat_timeout_s: what a `stat` may take, waits for API credits included; None: the usual
        time of silence, and credits as long as they take.
    :ivar read_timeout_s: the same for an open or a read.
    :ivar credit_wait_s: longest wait for an API credit.
    :ivar unsized: what programs get for a file of unknown size: ``wait``, ``hide`` or ``fail``.
    :ivar no_wait: names of further programs that are never made to wait for sizes.
    :ivar metadata_ttl_s: the listing is refreshed when it is older and somebody uses the mount.
    :ivar max_assets: a listing with more records is given up, as one that does not end.
    :ivar max_listing_bytes: the same of one whose answers are larger together, unpacked.
    :ivar types: asset types presented; empty: every type that has a source.
    :ivar statuses: statuses presented; empty: all.
    :ivar sidecars: show a ``.json`` beside each source, with what the library says of it.
    :ivar shared_thumbnails: of `SHARED_THUMBNAILS`; None: there are none.
    :ivar captions: ask for the captions of each asset, and show them beside its source.
    :ivar include_unavailable: also list assets whose source cannot be had.
    :ivar subtype: of `SUBTYPES`: what the kernel shows after ``fuse.``.
    :ivar fsname: what ``df`` and mountinfo are to call it; None: `Account.source`.
    :ivar log_place: ``stderr``, ``syslog`` or a file.
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
    credit_wait_s: float = 3600.0
    unsized: str = UNSIZED[0]
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

    @property
    def keeps_urls(self) -> bool:
        """Whether presigned URLs are kept over restarts."""
        return self.account.secret_origin.is_file if self.keep_urls is None else self.keep_urls

    @property
    def makes_files(self) -> bool:
        """Whether it shows files that have no source."""
        return self.sidecars or self.captions or self.shared_thumbnails is not None

    @property
    def source(self) -> str:
        """What is mounted, as ``df``, mountinfo and the log call it."""
        return self.fsname or self.account.source
