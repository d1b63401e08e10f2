# SPDX-License-Identifier: Apache-2.0
"""The tree that a mount shows: folders, names, inodes, attributes, and the files of providers."""
