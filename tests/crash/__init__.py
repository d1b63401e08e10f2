# SPDX-License-Identifier: Apache-2.0
"""Killing mounts: ``kill -9`` at random points under load, again and again on the same folder.

A handful of kills run with the other tests; ``python -m tests.crash --kills 100`` (``make crash``)
goes on and prints figures.
"""
