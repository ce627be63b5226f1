"""A digest: content named by its hash (OCI image-spec, descriptor.md, "Digests")."""

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
    """A digest.

    algorithm: "sha256" or "sha512"; encoded: lower-case hexadecimal digits.
    """

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse "sha256:...".

        Raises ValueError, with a text for people, for anything else.
        """
        algorithm, colon, encoded = text.partition(":")
        if not colon or algorithm not in _LENGTHS:
            raise ValueError(f"{text[:80]!r} is not a digest of a known kind ({', '.join(_LENGTHS)})")
        if len(encoded) != _LENGTHS[algorithm] or not _ENCODED.fullmatch(encoded):
            raise ValueError(f"{text[:160]!r} is not a digest: {algorithm} has {_LENGTHS[algorithm]} lower-case hexadecimal digits")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the sha256 digest of `data`."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    def hasher(self) -> _Hash:
        """Return a new hash object of this algorithm.

        Content whose hexdigest() is `encoded` is what the digest names.
        """
        return hashlib.new(self.algorithm)

    @property
    def short(self) -> str:
        """The first twelve digits, for people."""
        return self.encoded[:_SHORT]

    def __str__(self) -> str:
        """Format the digest as sha256:..."""
        return f"{self.algorithm}:{self.encoded}"
