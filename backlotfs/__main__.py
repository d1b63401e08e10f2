"""``python -m backlotfs``."""

from backlotfs.cli import main

main()
