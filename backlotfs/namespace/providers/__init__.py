# SPDX-License-Identifier: Apache-2.0
"""Providers add files and folders without a source. Each is a `namespace.Provider`."""
