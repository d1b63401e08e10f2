# SPDX-License-Identifier: Apache-2.0
"""Hours of bad luck in minutes: ``python -m tests.soak``, or ``make soak``."""
