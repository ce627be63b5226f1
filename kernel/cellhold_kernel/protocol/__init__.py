"""Jupyter's messages, the connection file, and text that others wrote."""
