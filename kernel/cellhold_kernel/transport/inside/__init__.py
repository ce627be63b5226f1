"""What runs in a container, on any Python from 3.6 and its standard library."""
