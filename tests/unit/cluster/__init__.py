# SPDX-License-Identifier: Apache-2.0
"""The cluster's export without a cluster: its tasks run in this process."""
