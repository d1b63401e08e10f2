# SPDX-License-Identifier: Apache-2.0
"""Exports files of a mount into a folder: each is complete and verified, or not there at all.

`destination` opens DEST and everything below it, and follows no link; it also has the workspace, a
private folder in DEST for unfinished files. `file_copy` reads a file once, front to back, into
a *part* in the workspace. The part is synced, read back from the disk and compared, its digest goes
to the journal of the `manifest`, and only then does it get its final name. So under a final name
there is always a whole file, and every exported file has a digest. `exporter` does that for
many files, `verifying` checks a copy against its manifest.

Nothing here knows what a mount is: only files. Threads share the manifest and the workspace, which
have locks; everything else belongs to one file and so to one thread.
"""
