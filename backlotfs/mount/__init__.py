"""A mount as a process: its parts put together, served, watched and ended.

`stack.build_stack` is the one place that knows every class. `serve` runs a mount, in the foreground
or in the background (`background`), under systemd or not (`systemd`, `watchdog`, `signals`).
`control` is the private socket by which commands ask a running mount.
"""
