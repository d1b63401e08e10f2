"""Logging: events, formats, redaction, de-duplication, and errors that nobody caught."""
