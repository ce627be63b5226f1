"""The contract of all kinds of networks, as a program that prints what it saw.

It runs as whoever uses the kind, root or not.

Arguments: the word (Spec.network), and a directory image with busybox in it.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from cellhold import network
from cellhold.container.container import Container
from cellhold.errors import CellholdError, NotAllowed
from cellhold.network.kinds.base import NetworkKind
from cellhold.spec.spec import Spec
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.spec.tracing import Step

_PREFIX = "cellhold.network."


def main() -> None:
    """Run all checks, and print the results."""
    word, image = sys.argv[1:]
    home = open_home()
    seen: dict[str, Any] = {}
    spec = Spec(args=("sleep", "100000"), image=image, network=word, name="first")
    network.check(spec, home)
    steps: list[Step] = []
    kind = network.open(word, home, container="0123456789ab", name="nobody", report=steps.append)
    seen["kind"] = type(kind).__name__
    seen["different"] = [name for name, method in _methods(NetworkKind) if not _is_same(method, getattr(type(kind), name))]
    seen["untaken"] = [kind.leases(), kind.connections(None), kind.syscalls()]
    kind.detach()
    kind.prepare(spec)
    seen["plan"] = kind.plan_fields().get("network")
    seen["handed"], seen["closed"], seen["error"] = _attach(kind)
    kind.detach()
    kind.detach()
    seen["left"] = [*kind.leases(), *home.networks.glob("*/leases/*")]
    seen["running"] = _running(spec)
    seen["libraries"] = sorted({"dns", "pyroute2"} & sys.modules.keys())
    seen["modules"] = sorted(name.removeprefix(_PREFIX) for name in sys.modules if name.startswith(_PREFIX))
    seen["after"] = [*home.networks.glob("*/leases/*")]
    sys.stdout.write(json.dumps(seen, default=str))


def _methods(kind: type) -> list[tuple[str, Any]]:
    return [(name, method) for name, method in vars(kind).items() if callable(getattr(kind, name)) and not name.startswith("_")]


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two functions have the same signature."""
    names = [list(inspect.signature(each.__func__ if hasattr(each, "__func__") else each).parameters) for each in (one, other)]
    return names[0] == names[1]


def _attach(kind: NetworkKind) -> tuple[int, bool, str | None]:
    """Attach it without a container at the other end.

    Returns how many descriptors there were, whether they are closed then, and the
    error.
    """
    with kind.descriptors() as fds:
        handed = list(map(os.fstat, fds))
        error = kind.attach()
    return len(handed), not any(map(_is_open, fds)), None if error is None else type(error).__name__


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _running(spec: Spec) -> dict[str, Any]:
    """Return what it reports of a running container, and of one that has exited."""
    with Container.create(spec) as box:
        box.start()
        kind = network.open(spec.network, open_home(), container=box.id, name=box.name)
        leases = kind.leases()
        seen = {
            "leases": len(leases),
            "connected": [one.received_bytes is not None for one in box.connections()],
            "agree": [one.lease for one in kind.connections(box.pid)] == leases,
            "steps": [step.name for step in box.timings if step.name in ("network.lease", "network.connect")],
            "calls": bool(box.calls()["network.connect"]) if "network.connect" in box.calls() else False,
            "refused": _outcome(box.refused),
            "restricted": _outcome(lambda: box.restrict("internet")),
            "policies": [lease.policy for lease in kind.leases()],
        }
        kind.rename("second")
        seen["names"] = [lease.names[0] for lease in kind.leases()]
        box.kill(signal.SIGKILL)
        box.wait()
        seen["ended"] = [*kind.leases(), *box.connections()]
        kind.detach()
        network.release(box.id, open_home())
        return seen


def _outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except NotAllowed:
        return NotAllowed.__name__
    except CellholdError as error:
        return str(error)


if __name__ == "__main__":
    main()
