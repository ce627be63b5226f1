"""What runs in a container, beside or in front of what is there: on any Python from 3.6, with the standard library alone."""
