# SPDX-License-Identifier: Apache-2.0
"""A mount as a process: its parts put together, served, watched and ended.

`stack.build_stack` builds all parts. `serve` runs a mount, in the foreground or in the background
(`background`), with the service manager (`systemd`) and `signals`. `status` builds the reports on a
mount. `control` is the unix socket over which commands ask a running mount.
"""
