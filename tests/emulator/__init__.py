"""The emulator, checked with the standard library: units, and conformance over real sockets."""
