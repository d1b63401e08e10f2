# SPDX-License-Identifier: Apache-2.0
"""Programs that need a screen, a server or a player, on a real mount: ``make test-desktop``.

No other run collects this folder (norecursedirs in pyproject.toml), so ``make test`` installs none
of them.
"""
