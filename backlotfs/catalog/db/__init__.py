# SPDX-License-Identifier: Apache-2.0
"""The catalog's SQLite file: schema, connections, and the transactions on it."""
