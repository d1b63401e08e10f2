"""Blocks that have been fetched: in memory (`block_cache`, `block_pool`) and on disk (`disk`).

A block is named by the version of its source and its number (`block_key`), so a cache never has to
be invalidated for correctness, only for room. `admission` decides which blocks are written to the
disk, `pins` which of them stay there.
"""
