# SPDX-License-Identifier: Apache-2.0
"""Every error of backlotfs, with the errno that an application gets, and the exit code.

::

    BacklotError                  EIO        1
    ├── NoSuchEntry               ENOENT
    ├── NotADirectory             ENOTDIR
    ├── IsADirectory              EISDIR
    ├── BadHandle                 EBADF
    ├── ReadOnlyFilesystem        EROFS
    ├── NotSupported              ENOTSUP    xattr names outside ``user.*``
    ├── NoAttribute               ENODATA    an xattr the asset does not have
    ├── SizeUnknown               EAGAIN     no size yet, and the caller does not wait for it
    ├── SourceMissing             ENODATA    the asset has no source, or a null URL
    ├── SourceGone                ENOENT     no object at the source URL (404, 410)
    ├── SourceDenied              EACCES     403 or 401, also for a new URL
    ├── ContentChanged            ESTALE     the source is another version than the open one
    ├── Interrupted               EINTR      the waiting process was killed, or the mount ends
    ├── DeadlineExceeded          ETIMEDOUT  4
    │   └── FastFail              ETIMEDOUT  4   without a wait, see `kernel.deadlines`
    ├── RemoteUnavailable         EIO        4   reset, no answer or 5xx, after all retries
    │   ├── HostUnreachable       EIO        4   no connection: refused, no route, DNS, TLS
    │   │   ├── LastingFailure    EIO        4   no connection; another attempt would fail too
    │   │   └── CircuitOpen       EIO        4   no connection lately; not tried again yet
    │   ├── AnswerTimedOut        EIO        4   connected, but no answer within the limit; 504
    │   ├── HostBusy              EIO        4   too many requests already wait for this host
    │   └── RateLimited           ETIMEDOUT  4   429; has ``retry_after_s``
    ├── CredentialsRefused        EACCES     3
    │   └── ClockSkewed           EACCES     3   a new ``expires`` is past by the server's clock
    ├── ProtocolViolation         EIO        1   HTML instead of JSON, an invalid URL …
    │   └── InvalidRangeResponse  EIO        1   perhaps other bytes than the requested range
    │       └── RangesUnsupported EIO        1   the host always sends whole sources
    ├── SettingsError             EINVAL     2
    ├── CacheUnusable             EIO        2   the folder of the disk cache; mounts do without it
    │   └── CacheInUse            EIO        2   another process has locked this folder
    ├── FuseUnusable              EIO        5   no libfuse, no /dev/fuse, bad mountpoint …
    └── CommandFailed             EIO            has the exit code of the error that caused it

No message contains a secret or a signed URL: messages name assets by their embed codes, and hosts
by their names.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class BacklotError(Exception):
    """The base class; ``str()`` is one sentence for a terminal or a log line.

    :cvar errno: errno of a FUSE operation that ends with this error.
    :cvar quiet: whether occurrences are logged at debug only, because they can be very many.
    :cvar exit_code: exit code of a command that ends with this error.
    :cvar remedy: what to do; not used if the sentence itself says so after a semicolon.
    :cvar transient: whether another attempt may succeed; if so, `http.backoff` makes one.
    """

    errno: ClassVar[int] = errno.EIO
    transient: ClassVar[bool] = False
    quiet: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1
    remedy: ClassVar[str] = ""

    def advice(self) -> str:
        """The line for the user of a command: what happened, a semicolon, and what to do."""
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
    """The operation is not supported: for example, an extended attribute outside ``user.*``."""

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
    """The source host answers 404 or 410, also for a new URL."""

    errno = errno.ENOENT


class SourceDenied(BacklotError):
    """The source host answers 403 or 401, also for a new URL."""

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
    """An operation fails without a wait, because it would probably time out or too many wait.

    The last waits of its process all timed out, or the number of waiting operations is at its
    limit.
    """

    quiet = True


class RemoteUnavailable(BacklotError):
    """A host could not be reached or failed at each attempt: refused, reset, DNS, TLS, 5xx.

    :ivar status: the last HTTP status; None: there was no answer.
    :ivar retry_after_s: seconds until the host may be asked again; None: not known.
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
    """No connection to a host could be made: refused, no route, DNS, TLS, or time limit."""


class LastingFailure(HostUnreachable):
    """No connection, and another attempt would fail too: bad certificate, unknown name."""

    transient = False


class CircuitOpen(HostUnreachable):
    """No connection was tried: the last attempts failed, and the next one is due a little later."""


class HostBusy(RemoteUnavailable):
    """So many requests wait for a source host that no further one is sent to it now."""

    transient = False


class AnswerTimedOut(RemoteUnavailable):
    """The API was reached but did not answer in time, or a gateway answered 504."""

    remedy = "is the address right? if this API is slow, raise --api-timeout"


class RateLimited(RemoteUnavailable):
    """The API's credits are used up (429), and the call got none within its time limit."""

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
    """The API treats a new request as expired, because this machine's clock is wrong."""

    remedy = "set it: timedatectl set-ntp true"


class ProtocolViolation(BacklotError):
    """An answer does not follow the protocol; no part of the answer was used."""


class InvalidRangeResponse(ProtocolViolation):
    """A source host answered a GET of a range, but perhaps with other bytes than the range."""

    transient = True


class RangesUnsupported(InvalidRangeResponse):
    """A source host always sends the whole object, and the range starts far from its beginning."""

    transient = False


class SettingsError(BacklotError):
    """A setting is missing, malformed or unsafe; the message says what to do."""

    errno = errno.EINVAL
    exit_code = 2


class CacheUnusable(BacklotError):
    """The folder of the disk cache cannot be used; the message contains the reason."""

    exit_code = 2


class CacheInUse(CacheUnusable):
    """The folder of the disk cache is locked by another process.

    :ivar holder: what that process wrote into the lock file; see `LockedDirectory.name_holder`.
    """

    def __init__(self, message: str, holder: str = "") -> None:
        """Keep the text of the lock file."""
        super().__init__(message)
        self.holder = holder


class FuseUnusable(BacklotError):
    """Nothing can be mounted here; the message says what to do."""

    exit_code = 5


class CommandFailed(BacklotError):
    """A command failed. Its exit code is that of the error that caused the failure."""

    def __init__(self, message: str, exit_code: int = BacklotError.exit_code) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # here an instance has its own


def install_extra(name: str) -> str:
    """The commands that install an extra: for an installation by pip, and for one by make."""
    return f"pip install 'backlotfs[{name}]', or in the checkout: sudo make install EXTRAS={name}"
