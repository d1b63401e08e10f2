# SPDX-License-Identifier: Apache-2.0
"""Brings blocks of sources from their hosts.

`loader.BlockLoader` finds a wanted block in memory or on disk (`cache`), joins a fetch in flight,
or starts one: a `BlockFetch`. `hosts.FetchScheduler` runs fetches that readers wait for before
prefetches, and as many at once as the host can use. If a fetch is late and `hedging` allows it, a
second GET asks for the same blocks. A `PendingRead` is one read of an application.

Threads and locks. The threads that serve the kernel do no network I/O; the worker threads of the
scheduler do all of it. No lock is held during I/O or a callback. A thread that has the loader's
lock may take the locks of the hedge watch and of the hosts; a thread that has the scheduler's lock
may take the lock of the hosts. A block is stored before the reads that wait for it are completed.
The failure of a prefetch fails no read, except if the source was replaced (`ContentChanged`).
"""
