# SPDX-License-Identifier: Apache-2.0
"""HTTP: connections, answers and their limits, for the API and for source hosts."""
