"""HTTP: connections, answers and their limits, for the API and for source hosts."""
