"""Every precondition of a mount, checked one by one, each with the command that mends it.

`machine` looks at what a mount needs of the system, `cache_folder` at the disk, `library` at the
API and at one source. A check looks at one thing and never raises: it gives a `Finding`.
"""
