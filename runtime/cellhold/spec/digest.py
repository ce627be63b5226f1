"""A digest: the name of content by what it is (OCI image-spec, descriptor.md, "Digests")."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from hashlib import _Hash

_LENGTHS = {"sha256": 64, "sha512": 128}
_ENCODED = re.compile(r"[0-9a-f]+")
_SHORT = 12


@dataclass(frozen=True, order=True)
class Digest:
    """algorithm: "sha256" or "sha512"; encoded: lower-case hexadecimal digits."""

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The digest that is written "sha256:..."; raises ValueError, in words, for anything else."""
        algorithm, colon, encoded = text.partition(":")
        if not colon or algorithm not in _LENGTHS:
            raise ValueError(f"{text[:80]!r} is no digest of a known kind ({', '.join(_LENGTHS)})")
        if len(encoded) != _LENGTHS[algorithm] or not _ENCODED.fullmatch(encoded):
            raise ValueError(f"{text[:160]!r} is no digest: {algorithm} has {_LENGTHS[algorithm]} lower-case hexadecimal digits")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The sha256 of `data`."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    def hasher(self) -> _Hash:
        """A new hash object of this algorithm; content whose hexdigest() is `encoded` is what the digest names."""
        return hashlib.new(self.algorithm)

    @property
    def short(self) -> str:
        """The first twelve digits, for people."""
        return self.encoded[:_SHORT]

    def __str__(self) -> str:
        """As it is written: sha256:..."""
        return f"{self.algorithm}:{self.encoded}"
