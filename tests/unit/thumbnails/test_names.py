# SPDX-License-Identifier: Apache-2.0
"""URIs as file managers spell them, and the names made of them."""

from __future__ import annotations

import ctypes
import ctypes.util

import pytest

from backlotfs.thumbnails.cache import file_uri, thumbnail_name


def test_the_example_of_the_standard() -> None:
    """Its own file, its own name."""
    uri = file_uri("/home/jens/photos/me.png")
    assert uri == "file:///home/jens/photos/me.png"
    assert thumbnail_name(uri) == "c6ee772d9e49320e97ec29a7eb5b1697.png"


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("a b.mov", "a%20b.mov"),
        ("Müller 10%.mov", "M%C3%BCller%2010%25.mov"),
        ("twin [abc].mov", "twin%20%5Babc%5D.mov"),
        ("a;b?c#d.mov", "a%3Bb%3Fc%23d.mov"),
        ("it's (1), $5 & more: a+b.mov", "it's%20(1),%20$5%20&%20more:%20a+b.mov"),
        ("a=c@d_e~f!*.mov", "a=c@d_e~f!*.mov"),
        ("\udcff.mov", "%FF.mov"),
    ],
)
def test_spelling(name: str, spelt: str) -> None:
    """What is left as it is, and what is not."""
    assert file_uri(f"/m/{name}") == f"file:///m/{spelt}"


def test_spelt_as_glib_does() -> None:
    """By GLib itself, where it is installed: every character there is in a byte."""
    found = ctypes.util.find_library("glib-2.0")
    if found is None:
        pytest.skip("GLib is not installed")
    glib = ctypes.CDLL(found)
    glib.g_filename_to_uri.restype = ctypes.c_char_p
    for byte in range(1, 256):
        path = b"/m/" + bytes([byte])
        spelt = glib.g_filename_to_uri(path, None, None)
        assert file_uri(path.decode("utf-8", "surrogateescape")) == spelt.decode()
