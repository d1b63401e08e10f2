# SPDX-License-Identifier: Apache-2.0
"""Prefetch: what to fetch before the readers of a source need it. Pure; the clock is passed in.

`registry.PrefetcherRegistry` keeps one `planner.ReadPlanner` for each version of a source that is
open or was among the last ones opened, and shares the memory among them. A planner follows the
places that are being read, and decides which bytes to fetch ahead and how large the requests are.
`walk_planner.WalkPlanner` decides which files to fetch before they are opened.
"""
