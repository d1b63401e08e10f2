# SPDX-License-Identifier: Apache-2.0
"""Converts every error of an operation to an errno.

fusepy's wrapper compares ``e.errno > 0`` on every OSError: for a `requests` exception, which *is*
an OSError with errno None, that kills the callback and the application sees a meaningless value.
So nothing but an OSError with a positive errno leaves a decorated method.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from backlotfs.errors import BacklotError
from backlotfs.log import events

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

#: Errors that are normal in use and not logged.
_ORDINARY = frozenset(
    {
        errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.ENOTSUP,
        errno.ENODATA, errno.EINTR, errno.EBADF, errno.EINVAL, errno.ENOTTY, errno.ERANGE,
    }
)  # fmt: skip


def os_error(number: int) -> OSError:
    """An OSError that fusepy hands to the kernel as ``-number``."""
    return OSError(number, os.strerror(number))


def errno_of(operation: str, error: Exception) -> int:
    """The errno for an error; logs the error unless it is an ordinary one."""
    if isinstance(error, BacklotError):
        level = logging.DEBUG if error.quiet or error.errno in _ORDINARY else logging.WARNING
        _tell(operation, error.errno, str(error), level)
        return error.errno
    if isinstance(error, OSError):
        number = error.errno if isinstance(error.errno, int) and error.errno > 0 else errno.EIO
        level = logging.DEBUG if number in _ORDINARY else logging.WARNING
        _tell(operation, number, os.strerror(number), level)
        return number
    # The type only: the text of a foreign exception may quote a signed URL.
    events.OPERATION_CRASHED.log(log, operation=operation, kind=type(error).__name__)
    log.debug("traceback of the above", exc_info=error)
    return errno.EIO


def _tell(operation: str, number: int, reason: str, level: int) -> None:
    name = errno.errorcode.get(number, str(number))
    events.OPERATION_FAILED.log(log, at=level, operation=operation, errno=name, reason=reason)


def errno_boundary(operation: Callable[P, R]) -> Callable[P, R]:
    """Wrap a FUSE operation so that it raises only OSErrors with a positive errno."""

    @functools.wraps(operation)
    def bounded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return operation(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # nothing else may leave
            raise os_error(errno_of(operation.__name__, error)) from None

    return bounded
