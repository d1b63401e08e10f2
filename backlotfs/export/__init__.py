# SPDX-License-Identifier: Apache-2.0
"""Exports files of a mount into a folder: each file is complete and verified, or it is not there.

`destination` opens DEST and everything below it, and follows no link; it also has the workspace, a
private folder in DEST for unfinished files. `file_copy` reads a file once, from front to back, into
a *part* in the workspace. The part is synced, read back from the disk and compared. Its digest is
written to the journal of the `manifest`. Only after that does the part get its final name. So a
file with a final name is always whole, and every exported file has a digest. `exporter` does that
for many files, and `verifying` checks a copy against its manifest.

This package does not depend on the mount: it reads files. Threads share the manifest and the
workspace, which have locks; everything else belongs to one file, and is used by one thread.
"""
