# SPDX-License-Identifier: Apache-2.0
"""Test doubles that more than one test module uses: clocks, threads, the API, source hosts."""
