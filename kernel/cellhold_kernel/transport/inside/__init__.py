"""What runs in a container, on any Python from 3.6 with the standard library alone."""
