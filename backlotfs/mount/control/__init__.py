# SPDX-License-Identifier: Apache-2.0
"""The control socket of a running mount: commands ask over it, one JSON object each way.

The socket is in a folder that only its owner can enter.
"""
