"""Brings blocks of sources from their hosts.

`loader.BlockLoader` finds a wanted block in memory or on disk (`cache`), joins a fetch in flight,
or starts one: a `BlockFetch`, queued in `scheduler.FetchScheduler`, which runs fetches for readers
before prefetches, and as many at once as the host can use (`hosts`). A fetch that is late is hedged
as `hedging` allows it. The application's side of a read is a `PendingRead`.

Threads and locks. The kernel's request threads call in and only wait
(`concurrency.interruptible_wait`); the worker threads of the scheduler do all network I/O. A
lock is held for dictionary work only, never across I/O or a callback. With the loader's lock held,
those of the hedge watch and of the hosts may be taken; with the scheduler's, that of the hosts. A
block is stored before the reads that wait for it are told. A failed prefetch is counted and
forgotten: a reader that did not ask for that block never sees the failure.
"""
