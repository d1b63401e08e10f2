# SPDX-License-Identifier: Apache-2.0
"""Every error of backlotfs; each class knows the errno an application sees and the exit code.

::

    BacklotError                  EIO        1
    ├── NoSuchEntry               ENOENT
    ├── NotADirectory             ENOTDIR
    ├── IsADirectory              EISDIR
    ├── BadHandle                 EBADF
    ├── ReadOnlyFilesystem        EROFS
    ├── NotSupported              ENOTSUP    xattr names outside ``user.*``
    ├── NoAttribute               ENODATA    an xattr the asset does not have
    ├── SizeUnknown               EAGAIN     no size yet, and the caller is not to wait for it
    ├── SourceMissing             ENODATA    the asset has no source, or a null URL
    ├── SourceGone                ENOENT     the object behind the source URL is gone (404)
    ├── SourceDenied              EACCES     403 that a refreshed URL does not cure
    ├── ContentChanged            ESTALE     not the bytes this handle was opened on
    ├── Interrupted               EINTR      the waiting process was killed, or we are stopping
    ├── DeadlineExceeded          ETIMEDOUT  4
    │   └── FastFail              ETIMEDOUT  4   at once, for a process that scans
    ├── RemoteUnavailable         EIO        4   reset, silent, 5xx: retries spent
    │   ├── HostUnreachable       EIO        4   no connection: refused, no route, DNS, TLS
    │   │   ├── LastingFailure    EIO        4   the same, and the next attempt would fail too
    │   │   └── CircuitOpen       EIO        4   the same a moment ago: not tried again yet
    │   ├── AnswerTimedOut        EIO        4   connected, and no answer within the limit; 504
    │   ├── HostBusy              EIO        4   too many requests wait for its answers already
    │   └── RateLimited           ETIMEDOUT  4   429; carries ``retry_after_s``
    ├── CredentialsRefused        EACCES     3
    │   └── ClockSkewed           EACCES     3   our ``expires`` was already past for the server
    ├── ProtocolViolation         EIO        1   HTML for JSON, a URL that is none …
    │   └── InvalidRangeResponse  EIO        1   a source host's: place, length … are not certain
    │       └── RangesUnsupported EIO        1   it sends whole sources, and is known for it
    ├── SettingsError             EINVAL     2
    ├── CacheUnusable             EIO        2   the disk cache's folder; the mount goes on without
    ├── FuseUnusable              EIO        5   no libfuse, no /dev/fuse, bad mountpoint …
    └── CommandFailed             EIO            exits with the code of the error behind it

No message ever holds a secret or a signed URL: name assets by embed code, hosts by host name.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class BacklotError(Exception):
    """The base class; ``str()`` is one sentence for a terminal or a log line.

    :cvar errno: errno of a FUSE operation that ends with this error.
    :cvar quiet: the reason is in the log already; one line per occurrence would flood it.
    :cvar exit_code: exit code of a command that ends with this error.
    :cvar remedy: what to do, unless the sentence itself says it after a semicolon.
    :cvar transient: whether another attempt may succeed; `http.backoff` makes one.
    """

    errno: ClassVar[int] = errno.EIO
    transient: ClassVar[bool] = False
    quiet: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1
    remedy: ClassVar[str] = ""

    def advice(self) -> str:
        """The line for the user of a command: what happened; what to do."""
        sentence = str(self)
        if not self.remedy or "; " in sentence:
            return sentence
        return f"{sentence.rstrip('.')}; {self.remedy}"


class NoSuchEntry(BacklotError):
    """No file or folder has this path."""

    errno = errno.ENOENT


class NotADirectory(BacklotError):
    """A folder is needed, but the path names a file."""

    errno = errno.ENOTDIR


class IsADirectory(BacklotError):
    """A file is needed, but the path names a folder."""

    errno = errno.EISDIR


class BadHandle(BacklotError):
    """The file handle is not open."""

    errno = errno.EBADF


class ReadOnlyFilesystem(BacklotError):
    """A program tried to write."""

    errno = errno.EROFS


class NotSupported(BacklotError):
    """The operation is not supported, such as extended attributes outside ``user.*``."""

    errno = errno.ENOTSUP


class NoAttribute(BacklotError):
    """The asset does not have this ``user.*`` attribute."""

    errno = errno.ENODATA


class SizeUnknown(BacklotError):
    """The size of a file is not known yet, and the program does not wait for it."""

    errno = errno.EAGAIN
    quiet = True


class SourceMissing(BacklotError):
    """The API names no source file for the asset, or gives a null URL."""

    errno = errno.ENODATA


class SourceGone(BacklotError):
    """The source host answers 404, also for a fresh URL."""

    errno = errno.ENOENT


class SourceDenied(BacklotError):
    """The source host answers 403, also for a fresh URL."""

    errno = errno.EACCES


class ContentChanged(BacklotError):
    """The source is no longer the version this handle was opened on."""

    errno = errno.ESTALE


class Interrupted(BacklotError):
    """The waiting process was killed, or the mount is being taken down."""

    errno = errno.EINTR


class DeadlineExceeded(BacklotError):
    """An operation did not end within its deadline."""

    errno = errno.ETIMEDOUT
    exit_code = 4


class FastFail(DeadlineExceeded):
    """A process whose last operations all timed out fails at once."""

    quiet = True


class RemoteUnavailable(BacklotError):
    """A host could not be reached or kept failing: refused, reset, DNS, TLS, 5xx.

    :ivar status: the last HTTP status, or None when there was no answer.
    :ivar retry_after_s: seconds until the host may be asked again; None when nothing says so.
    """

    exit_code = 4
    remedy = "is the address right, and the server up?"
    transient = True

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class HostUnreachable(RemoteUnavailable):
    """No connection to a host: refused, no route, DNS, TLS, or not in time."""


class LastingFailure(HostUnreachable):
    """No connection, and another attempt will not change that: bad certificate, unknown name."""

    transient = False


class CircuitOpen(HostUnreachable):
    """No connection was tried, as the last ones failed and the next is due in a moment."""


class HostBusy(RemoteUnavailable):
    """A source host leaves so many requests waiting that no other is sent to it now."""

    transient = False


class AnswerTimedOut(RemoteUnavailable):
    """The API accepted the request and did not answer in time; or a gateway's 504."""

    remedy = "is the address right? if this API is slow, raise --api-timeout"


