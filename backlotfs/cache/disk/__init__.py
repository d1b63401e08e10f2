# SPDX-License-Identifier: Apache-2.0
"""The disk cache keeps blocks over restarts.

**On disk.** One folder per library. The blocks of partial versions are in three files. `slab` is an
array of slots of one block each. `index` is a header and an array of 40-byte rows. Row *n*
describes slot *n*: the source and number of its block, the block's length, checksum and last use,
and the next slot of its hash chain. `heads` has the first slot of each chain; this file can be
rebuilt from the rows. A complete version has a file of its own (`complete_files`). `pins` names the
versions that are not evicted.

**Why this and not a library.** The cache needs all of these at once: a hard limit, LRU by block,
checksums, a fast start, and reads at the speed of memory.

- *diskcache* keeps an SQLite row per block and reads it (and writes it, for LRU) at each read. It
  returns new bytes objects. It checks its limit only after a write, and counts the bytes of the
  values, not the disk space. It has no checksums.
- *A sparse file per source and an index in SQLite* needs hole punching to evict a block, which not
  every file system has, and two files for each of 100 000 sources. Each read either waits for
  SQLite, or needs half a million Python objects in memory (a dictionary of 500 000 slots took 0.1 s
  and 100 MB; these rows take 20 MB).
- *Fixed slots* make the limit exact. A new block takes the slot of an evicted one. Blocks that are
  read in order are stored in order, so one `preadv` reads several. The disadvantage: the short last
  block of a file takes a whole slot.

**Why nothing needs repair.** A block is served only if its checksum equals the one in its row. The
checksum is seeded with the source's embed code, its validator and the block's number. So a torn
block, a torn row, a row for another block than the slot has, a flipped bit and a wrong chain are
all misses. The slab does not depend on a clean shutdown: it has no mark for one, nothing of it is
synced to the disk, and it is opened by reading its files. Rows and heads are in ordinary memory,
not in a mapping of their files: a full or failing disk then causes an `OSError`, and does not end
the process by SIGBUS.

**Threads.** Any thread may call `tier.DiskTier`. One lock guards the rows; no disk I/O happens
under it. One daemon thread, started by the first `put`, writes blocks; another one makes the files
of complete versions. A reader reads a block without the lock and then verifies its checksum, so a
slot that was reused meanwhile is noticed.
"""
