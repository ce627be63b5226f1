"""A client of registries (OCI distribution-spec 1.1), on urllib3.

`Registry` is the one entry point.

    client.py     Registry: manifests, blobs and tags, from mirrors first
    download.py   a blob as a stream that goes on after a cut
    upload.py     a blob in the other direction
    session.py    one endpoint: asked with a key, again after failures
    keys.py       what a 401 is answered with
    challenge.py  what the 401 asked for
    wire.py       one exchange: redirects, TLS, proxies
    reading.py    bodies, bounded in bytes and time
    refusals.py   what a registry answers, as an error
    patience.py   how often, how long
    settings.py   registries.toml
    login.py, logins.py, helpers.py
                  Docker's config.json
"""

from __future__ import annotations

from cellhold.image.registry.client import Received, Registry
from cellhold.image.registry.login import Login
from cellhold.image.registry.logins import Logins
from cellhold.image.registry.settings import Settings
from cellhold.image.registry.upload import Way

__all__ = ["Login", "Logins", "Received", "Registry", "Settings", "Way"]
