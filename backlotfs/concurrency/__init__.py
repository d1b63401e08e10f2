"""Clocks, worker threads, single-flight calls and waits that can be interrupted."""
