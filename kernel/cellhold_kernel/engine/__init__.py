"""A notebook's containers: the current one, the coming one, and why one ended."""
