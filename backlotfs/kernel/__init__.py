"""The kernel's side: FUSE operations, mounting, signals. The only package that imports fusepy."""
