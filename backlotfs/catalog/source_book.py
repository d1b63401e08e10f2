"""What probes found out about each source, and what has since come into doubt."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from backlotfs.clock import Clock
from backlotfs.errors import BacklotError, SourceDenied, SourceGone, SourceMissing
from backlotfs.remote.identity import SourceIdentity

#: A source that cannot be had is asked for again after this long …
UNAVAILABLE_TTL_S = 60.0
#: … and one whose probe failed for the moment after this long: no storm from a scanning program.
FAILED_TTL_S = 2.0

#: Errors that say "there is no such file", not "try again".
_DEFINITE = (SourceMissing, SourceGone, SourceDenied)


@dataclass(frozen=True, slots=True)
class KnownSource:
    """A probed source.

    :ivar mtime_s: what ``stat`` shows, seconds since the epoch.
    :ivar verified: False once something hints that the source may have been replaced; its size
        and time are still shown, but no cache is trusted before the next probe.
    :ivar replaced_at: when this version was found in another's place, on the monotonic clock.
    """

    identity: SourceIdentity
    mtime_s: int
    verified: bool
    replaced_at: float = -math.inf


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BacklotError
    until: float  # monotonic


class SourceBook:
    """Identities by embed code. Any thread may call it; listeners run on the calling thread."""

    def __init__(
        self,
        clock: Clock,
        changed: Callable[[str, SourceIdentity | None], None],
        *,
        settle_s: float,
    ) -> None:
        """Start empty.

        :param changed: told when a known source turns out to be another version (None: unseen).
        :param settle_s: how long the kernel may believe attributes it was given before.
        """
        self._clock = clock
        self._changed = changed
        self._lock = threading.Lock()
        self._known: dict[str, KnownSource] = {}
        self._settle_s = settle_s
        self._failures: dict[str, _Failure] = {}

    def known(self, embed_code: str) -> KnownSource | None:
        """What is known, verified or not."""
        return self._known.get(embed_code)

    def settling(self, known: KnownSource) -> bool:
        """Whether the kernel may still believe the size of the version before this one."""
        return self._clock.monotonic() - known.replaced_at <= self._settle_s

    def failure(self, embed_code: str) -> BacklotError | None:
        """Why the last probe failed, if that is recent enough not to ask again."""
        failure = self._failures.get(embed_code)
        if failure is None or failure.until <= self._clock.monotonic():
            return None
        return failure.error

    def unavailable(self, embed_code: str) -> bool:
        """Whether the last probe said that there is no source to be had."""
        failure = self._failures.get(embed_code)
        return failure is not None and isinstance(failure.error, _DEFINITE)

    def found(self, identity: SourceIdentity, updated_at_s: int) -> KnownSource:
        """A probe succeeded: publish what it found.

        :param updated_at_s: of the asset's record; its time stands in where ``Last-Modified``
            is absent, or did not move although the bytes did.
        """
        code = identity.embed_code
        with self._lock:
            before = self._known.get(code)
            mtime_s = identity.last_modified_s
            replaced = before is not None and before.identity.validator != identity.validator
            replaced_at = -math.inf
            if before is not None and not replaced:
                mtime_s, replaced_at = before.mtime_s, before.replaced_at
            elif before is not None:
                replaced_at = self._clock.monotonic()
                if before.identity.last_modified == identity.last_modified:
                    mtime_s = None
            known = KnownSource(
                identity, updated_at_s if mtime_s is None else mtime_s, True, replaced_at
            )
            self._known[code] = known
            self._failures.pop(code, None)
        if replaced:
            self._changed(code, identity)
        return known

    def failed(self, embed_code: str, error: BacklotError) -> None:
        """A probe failed: remember it for a while."""
        definite = isinstance(error, _DEFINITE)
        ttl = UNAVAILABLE_TTL_S if definite else FAILED_TTL_S
        with self._lock:
            self._failures[embed_code] = _Failure(error, self._clock.monotonic() + ttl)
            gone = self._known.pop(embed_code, None) if definite else None
        if gone is not None:
            self._changed(embed_code, None)

    def doubt(self, embed_code: str) -> None:
        """The source may have been replaced: the next open asks before it trusts."""
        with self._lock:
            known = self._known.get(embed_code)
            if known is not None and known.verified:
                self._known[embed_code] = replace(known, verified=False)
            self._failures.pop(embed_code, None)

    def contradicted(self, identity: SourceIdentity) -> None:
        """The source host has another version than this one: a transfer found out."""
        known = self._known.get(identity.embed_code)
        if known is not None and known.identity.validator == identity.validator:
            self.doubt(identity.embed_code)
            self._changed(identity.embed_code, None)

    def forget(self, embed_code: str) -> None:
        """The asset was deleted."""
        with self._lock:
            gone = self._known.pop(embed_code, None)
            self._failures.pop(embed_code, None)
        if gone is not None:
            self._changed(embed_code, None)

    def total_size(self) -> int:
        """Bytes of all sources whose size is known."""
        return sum(known.identity.size for known in list(self._known.values()))
