"""Images as files: what `docker save` and `podman save` write, and OCI image layouts (image-layout.md), as directories and as tars.

folder.py       the files of an archive that nobody trusts, by name
layout.py       an OCI layout in a folder         docker_save.py  docker's manifest.json in one
loading.py      an archive into the store         saving.py       images out of it
"""
