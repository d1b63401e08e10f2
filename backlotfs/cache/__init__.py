# SPDX-License-Identifier: Apache-2.0
"""The caches of fetched blocks: in memory (`memory`) and on disk (`disk`).

The key of a block contains the version of its source, so a replaced source needs no invalidation.
`admission` decides which blocks are written to the disk. `pins` decides which blocks are not
evicted from it.
"""
