"""Transport of messages: Jupyter's sockets, and ZMTP to the cell kernel.

inside/   the half that runs in the container
"""
