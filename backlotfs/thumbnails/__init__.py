"""Thumbnails in the user's own cache, as the freedesktop.org thumbnail standard has them.

Knows pictures and the cache's folder, nothing of a library. Pillow (the extra ``thumbnails``) is
imported in `picture` alone, and only when there is a picture to make.
"""
