"""Providers: what a mount shows beside its sources. Each is a `namespace.Provider`."""
