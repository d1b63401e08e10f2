"""Test doubles that more than one test module uses: clocks, threads, the API, source hosts."""
