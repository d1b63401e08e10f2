# SPDX-License-Identifier: Apache-2.0
"""Open files: what each handle was opened on, how a read of it is served (`reader`), and which
reads failed lately (`recent_errors`).

A read finds its handle, asks the block loader (`fetch`) for the wanted blocks, tells the prefetcher
(`prefetch`) what was read, and waits for the blocks if they are not there yet.
"""
