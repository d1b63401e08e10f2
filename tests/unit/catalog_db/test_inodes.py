# SPDX-License-Identifier: Apache-2.0
"""Inode numbers of files."""

from __future__ import annotations

import ctypes

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.catalog.db.rows import inode_of
from backlotfs.namespace.providers.sidecars import sidecar_inode
from backlotfs.namespace.tree import ROOT_INODE, folder_inode

inodes = st.builds(
    lambda make, what: make(what),
    st.sampled_from([inode_of, folder_inode, lambda code: sidecar_inode(inode_of(code))]),
    st.text(max_size=40),
)


def test_inode_numbers_never_change() -> None:
    """Backups and hard-link detection rely on them across hosts, restarts and releases."""
    assert inode_of("EMBEDCODEexample-000000000000_01") == 2_810_480_007_133_465_606
    assert inode_of("E1") == 5_959_180_993_987_605_805


@given(inodes, inodes)
def test_a_difference_of_two_is_an_order(one: int, other: int) -> None:
    """As a C ``int``, which is all that GIO compares: it has the sign of the low 31 bits'."""
    assert ctypes.c_int(one - other).value == one % 2**31 - other % 2**31


@given(inodes)
def test_inode_numbers_fit(inode: int) -> None:
    """Into a signed 64-bit number, and never the root's."""
    assert ROOT_INODE < inode < 1 << 63
