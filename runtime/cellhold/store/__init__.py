"""Content on disk: where files lie, who owns which ids, what each container was.

Every process reads the truth here.
"""
