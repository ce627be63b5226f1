"""A layer: a tree of files on disk, or the tar stream of one.

OCI image-spec, layer.md. The content is untrusted, both ways.
"""
