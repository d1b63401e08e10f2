"""Thumbnails as the freedesktop.org standard has them: in the user's own cache, and `shared` ones.

Knows pictures and the cache's folder, nothing of a library. Pillow (the extra ``thumbnails``) is
imported in `picture` alone, and only when there is a picture to make.
"""
