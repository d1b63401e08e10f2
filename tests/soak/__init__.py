"""Hours of bad luck in minutes: ``python -m tests.soak``, or ``make soak``."""
