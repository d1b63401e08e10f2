# SPDX-License-Identifier: Apache-2.0
"""Logging: events, formats, redaction, suppression of repeats, and uncaught exceptions."""
