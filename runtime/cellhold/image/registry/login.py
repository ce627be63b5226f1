"""What a user shows to a registry."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Login:
    """A user's name and password, or the token that a registry issued instead.

    Secrets are not in its repr().
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str | None = field(default=None, repr=False)
