"""Providers add files and folders without a source. Each is a `namespace.Provider`."""
