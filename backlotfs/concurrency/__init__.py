# SPDX-License-Identifier: Apache-2.0
"""Clocks, worker threads, single-flight calls and waits that can be interrupted."""
