"""The panel of a container that a plain Python notebook on the host has made, or of any detached one: a widget of that notebook's kernel.

    from cellhold import Container, Spec
    from cellhold_kernel import ContainerPanel

    box = Container.create(Spec(image="host", args=("sleep", "1000")))
    box.start()
    panel = ContainerPanel(box)       # shown when it is the last line of a cell
    panel.df()                        # what was measured

It lives in that kernel's event loop, and so stands still while a cell runs there; the panel of a Cellhold notebook does not.
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
    from cellhold_kernel.widgets.comms import Widget

_GRACE_SECONDS = 2.0  # of a restart: the event loop stands still meanwhile


class ContainerPanel(anywidget.AnyWidget):
    """container: any that this process has made, or a Detached; one that was not started yet is shown as stopped. kind: of faces.KINDS.

    Raises KeyError for a kind that there is not.
    """

    _esm = bundle.module()
    _css = bundle.style()
    parts = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, container: Handle, kind: str = "panel") -> None:
        """Begin to sample."""
        self._held = _Held(container)  # what panel and controls ask of
        self._controls = Controls(self._held)
        self._panel = Panel(_Views(self), _Front(), self._held, self._controls, _Loop())
        self._panel.picture += f"-{uuid.uuid4()}"  # of several panels each has its own
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
        with suppress(RuntimeError):  # no loop: samples are taken when somebody asks
            self._next = asyncio.get_running_loop().call_later(min(seconds for seconds in due if seconds is not None), self._tick)

    def records(self) -> list[dict[str, Any]]:
        """What was measured, the oldest first: dictionaries of sampler.Sample's fields; None is "not measured"."""
        self._panel.sampler.take(self._held.current)
        return [sample._asdict() for sample in self._panel.sampler.samples()]

    def df(self) -> Any:
        """The same as a pandas.DataFrame with the time as its index; where there is no pandas, the records."""
        try:
            pandas: Any = import_module("pandas")  # no dependency of ours
        except ImportError:
            return self.records()
        frame = pandas.DataFrame(self.records())
        return frame.set_index(pandas.to_datetime(frame.pop("time"), unit="s"))

    def __str__(self) -> str:
        """What it shows, in words."""
        return report.text(self._panel.snapshot())

    def _ipython_display_(self) -> None:
        """Live; and for where nothing lives a picture, which each cell's end brings up to date while nobody sees the live one."""
        for kind, content in self._panel.outputs(self._kind, model=self.model_id):
            _Front.publish(kind, content)
        if not self._is_shown:
            self._is_shown = True
            _shell().events.register("post_run_cell", self._cell_ended)

    def _cell_ended(self, _result: Any) -> None:
        if self._held.container.state is not State.REMOVED:  # of what is gone the last picture stays
            self._panel.refresh(parent={})

    def close(self) -> None:
        """End what works for it; the container goes on."""
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
    """The IPython that runs the cell: only one shows widgets."""
    return get_ipython()


class _Held:
    """A container in the place of a notebook's session: engine.holder.Holder, and Held."""

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
        return Policy()  # the machine's is for notebooks; whoever runs this one can do all of it without

    def names(self) -> Names:
        return Names()

    def resume(self) -> None:
        self.container.start()

    def begin(self) -> None:
        if self.current is not None:
            self.container.stop(_GRACE_SECONDS)
        self.container.start()

    def remove_stopped(self) -> None:
        self.container.remove()


class _Views:
    """The views of the one widget that is shown here, whichever the panel means."""

    def __init__(self, model: ContainerPanel) -> None:
        self._model = model

    def send(self, widget: Widget, content: Mapping[str, Any]) -> None:
        del widget
        self._model.send(content)


class _Front:
    """Where the notebook's outputs go; the kernel itself knows which cell they belong to."""

    @staticmethod
    def publish(kind: str, content: Mapping[str, Any], *, parent: Mapping[str, Any] | None = None) -> None:
        del parent
        _shell().display_pub.publish(**words.clean(content), update=kind == "update_display_data")


class _Loop:
    """The notebook's event loop, as the panel's looks use it."""

    def add(self, descriptor: int, work: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # as above
            asyncio.get_running_loop().add_reader(descriptor, work)

    def remove(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
