# SPDX-License-Identifier: Apache-2.0
"""Exports by real Dask workers, to a folder and to an S3 server; long."""
