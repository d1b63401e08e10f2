# SPDX-License-Identifier: Apache-2.0
"""Open files: the handles and their reads (`reader`), the prefetch of the files that a program
probably opens next (`walk_prefetch`), and the reads that failed lately (`recent_errors`).

A read finds its handle and asks the block loader (`fetch`) for the wanted blocks. It waits for the
blocks that are not in memory. What was read is reported to the prefetcher (`prefetch`) after the
answer, or while the read waits.
"""
