"""Logging: events, formats, redaction, suppression of repeats, and uncaught exceptions."""
