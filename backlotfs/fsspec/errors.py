# SPDX-License-Identifier: Apache-2.0
"""Errors of the library as the exceptions that users of fsspec expect."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from backlotfs.errors import BacklotError, NoSuchEntry, SettingsError


def as_exception(error: BacklotError) -> Exception:
    """The `OSError` with the errno that a mount would return; a `ValueError` for bad settings.

    The errno decides the class: `FileNotFoundError`, `PermissionError` or `TimeoutError`. The
    exception can be pickled. It has no cause, because errors of other packages may contain URLs.
    """
    if isinstance(error, SettingsError):
        return ValueError(error.advice())
    return OSError(error.errno, error.advice())


def no_such_file(path: str) -> FileNotFoundError:
    """The exception for a path that names nothing."""
    return FileNotFoundError(NoSuchEntry.errno, os.strerror(NoSuchEntry.errno), path)


@contextlib.contextmanager
def translated(path: str = "") -> Iterator[None]:
    """Within the block, convert the library's errors: see `as_exception` and `no_such_file`."""
    try:
        yield
    except NoSuchEntry as error:
        raise (no_such_file(path) if path else as_exception(error)) from None
    except BacklotError as error:
        raise as_exception(error) from None
