# SPDX-License-Identifier: Apache-2.0
"""The control socket of a running mount: request and answer are one JSON object each.

The socket is in a folder that only the user of the mount and root can enter.
"""
