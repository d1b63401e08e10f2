"""When faults strike: rules per route, asset, range, probability and count.

Thread contract: rules may be added, released and removed from any thread while requests run.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from backlotfs.emulator.faults import Fault
from backlotfs.emulator.routing import ROUTES


class FaultRule:
    """A fault and when it strikes; made by ``FaultPlan.add``.

    A request *fits* by route, asset and range start. Of those that fit, the first ``skip`` are
    spared; the next are struck with ``probability``; after ``times`` strikes the rule is spent.
    """

    def __init__(
        self,
        fault: Fault,
        *,
        route: str,
        embed_code: str | None,
        offsets: tuple[int, int] | None,
        probability: float,
        skip: int,
        times: int | None,
        chance: random.Random,
    ) -> None:
        """See ``FaultPlan.add``."""
        self.fault = fault
        self._route = route
        self._embed_code = embed_code
        self._offsets = offsets
        self._probability = probability
        self._skip = skip
        self._times = times
        self._chance = chance
        self._lock = Lock()
        self._hits = 0
        self._over = False
        self._wakes: set[Callable[[], object]] = set()

    @property
    def hits(self) -> int:
        """How many requests it has struck."""
        with self._lock:
            return self._hits

    def release(self) -> None:
        """Strike no more, and let everything that waits in this rule go on at once."""
        with self._lock:
            self._over = True
            wakes, self._wakes = self._wakes, set()
        for wake in wakes:
            wake()

    def strikes(self, route: str, embed_code: str | None, start: int | None) -> bool:
        """Whether the rule takes this request; counts it when it does."""
        if self._route not in ("*", route):
            return False
        if self._embed_code is not None and self._embed_code != embed_code:
            return False
        if self._offsets is not None and (
            start is None or not self._offsets[0] <= start < self._offsets[1]
        ):
            return False
        with self._lock:
            if self._over or (self._times is not None and self._hits >= self._times):
                return False
            if self._skip > 0:
                self._skip -= 1
                return False
            if self._probability < 1 and self._chance.random() >= self._probability:
                return False
            self._hits += 1
            return True

    async def wait(self, seconds: float | None) -> None:
        """Wait ``seconds`` (None: without end), or until the rule is released."""
        loop = asyncio.get_running_loop()
        released = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(released.set)

        with self._lock:
            if self._over:
                return
            self._wakes.add(wake)
        try:
            async with asyncio.timeout(seconds):
                await released.wait()
        except TimeoutError:
            pass  # that was the plan
        finally:
            with self._lock:
                self._wakes.discard(wake)


@dataclass(frozen=True, slots=True)
class FaultHit:
    """What the plan has for one request: delays, and at most one other rule."""

    delays: tuple[FaultRule, ...] = ()
    rule: FaultRule | None = None


class FaultPlan:
    """The rules of one emulator, in the order they were added. Thread-safe."""

    def __init__(self, *, seed: int = 0) -> None:
        """No faults; ``seed`` decides all probabilities."""
        self._lock = Lock()
        self._rules: list[FaultRule] = []
        self._chance = random.Random(seed)

    def add(
        self,
        fault: Fault,
        *,
        route: str = "*",
        embed_code: str | None = None,
        offsets: tuple[int, int] | None = None,
        probability: float = 1.0,
        skip: int = 0,
        times: int | None = None,
    ) -> FaultRule:
        """Script a fault. A request meets every delay that fits, and the first other rule.

        :param route: a route name (``source``, ``streams``, ``assets`` …) or ``*``.
        :param embed_code: only requests about this asset.
        :param offsets: only requests whose ``Range`` starts in this half-open span.
        :param probability: of striking a request that fits.
        :param skip: spare so many requests that fit, so ``skip=2, times=1`` is the third.
        :param times: strike so many and no more.
        :raises ValueError: for a route or probability that cannot be.
        """
        if route != "*" and route not in ROUTES:
            raise ValueError(f"there is no route {route!r}; there are: {', '.join(sorted(ROUTES))}")
        if not 0 <= probability <= 1:
            raise ValueError(f"a probability lies between 0 and 1: {probability}")
        rule = FaultRule(
            fault,
            route=route,
            embed_code=embed_code,
            offsets=offsets,
            probability=probability,
            skip=skip,
            times=times,
            chance=random.Random(self._chance.getrandbits(64)),
        )
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: FaultRule) -> None:
        """Release a rule and forget it; nothing happens when it is not in the plan."""
        with self._lock:
            if rule in self._rules:
                self._rules.remove(rule)
        rule.release()

    def clear(self) -> None:
        """Release and forget all rules."""
        with self._lock:
            rules, self._rules = self._rules, []
        for rule in rules:
            rule.release()

    def strike(self, route: str, embed_code: str | None, start: int | None) -> FaultHit:
        """What this request meets."""
        with self._lock:
            rules = tuple(self._rules)
        delays: list[FaultRule] = []
        other: FaultRule | None = None
        for rule in rules:
            is_delay = rule.fault.kind == "delay"
            if (is_delay or other is None) and rule.strikes(route, embed_code, start):
                if is_delay:
                    delays.append(rule)
                else:
                    other = rule
        return FaultHit(tuple(delays), other)

    @classmethod
    def from_json(cls, path: str | Path) -> FaultPlan:
        """A plan from a file.

        ::

            {"seed": 7, "rules": [
              {"fault": "status", "status": 503, "route": "streams", "probability": 0.05},
              {"fault": "reset", "at_byte": 65536, "route": "source", "skip": 2, "times": 1},
              {"fault": "stall", "at_byte": 0, "seconds": 5, "offsets": [0, 1048576]},
              {"fault": "delay", "seconds": 0.03}]}

        ``fault`` and its parameters are those of ``backlotfs.emulator.faults``; ``route``,
        ``embed_code``, ``offsets``, ``probability``, ``skip`` and ``times`` those of ``add``.

        :raises ValueError: when the file is not such a plan; one sentence.
        :raises OSError: when it cannot be read.
        """
        try:
            document: Any = json.loads(Path(path).read_text(encoding="utf-8"))
            plan = cls(seed=int(document.get("seed", 0)))
            for entry in document["rules"]:
                when = {name: entry[name] for name in _WHEN if name in entry}
                if "offsets" in when:
                    when["offsets"] = tuple(when["offsets"])
                what = {n: v for n, v in entry.items() if n != "fault" and n not in _WHEN}
                plan.add(Fault.of(entry["fault"], **what), **when)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        except (AttributeError, KeyError, OverflowError, RecursionError, TypeError) as error:
            raise ValueError(f"{path}: not a fault plan ({error!r})") from error
        return plan


_WHEN = ("route", "embed_code", "offsets", "probability", "skip", "times")
