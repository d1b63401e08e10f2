"""Minting signed source URLs, and declaring all of them dead at once."""

from __future__ import annotations

import math
from threading import Lock

from backlotfs.emulator.records import EmulatedAsset
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.source_signing import signed_url


class SourceUrls:
    """Hands out URLs and judges their ``Expires``. Thread-safe.

    ``expire_all`` keeps no list: it remembers the latest ``Expires`` handed out, counts everything
    up to it as past, and gives later URLs a later one.
    """

    def __init__(self, settings: EmulatorSettings) -> None:
        """Nothing is handed out yet."""
        self._settings = settings
        self._lock = Lock()
        self._latest = 0
        self._dead_through = 0

    def mint(self, asset: EmulatedAsset, base_url: str) -> str:
        """A fresh URL of the asset's source; a new ``Expires`` is taken from the clock each time.

        :param base_url: prefix for the URL, unless the settings name another.
        """
        settings = self._settings
        with self._lock:
            expires = math.ceil(settings.clock() + settings.url_lifetime_s)
            expires = max(expires, self._dead_through + 1)
            self._latest = max(self._latest, expires)
        return signed_url(
            settings.source_base_url or base_url,
            asset.object_key,
            expires,
            key_id=settings.source_key_id,
            secret=settings.source_secret,
            order=settings.query_order,
        )

    def expire_all(self) -> None:
        """Every URL handed out until now counts as expired."""
        with self._lock:
            self._dead_through = max(self._dead_through, self._latest)

    def is_expired(self, expires: int) -> bool:
        """Whether a URL with this ``Expires`` is past its time."""
        with self._lock:
            return expires <= self._dead_through or self._settings.clock() > expires
