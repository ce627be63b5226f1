"""The panel of a container in a plain Python notebook on the host.

It is a widget of that notebook's kernel, for a container made there or any detached
one:

    from cellhold import Container, Spec
    from cellhold_kernel import ContainerPanel

    box = Container.create(Spec(image="host", args=("sleep", "1000")))
    box.start()
    panel = ContainerPanel(box)       # shown when it is the last line of a cell
    panel.df()                        # what was measured

It runs in that kernel's event loop, and so is not updated while a cell runs there; the
panel of a Cellhold notebook is.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from IPython.core.getipython import get_ipython

from cellhold.spec import words
from cellhold.spec.lifecycle import State
from cellhold_kernel.engine.controls import Controls
from cellhold_kernel.engine.local.sandbox import LocalSandbox
from cellhold_kernel.gate.images import Names
from cellhold_kernel.jobs.commit import Commit
from cellhold_kernel.settings.policy import Policy
from cellhold_kernel.widgets import bundle, report
from cellhold_kernel.widgets.panel import Panel
from cellhold_kernel.widgets.views import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellhold.container.handle import Handle
    from cellhold.errors import CellholdError
    from cellhold.spec.spec import Spec
    from cellhold_kernel.engine.base import Feature
    from cellhold_kernel.gate.granted import GrantedCommit
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.widgets.comms import Widget

_GRACE_SECONDS = 2.0  # of a restart, which blocks the event loop


class ContainerPanel(anywidget.AnyWidget):
    """The panel as a widget.

    container: any that this process has made, or a Detached; one that was not started
    yet is shown as stopped. kind: of views.KINDS. Raises KeyError for another kind.
    """

    _esm = bundle.module()
    _css = bundle.style()
    parts = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, container: Handle, kind: str = "panel") -> None:
        """Start sampling."""
        self._held = _Held(container)  # used by the panel and its controls
        self._controls = Controls(self._held)
        self._panel = Panel(_Views(self), _Front(), self._held, self._controls, _Loop())
        self._panel.picture += f"-{uuid.uuid4()}"  # each of several panels has its own
        self._kind, self._widget = kind, self._panel.widgets[kind]
        super().__init__(parts=list(KINDS[kind].parts))
        self.on_msg(lambda _widget, content, _buffers: self._panel.receive(self._widget, content))
        self._next: asyncio.TimerHandle | None = None
        self._was_alive = self._is_shown = False
        self._tick()

    def _tick(self) -> None:
        if self._was_alive and (ended := self._held.container.poll()):
            self._controls.ended()
            self._panel.container_ended(ended)
        self._was_alive = self._held.container.state in _ALIVE
        due = [self._panel.tick(), self._controls.tick()]
        with suppress(RuntimeError):  # no loop: samples are taken on request
            self._next = asyncio.get_running_loop().call_later(min(seconds for seconds in due if seconds is not None), self._tick)

    def records(self) -> list[dict[str, Any]]:
        """Return the samples, oldest first: dictionaries of sampler.Sample's fields.

        None is "not measured".
        """
        self._panel.sampler.take(self._held.current)
        return [sample._asdict() for sample in self._panel.sampler.samples()]

    def df(self) -> Any:
        """Return the samples as a pandas.DataFrame indexed by time.

        Without pandas, returns records().
        """
        try:
            pandas: Any = import_module("pandas")  # not a dependency of ours
        except ImportError:
            return self.records()
        frame = pandas.DataFrame(self.records())
        return frame.set_index(pandas.to_datetime(frame.pop("time"), unit="s"))

    def __str__(self) -> str:
        """Return the panel as text."""
        return report.text(self._panel.snapshot())

    def _ipython_display_(self) -> None:
        """Show the live panel, and a picture for front ends without live widgets.

        The end of each cell updates the picture while no live view is visible.
        """
        for kind, content in self._panel.outputs(self._kind, model=self.model_id):
            _Front.publish(kind, content)
        if not self._is_shown:
            self._is_shown = True
            _shell().events.register("post_run_cell", self._cell_ended)

    def _cell_ended(self, _result: Any) -> None:
        if self._held.container.state is not State.REMOVED:  # if it was removed, the last picture stays
            self._panel.refresh(parent={})

    def close(self) -> None:
        """End the processes that work for the panel; the container goes on."""
        if self._is_shown:
            self._is_shown = False
            _shell().events.unregister("post_run_cell", self._cell_ended)
        if self._next is not None:
            self._next.cancel()
        self._panel.close()
        self._held.sandbox.release()
        super().close()


_ALIVE = (State.RUNNING, State.PAUSED)


def _shell() -> Any:
    """Return the IPython that runs the cell: widgets are shown only there."""
    return get_ipython()


class _Held:
    """A container in place of a session: engine.holder.Holder and HeldSandbox."""

    is_coming = False
    owner = ""
    failure: CellholdError | None = None
    missing: Mapping[Feature, str] = MappingProxyType({})

    def __init__(self, container: Handle) -> None:
        self.container = container
        self.sandbox = LocalSandbox(container)

    @property
    def spec(self) -> Spec:
        return self.container.spec

    @property
    def current(self) -> _Held | None:
        return self if self.container.state in _ALIVE else None

    @property
    def stopped(self) -> _Held | None:
        return self if self.container.state in (State.CREATED, State.STOPPED) else None

    def policy(self) -> Policy:
        return Policy()  # the machine's policy is for notebooks; this user can do everything without it

    def names(self) -> Names:
        return Names()

    def commit(self, granted: GrantedCommit) -> Job:
        return Commit(granted)

    def resume(self) -> None:
        self.container.start()

    def begin(self) -> None:
        if self.current is not None:
            self.container.stop(_GRACE_SECONDS)
        self.container.start()

    def remove_stopped(self) -> None:
        self.container.remove()


class _Views:
    """The views of the one widget that is shown here, whichever the panel names."""

    def __init__(self, model: ContainerPanel) -> None:
        self._model = model

    def send(self, widget: Widget, content: Mapping[str, Any]) -> None:
        del widget
        self._model.send(content)


class _Front:
    """The notebook's outputs; the kernel itself assigns them to cells."""

    @staticmethod
    def publish(kind: str, content: Mapping[str, Any], *, parent: Mapping[str, Any] | None = None) -> None:
        del parent
        _shell().display_pub.publish(**words.clean(content), update=kind == "update_display_data")


class _Loop:
    """The notebook's event loop, as inspector.Inspector uses it."""

    def add(self, descriptor: int, work: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # as above
            asyncio.get_running_loop().add_reader(descriptor, work)

    def remove(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
