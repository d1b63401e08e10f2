"""How property tests run."""

from __future__ import annotations

from hypothesis import settings

# A busy machine makes any example slow: pytest's own timeout is the limit.
settings.register_profile("backlotfs", deadline=None)
settings.load_profile("backlotfs")
