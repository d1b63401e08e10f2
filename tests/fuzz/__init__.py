# SPDX-License-Identifier: Apache-2.0
"""Fuzzing of the parsers that read what comes from the network.

A few hundred inputs each run with the other tests. ``python -m tests.fuzz --seconds 600`` goes on
as long as it is told, and prints the input that broke something.
"""
