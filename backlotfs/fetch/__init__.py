"""Brings blocks of sources from their hosts.

`loader.BlockLoader` finds a wanted block in memory or on disk (`cache`), joins a fetch in flight,
or starts one: a `BlockFetch`, queued in `scheduler.FetchScheduler`, which runs fetches for readers
before prefetches, and as many at once as the host can use (`hosts`). A fetch that is late is hedged
as `hedging` allows it. The application's side of a read is a `PendingRead`.

Threads and locks. The kernel's request threads call in and only wait
(`concurrency.interruptible_wait`); the worker threads of the scheduler do all network I/O. Each
class has at most one private lock, held for dictionary work only: never across I/O, a callback or
another of these locks. A block is stored before its future is resolved. A failed prefetch is
counted and forgotten: a reader that did not ask for that block never sees the failure.
"""
