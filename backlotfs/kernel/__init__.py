# SPDX-License-Identifier: Apache-2.0
"""The kernel adapter: FUSE operations and mounting. The only package that imports fusepy."""
