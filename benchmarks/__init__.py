# SPDX-License-Identifier: Apache-2.0
"""Measurements against peers in the same run. `make bench` runs them."""
