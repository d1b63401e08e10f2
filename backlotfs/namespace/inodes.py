"""Inode numbers of files: the same on every host and after every restart."""

from __future__ import annotations

import hashlib

from backlotfs.namespace.layouts.folder import ROOT_INODE


def inode_of(embed_code: str) -> int:
    """A 63-bit inode number.

    Two of a million assets share one with a probability of 5e-8, and then only hard-link
    detection is fooled.
    """
    digest = hashlib.blake2b(embed_code.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return max(ROOT_INODE + 1, int.from_bytes(digest, "big") >> 1)
