"""What a container sees as its root.

An overlay of layers, the mounts in it, volumes and what the host shows.
"""
