"""Thin wrappers of what the kernel has and Python lacks.

They carry the man page's name and decide nothing.
"""
