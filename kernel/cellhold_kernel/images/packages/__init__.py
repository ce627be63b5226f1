"""Packages that a notebook names, as a layer in front of its image's.

    requirements -> lock -> wheels -> layer -> mount

`sets` finds the layer of a set, or has it made: uv resolves names on this host
(`resolving`), from the index that this host is configured for (`index`); wheels are
fetched by hash (`fetching`) and unpacked as data, without anything of them being run
(`wheel`). `live` mounts a layer into a container that runs. Whether a notebook may have
packages is the gate's to say.
"""
