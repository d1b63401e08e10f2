# SPDX-License-Identifier: Apache-2.0
"""The read engine beside its peers: what a mount's reads cost, near a host and far from it.

Theory of operation. A `case` is one thing an application does. For each case an `Arena` is set up:
the case's files on tmpfs, an nginx in front of them that is as far away as the case's profile says
(checked before anything is measured), and an emulator that signs URLs pointing there. Then, in each
round, every contestant gets a fresh mount with empty caches, one after the other, in an order that
rotates; the case does its thing and hands back numbers by the names in `metrics`. Medians over the
rounds are held against the case's `targets`, saved as JSON, and shown as a page.

``python -m benchmarks.read_engine --cases local-cp remote-cp --rounds 3``; as root.
"""
