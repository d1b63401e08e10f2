"""Blocks on disk: what a mount has read is there again after a restart.

**On disk.** One folder per library with three files and a lock. `slab` is an array of slots of one
block each. `index` is a header and an array of 40-byte rows, row *n* describing slot *n*: whose
block it holds, its length, its checksum, when it was last used, and the next slot of its hash
chain. `heads` is where the chains begin; it can be made from the rows. `pins` names the sources
that stay.

**Why this and not a library.** What is asked for at once is a hard limit, LRU by block, checksums,
an open in no time, and reads at the speed of memory.

- *diskcache* keeps a row of SQLite per block and looks into it (and writes it, for LRU) at each
  read, before the first byte; values come as new bytes objects; its limit is checked after the
  write and counts values, not what the file system uses; no checksums.
- *A sparse file per source and an index in SQLite* needs hole punching to let a block go (not every
  file system has it), two files for each of 100 000 sources, and either SQLite in the way of each
  read or half a million Python objects at the start (a plain dictionary of 500 000 slots took
  0.1 s and 100 MB here; the rows as they are take 20 MB).
- *Fixed slots* make the limit exact: a slab of so many slots can never be larger. A block that goes
  leaves its place to the one that comes, and what was read in order lies in order, so neighbours
  come back by one `preadv`. The cost: the short last block of a file takes a whole slot.

**Why nothing needs repair.** A block is served only if its bytes, hashed with a seed made of the
source's embed code, its validator and the block's number, give the checksum of its row. So a torn
block, a torn row, a row that describes another block's slot, a flipped bit anywhere and a chain
that leads astray all end the same way: a miss. Nothing is believed because a shutdown was clean, so
there is no mark for that, nothing is synced to the disk, and opening is reading. Rows and heads are
in ordinary memory, not mapped: a full or failing disk then shows as an `OSError`, where a mapped
page would end the process by SIGBUS.

**Threads.** `tier.DiskTier` may be called from any thread. One lock guards the rows; it is never
held while the disk works. One daemon thread, started by the first `put`, writes. A reader checks
the checksum after it has read without the lock, and so sees when its slot was given away meanwhile.
"""
