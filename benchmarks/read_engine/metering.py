# SPDX-License-Identifier: Apache-2.0
"""What a stretch of work costs: time, the mount's CPU and memory, and bytes of the origin."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from benchmarks.mounts import MountProcess
from benchmarks.origin import Answer, Origin

_SAMPLE_S = 0.5


class Meter:
    """Measures while it is entered; then it has the numbers.

    :ivar wall_s: of the work.
    :ivar cpu_s: of the mount's processes, until the origin is quiet.
    :ivar pss_bytes: the highest sum of their shares of memory, sampled.
    :ivar answers: what the origin sent meanwhile.
    """

    def __init__(self, mount: MountProcess, origin: Origin) -> None:
        self.wall_s = 0.0
        self.cpu_s = 0.0
        self.pss_bytes = 0
        self.answers: list[Answer] = []
        self._mount = mount
        self._origin = origin
        self._mark = 0
        self._start_s = 0.0
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample)

    @property
    def fetched_bytes(self) -> int:
        """Bytes of bodies that the origin sent."""
        return sum(answer.sent_bytes for answer in self.answers)

    def values(self, asked_bytes: int) -> dict[str, float]:
        """Numbers that every case has; see `metrics`.

        :param asked_bytes: what the application received.
        """
        return {
            "rate_mb_s": asked_bytes / 1e6 / self.wall_s,
            "cpu_s_per_gb": self.cpu_s / (asked_bytes / 1e9),
            "pss_mb": self.pss_bytes / 1e6,
            "fetched_ratio": self.fetched_bytes / asked_bytes,
        }

    def __enter__(self) -> Self:
        """Begin."""
        self._mark = self._origin.mark()
        self.cpu_s = -self._mount.cpu_s()
        self._sampler.start()
        self._start_s = time.monotonic()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """End; waits until the origin is quiet, so that what was fetched for nothing counts."""
        self.wall_s = time.monotonic() - self._start_s
        self._over.set()
        self._sampler.join()
        if error is None:
            self.answers = self._origin.answers_since(self._mark)
            self.cpu_s += self._mount.cpu_s()
            self.pss_bytes = max(self.pss_bytes, self._mount.pss_bytes())

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            self.pss_bytes = max(self.pss_bytes, self._mount.pss_bytes())
