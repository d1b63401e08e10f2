"""The tree that a mount shows: folders, names, inodes, attributes, and the files of providers."""
