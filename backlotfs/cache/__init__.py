"""Blocks that have been fetched: in memory (`memory`) and on disk (`disk`).

The key of a block holds the version of its source and its number, so a cache is never invalidated
for correctness, only for room. `admission` decides which blocks are written to the disk, `pins`
which of them stay there.
"""
