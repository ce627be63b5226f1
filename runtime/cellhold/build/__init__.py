"""An image out of a Dockerfile: read (dockerfile), planned (stages), each stage's variables (scope) and settings, step by step.

BuildKit's meaning of a Dockerfile is the one that holds, in what its reference says and in what its source does.
"""
