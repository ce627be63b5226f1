"""Containers: made, started, watched, entered, copied to and from, committed and removed.

container.py   Container: ends with the process that made it
detached.py    Detached: lives on by itself, with a monitor
inventory.py   those that are kept: list, find, signal
recovery.py    what a crash left
"""
