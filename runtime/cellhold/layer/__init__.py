"""A layer: a tree of files on disk, or the tar stream of one (OCI image-spec, layer.md). Content that nobody trusts, both ways."""
