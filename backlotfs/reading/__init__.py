"""Bytes for open files.

One read, top to bottom: `reader.SourceReader.read` finds the handle and takes the wanted blocks
from `block_store.BlockStore`, which finds them in the `block_cache.BlockCache`, joins a
`transfer.BlockTransfer` under way, or starts one through the `fetch_queue.FetchQueue`. Before it
waits, it asks the handle's `read_plan.ReadPlanner` what lies ahead and has that fetched too. The
planner, the cache and the fetcher are reached through the small protocols that their users declare,
so each can be replaced alone.

Threads and locks. The kernel's request threads call in and only wait (`backlotfs.waiting`); the
queue's worker threads do all network I/O. `HandleTable`, `MemoryBlockCache`, `BlockStore` and
`FetchQueue` each own one private lock, held for dictionary work only: never across I/O, a callback
or another of these locks. A `FileHandle` has a lock for its planner. A block is stored before its
future is resolved, and a failed prefetch is counted and forgotten: never cached, never seen by a
reader that did not ask for that block.
"""
