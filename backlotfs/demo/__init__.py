# SPDX-License-Identifier: Apache-2.0
"""A guided tour: the emulator with sample media, a real mount of it, and what one does with it.

::

    command ── session ──┬── sample_library      playable files, made here, with odd names
       (mount, umount)   ├── tour                ls, cp, ffprobe, a paced read, rsync; each checked
                         └── terminal            what is said, programs, Ctrl-C

All files, the mount's cache among them, are in one temporary folder, which is removed at the end
and not before the mount has gone. Ctrl-C and SIGTERM clean up like any other end, at every moment.

The emulator runs in this process and the mount in another; nothing here may touch the mount while
it holds the interpreter's lock (no mmap of a mounted file, no child started with its cwd there).
"""
