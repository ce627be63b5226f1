"""Images as files: archives of `docker save` and `podman save`, OCI layouts.

An OCI image layout (image-layout.md) is a directory or a tar.

    folder.py       the files of an archive that nobody trusts, by name
    layout.py       an OCI layout in a folder
    docker_save.py  docker's manifest.json in a folder
    loading.py      an archive into the store
    saving.py       images out of the store
"""
