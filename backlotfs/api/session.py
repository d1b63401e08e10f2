# SPDX-License-Identifier: Apache-2.0
"""The connections to the API, made by the first call.

`requests` takes 0.1 s to import. A mount with a saved listing needs it only after its start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from backlotfs.concurrency.clock import Clock
from backlotfs.config.time_limits import TimeLimits

if TYPE_CHECKING:
    import requests

    from backlotfs.api.transport import Transport


class ApiSession:
    """A session of `requests` that the first call makes. Any thread may use it."""

    def __init__(self, make: Callable[[], requests.Session]) -> None:
        """Import and connect nothing yet. :param make: called by the first `transport`."""
        self._make = make
        self._making = threading.Lock()
        self._session: requests.Session | None = None

    def transport(self, clock: Clock, limits: TimeLimits) -> Transport:
        """Calls over this session, with limits of time."""
        from backlotfs.api.transport import Transport  # late: it imports `requests`

        with self._making:
            if self._session is None:
                self._session = self._make()
            return Transport(self._session, clock, limits)

    def close(self) -> None:
        """Close the idle connections; running calls end by themselves."""
        with self._making:
            if self._session is not None:
                self._session.close()
