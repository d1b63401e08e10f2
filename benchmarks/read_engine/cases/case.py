# SPDX-License-Identifier: Apache-2.0
"""What a case is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from benchmarks.origin import REMOTE, OriginProfile
from benchmarks.read_engine.arena import Arena, Sources
from benchmarks.read_engine.contestants import Contestant
from benchmarks.read_engine.targets import Target


class Case(ABC):
    """One thing an application does.

    :ivar name: for the command line and the file of its results.
    :ivar title: for the page.
    :ivar contestants: ours is the first.
    :ivar shown: the metric that its plot shows.
    """

    name: str
    title: str
    sources: Sources
    contestants: tuple[Contestant, ...]
    targets: tuple[Target, ...]
    shown: str
    profile: OriginProfile = REMOTE

    @abstractmethod
    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """One round of one contestant: on a mount of its own, numbers by names of `metrics`.

        :raises SystemExit: an answer is wrong; then its time means nothing.
        """
