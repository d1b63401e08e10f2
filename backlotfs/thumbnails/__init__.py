# SPDX-License-Identifier: Apache-2.0
"""Thumbnails as the freedesktop.org standard has them: in the user's own cache, and shared ones.

`picture` decodes and shrinks an image; it alone imports Pillow (the extra ``thumbnails``), and only
when there is a picture to make. `cache` reads and writes ``~/.cache/thumbnails``; `shared` makes
those that a mount shows. Nothing here knows of a library.
"""
