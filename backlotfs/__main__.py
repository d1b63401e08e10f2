# SPDX-License-Identifier: Apache-2.0
"""``python -m backlotfs``."""

from backlotfs.cli import main

main()
