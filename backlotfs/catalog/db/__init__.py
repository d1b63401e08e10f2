"""The catalog's SQLite file: schema, connections, and the transactions on it."""
