"""What is done to the notebook's own container, and to images: by a word of a cell, or by a button."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec, NotAllowed
from cellhold_kernel.gate.granted import GrantedAction, GrantedCommit, GrantedLook, GrantedPull
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.settings import Trust

if TYPE_CHECKING:
    from cellhold_kernel.gate.request import ActionRequest, CommitRequest, LookRequest, PullRequest
    from cellhold_kernel.settings.policy import Policy

ACTIONS = frozenset({"start", "pause", "unpause", "stop", "kill", "restart", "remove"})
_SHOWN = 40


def act(request: ActionRequest, _trust: Trust, _policy: Policy) -> GrantedAction:
    """One of docker's words; whether it can be done now is controls.py's table."""
    if request.action not in ACTIONS:
        raise InvalidSpec(f"cannot {escape(request.action, most=_SHOWN)} the container: there is no such action")
    return GrantedAction(action=request.action, arguments=request.arguments)


def commit(request: CommitRequest, _trust: Trust, policy: Policy) -> GrantedCommit:
    """Under a name that the policy's list has: the next cell runs on it."""
    name = request.images(policy).claim(request.name, aim=f"commit to {escape(request.name, most=_SHOWN)}")
    return GrantedCommit(container=request.container, owner=request.owner, name=name, asked=request.name)


def pull(request: PullRequest, trust: Trust, policy: Policy) -> GrantedPull:
    """Not for who asks where nobody sees it. trust: of whoever named the image."""
    if trust < Trust.CELL:
        shown = escape(request.image, most=200)
        raise NotAllowed(
            f"cannot use image={shown} of the notebook's metadata: it is not here, and a notebook does not fetch images unasked",
            hint=f"write it where it is seen, in a cell: %container image={shown}; or cellhold pull {shown}",
        )
    return GrantedPull(image=request.images(policy).resolve(request.image))


def look(request: LookRequest, _trust: Trust, policy: Policy) -> GrantedLook:
    """Into what the notebook may run, and nothing else."""
    return GrantedLook(image=request.images(policy).resolve(request.image))