class RateLimited(RemoteUnavailable):
    """The API's credits are used up (429), and waiting for more took too long."""

    errno = errno.ETIMEDOUT
    remedy = "try again then, or see what else uses the account"
    transient = False

    def __init__(self, message: str, *, retry_after_s: float | None) -> None:
        super().__init__(message, status=429, retry_after_s=retry_after_s)


class CredentialsRefused(BacklotError):
    """The API does not accept the key or the signature (401), or the key lacks the right (403)."""

    errno = errno.EACCES
    exit_code = 3
    remedy = "compare address, key and secret with what its owner gave you"


class ClockSkewed(CredentialsRefused):
    """The API takes a new request for expired: this machine's clock is behind."""

    remedy = "set it: timedatectl set-ntp true"


class ProtocolViolation(BacklotError):
    """An answer does not follow the protocol; nothing of it was used."""


class InvalidRangeResponse(ProtocolViolation):
    """A source host answered a ranged GET, and its bytes are not certain to be the wanted ones."""

    transient = True


class RangesUnsupported(InvalidRangeResponse):
    """A source host always answers a range with the whole object, and the range is far inside."""

    transient = False


class SettingsError(BacklotError):
    """A setting is missing, malformed or unsafe; the message says what to do."""

    errno = errno.EINVAL
    exit_code = 2


class CacheUnusable(BacklotError):
    """The folder of the disk cache cannot be used; the message says why."""

    exit_code = 2


class FuseUnusable(BacklotError):
    """The mount cannot be made here; the message says what to do."""

    exit_code = 5


class CommandFailed(BacklotError):
    """A command failed with the exit code of the error behind it."""

    def __init__(self, message: str, exit_code: int = BacklotError.exit_code) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # per instance, unlike its siblings


def install_extra(name: str) -> str:
    """How to install an optional part, for both ways of installing backlotfs."""
    return f"pip install 'backlotfs[{name}]', or in the checkout: sudo make install EXTRAS={name}"
