"""The kernel adapter: FUSE operations and mounting. The only package that imports fusepy."""
