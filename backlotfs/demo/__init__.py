"""A guided tour: the emulator with sample media, a real mount of it, and what one does with it.

::

    command ── session ──┬── media                        sample files, playable, made on the spot
                         ├── sample_library                the assets that name them, oddly too
                         ├── background_mount              `backlotfs mount` and `umount`
                         └── tour ── verification          ls, cp, ffprobe, a paced read, rsync

Everything made lives in one `workspace` that goes away at the end, and not before the mount has
gone. `interruption` makes Ctrl-C and SIGTERM clean up like any other end, at every moment.

The emulator runs in this process and the mount in another; nothing here may touch the mount while
it holds the interpreter's lock (no mmap of a mounted file, no child started with its cwd there).
"""
