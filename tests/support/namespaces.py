# SPDX-License-Identifier: Apache-2.0
"""Mount namespaces of tests: none keeps the mounts of the tests beside it."""

from __future__ import annotations

#: Shell, in a new mount namespace. A copy of a mount keeps its daemon alive: the mounts of tests
#: beside this one leave it at once. One that has just gone is no error; the table writes a space as
#: ``\040``.
LEAVE_OTHER_MOUNTS = r"""
awk '/ - fuse/ { print $5 }' /proc/self/mountinfo | while read -r other; do
    umount -i -l "$(printf %b "$other")" 2> /dev/null || true
done
"""
