"""What the kernel has and Python lacks: thin wrappers that carry the man page's name and decide nothing."""
