"""Actions on the notebook's own container and on images, by a cell or a button."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec, NotAllowed
from cellhold_kernel.gate.granted import GrantedAction, GrantedCommit, GrantedKeep, GrantedLook, GrantedPull
from cellhold_kernel.gate.mounts import check_keep
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.settings import Trust
from cellhold_kernel.settings.workspace import TARGET

if TYPE_CHECKING:
    from cellhold_kernel.gate.request import ActionRequest, CommitRequest, KeepRequest, LookRequest, PullRequest
    from cellhold_kernel.settings.policy import Policy

ACTIONS = frozenset({"start", "pause", "unpause", "stop", "kill", "restart", "remove"})
_SHOWN = 40


def act(request: ActionRequest, _trust: Trust, _policy: Policy) -> GrantedAction:
    """Grant one of docker's actions; controls.py knows whether it is possible now.

    Raises InvalidSpec for an action that does not exist.
    """
    if request.action not in ACTIONS:
        raise InvalidSpec(f"cannot {escape(request.action, most=_SHOWN)} the container: there is no such action")
    return GrantedAction(action=request.action, arguments=request.arguments)


def commit(request: CommitRequest, _trust: Trust, policy: Policy) -> GrantedCommit:
    """Grant a commit under a name that the policy's list allows.

    The next cell runs on the image. Raises InvalidSpec, NotAllowed.
    """
    name = request.images(policy).claim(request.name, aim=f"commit to {escape(request.name, most=_SHOWN)}")
    return GrantedCommit(container=request.container, owner=request.owner, name=name, asked=request.name)


def pull(request: PullRequest, trust: Trust, policy: Policy) -> GrantedPull:
    """Grant a pull, but not to a notebook's metadata, which nobody sees.

    trust: of the source that names the image. Raises NotAllowed.
    """
    if trust < Trust.CELL:
        shown = escape(request.image, most=200)
        raise NotAllowed(
            f"cannot use image={shown} of the notebook's metadata: it is not here, and a notebook does not fetch images unasked",
            hint=f"write it in a cell, where it is seen: %container image={shown}; or cellhold pull {shown}",
        )
    return GrantedPull(image=request.images(policy).resolve(request.image))


def look(request: LookRequest, _trust: Trust, policy: Policy) -> GrantedLook:
    """Grant an inspection of an image that the notebook may run. Raises NotAllowed."""
    return GrantedLook(image=request.images(policy).resolve(request.image))


def keep(request: KeepRequest, trust: Trust, policy: Policy) -> GrantedKeep:
    """Grant that files of the folder are replaced by what a cell has made of them.

    Raises NotAllowed where the policy has a lesser way to mount the folder than `rw`,
    InvalidSpec for a path that is not below the folder.
    """
    check_keep(policy, trust)
    return GrantedKeep(paths=tuple(_below_folder(path) for path in request.paths))


def _below_folder(name: str) -> str:
    path = posixpath.normpath(name.removeprefix(f"{TARGET}/"))
    if path.startswith("/") or path.split("/")[0] in ("..", ".") or "\0" in path:
        raise InvalidSpec(
            f"cannot keep {escape(name, most=_SHOWN)}: it is not in {TARGET}", hint="%keep NAME, as it stands in the folder; or %keep --all"
        )
    return path
