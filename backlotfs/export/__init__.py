"""Exporting: files of a mount into a folder, complete and proven, or not there at all.

A file is read once, front to back, into a *part* beside its place; its SHA-256 is made on the way.
The part is synced, read back from the disk and compared, its digest goes to the journal of the
*manifest*, and only then does it get its final name. So under a final name there is always a whole
file, and every whole file of ours has a digest.

A part has a *checkpoint*: how far it is synced, the digest of that, and the size and time of the
source it is of. An export that was cut off, even by power, goes on from there if the digest of the
part's beginning still is what it was and the source is the same; else it begins again.

Nothing here knows what a mount is: only files. Threads share the manifest, which has a lock;
everything else belongs to one file and so to one thread.
"""
