"""Open files: what each handle was opened on, and how a read of it is served.

`reader.SourceReader` is the face towards the kernel adapter: open, read, flush, release. A read
finds its handle, asks the block loader (`fetch`) for the wanted blocks, tells the prefetcher
(`prefetch`) what was read, and waits for the blocks if they are not there yet.
"""
