"""The CDN host's cache: API answers by their exact URL, for five minutes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from backlotfs.emulator.http_types import Answer

KEPT_ANSWERS = 1000
KEPT_BYTES = 64 * 1024 * 1024


class CdnCache:
    """Successful answers by path and query as received. For one thread."""

    def __init__(self, lifetime_s: float, clock: Callable[[], float]) -> None:
        """Answers younger than ``lifetime_s`` seconds of ``clock`` are given again."""
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._bytes = 0

    def get(self, url: str) -> Answer | None:
        """The cached answer with its ``Age``; nothing is checked anew, ``expires`` neither."""
        stored, answer = self._answers.get(url, (0.0, None))
        age = self._clock() - stored
        if answer is None or not 0 <= age < self._lifetime_s:
            self._forget(url)
            return None
        return answer.with_headers(Age=str(int(age)), X_Cache="HIT")

    def put(self, url: str, answer: Answer) -> None:
        """Keep an answer, unless it is an error (whether those were kept is unknown)."""
        if answer.status == 200 and isinstance(answer.body, bytes):
            self._forget(url)
            self._answers[url] = (self._clock(), answer)
            self._bytes += len(url) + answer.length
            while len(self._answers) > KEPT_ANSWERS or self._bytes > KEPT_BYTES:
                self._forget(next(iter(self._answers)))

    def _forget(self, url: str) -> None:
        _, answer = self._answers.pop(url, (0.0, None))
        if answer is not None:
            self._bytes -= len(url) + answer.length
