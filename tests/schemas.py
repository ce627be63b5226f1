"""The JSON schemas of the OCI image specification (1.1).

They are those of Debian's golang-github-opencontainers-image-spec-dev.

The specification calls them informative: what they accept may still be wrong, what they
refuse is wrong.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
import referencing
from referencing.jsonschema import DRAFT4

Kind = Literal["manifest", "index", "config", "layout", "descriptor"]
_DIRECTORY = Path("/usr/share/gocode/src/github.com/opencontainers/image-spec/schema")
_FILES: dict[Kind, str] = {
    "manifest": "image-manifest-schema.json",
    "index": "image-index-schema.json",
    "config": "config-schema.json",
    "layout": "image-layout-schema.json",
    "descriptor": "content-descriptor.json",
}


def validate(kind: Kind, raw: bytes) -> None:
    """Check a document; skip if the schemas are not installed.

    Raises jsonschema.ValidationError, which names the place.
    """
    _validator(kind).validate(json.loads(raw))


@cache
def _validator(kind: Kind) -> jsonschema.Draft4Validator:
    if not _DIRECTORY.exists():
        pytest.skip("the OCI schemas are not installed: apt install golang-github-opencontainers-image-spec-dev")
    schemas = {path.name: _without_ids(json.loads(path.read_bytes())) for path in _DIRECTORY.glob("*.json")}
    registry = referencing.Registry().with_resources((name, DRAFT4.create_resource(schema)) for name, schema in schemas.items())
    return jsonschema.Draft4Validator({"$ref": _FILES[kind]}, registry=registry)


def _without_ids(schema: Any) -> Any:
    """Return a schema without its `id`.

    They refer to each other by file names, for which `id` would be the base.
    """
    if isinstance(schema, dict):
        return {key: _without_ids(value) for key, value in schema.items() if not (key == "id" and isinstance(value, str))}
    return [_without_ids(value) for value in schema] if isinstance(schema, list) else schema
