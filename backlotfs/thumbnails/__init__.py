# SPDX-License-Identifier: Apache-2.0
"""Thumbnails by the freedesktop.org standard: in the cache of the user, and shared ones.

`picture` decodes and shrinks images, and reads the texts of a PNG. Only this module imports Pillow
(the extra ``thumbnails``), in the functions that need it. `cache` reads and writes
``~/.cache/thumbnails``. `shared` makes the thumbnails that a mount shows.
"""
