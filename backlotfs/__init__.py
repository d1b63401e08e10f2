# SPDX-License-Identifier: Apache-2.0
"""backlotfs: a Backlot video library as a read-only folder of original source files."""

__version__ = "0.1.0"

__all__ = ["__version__"]
