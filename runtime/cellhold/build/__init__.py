"""Build an image from a Dockerfile, step by step.

It is read (dockerfile) and planned (stages); each stage has its variables (scope) and
settings. BuildKit's meaning of a Dockerfile is the one that holds, in what its
reference says and in what its source does.
"""
