"""How messages travel: Jupyter's sockets on one side, ZMTP over unix sockets to the cell kernel on the other.

inside/   the half that runs in the container
"""
