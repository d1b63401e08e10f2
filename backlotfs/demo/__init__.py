# SPDX-License-Identifier: Apache-2.0
"""A guided tour: the emulator with sample media, a real mount of it, and the use of the mount.

::

    command ── session ──┬── sample_library      playable files, made here, with odd names
       (mount, umount)   ├── tour                ls, cp, ffprobe, a paced read, rsync; each checked
                         └── terminal            what is said, programs, Ctrl-C

All files, also the mount's cache, are in one temporary folder. It is removed at the end, but only
after the unmount. The clean-up runs after Ctrl-C and SIGTERM too, at every moment.

The emulator runs in this process, and the mount in another. Code here must not access the mount
while it holds the interpreter's lock, because the emulator could not answer the mount. So it does
not mmap a mounted file, and does not start a child with its working directory in the mount.
"""
