"""The confined process: the only code that reads hostile content.

It loads next to nothing, and all of it before it is confined.
"""
