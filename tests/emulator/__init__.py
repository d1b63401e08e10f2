# SPDX-License-Identifier: Apache-2.0
"""The emulator, checked with the standard library: units, and conformance over real sockets."""
