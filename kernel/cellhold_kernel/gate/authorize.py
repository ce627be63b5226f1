"""authorize(): the one place that decides what may be done for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cellhold.errors import NotAllowed
from cellhold_kernel.gate import actions, containers, stopped
from cellhold_kernel.gate.granted import Granted
from cellhold_kernel.gate.request import (
    ActionRequest,
    BuildRequest,
    ChangeRequest,
    CommitRequest,
    ContainerRequest,
    EgressRequest,
    KeepRequest,
    LookRequest,
    PullRequest,
    ResumeRequest,
    RunRequest,
)
from cellhold_kernel.settings.settings import Trust

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold_kernel.gate.granted import GrantedBuild, GrantedRun
    from cellhold_kernel.gate.request import (
        Request,
    )
    from cellhold_kernel.settings.policy import Policy

G = TypeVar("G", bound=Granted)


class Rule(NamedTuple):
    """The rule for one kind of request.

    least: how far the source of the request must be trusted. grant: raises if it is
    refused.
    """

    least: Trust
    grant: Callable[[Any, Trust, Policy], Granted]


def authorize(request: Request[G], trust: Trust, policy: Policy) -> G:
    """Return what may be done, as the value that the code which does it takes.

    Called for every container, build, commit, pull and change that a notebook, a cell,
    a button or a client asks for; on the host kernel's only thread. It has no effects,
    and looks at nothing but its arguments. trust: of the source of the request. Raises
    NotAllowed for a request above a ceiling (which it names, with its file) or not for
    this source to make, InvalidSpec for one that cannot be parsed.
    """
    rule = RULES.get(type(request))
    if rule is None or trust < rule.least:
        raise NotAllowed(f"cannot do what is asked ({type(request).__name__}): it is not for {trust.name.lower()} to ask")
    granted: G = rule.grant(request, trust, policy)  # type: ignore[assignment]  # the kind that RULES has for the request
    return granted


def _run(request: RunRequest, trust: Trust, policy: Policy) -> GrantedRun:
    from cellhold_kernel.gate import runs  # noqa: PLC0415  # a command line's parser, which no start needs

    return runs.grant(request, trust, policy)


def _build(request: BuildRequest, trust: Trust, policy: Policy) -> GrantedBuild:
    from cellhold_kernel.gate import builds  # noqa: PLC0415  # a Dockerfile's parser, as above

    return builds.grant(request, trust, policy)


RULES: dict[type[Request[Any]], Rule] = {
    ContainerRequest: Rule(Trust.METADATA, containers.grant),  # a notebook that is opened
    ChangeRequest: Rule(Trust.CELL, containers.change),
    ResumeRequest: Rule(Trust.CELL, stopped.resume),
    EgressRequest: Rule(Trust.CELL, containers.restrict),
    RunRequest: Rule(Trust.CELL, _run),
    BuildRequest: Rule(Trust.CELL, _build),
    CommitRequest: Rule(Trust.CELL, actions.commit),
    PullRequest: Rule(Trust.METADATA, actions.pull),  # which refuses with the reason
    KeepRequest: Rule(Trust.CELL, actions.keep),
    LookRequest: Rule(Trust.CELL, actions.look),
    ActionRequest: Rule(Trust.CELL, actions.act),
}
