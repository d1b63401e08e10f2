"""Inode numbers of files."""

from __future__ import annotations

import ctypes

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.catalog.db.rows import inode_of
from backlotfs.namespace.tree import ROOT_INODE


def test_inode_numbers_never_change() -> None:
    """Backups and hard-link detection rely on them across hosts, restarts and releases."""
    assert inode_of("EMBEDCODEexample-000000000000_01") == 2_810_480_007_133_465_606
    assert inode_of("E1") == 5_959_180_993_987_605_805


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_difference_of_two_is_an_order(one: str, other: str) -> None:
    """As a C ``int``, which is all that GIO compares: it has the sign of the low 31 bits'."""
    difference = ctypes.c_int(inode_of(one) - inode_of(other)).value
    assert difference == inode_of(one) % 2**31 - inode_of(other) % 2**31


@given(st.text(max_size=40))
def test_inode_numbers_fit(embed_code: str) -> None:
    """Into a signed 64-bit number, and never the root's."""
    assert ROOT_INODE < inode_of(embed_code) < 1 << 63
