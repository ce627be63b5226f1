"""Cellhold's Jupyter kernel: a notebook's cells run in a container of its own.

    python -E -P -m cellhold_kernel -f CONNECTION_FILE [--kernelspec DIRECTORY] [arguments for the kernel in the container]

The process that Jupyter starts is the *host kernel*. It makes the container, relays Jupyter's messages to the *cell kernel* in it
(an ipykernel), and answers itself what a container cannot: why it ended, and what `%container` asks.

    app.py       the process: arguments, signals, its life and end
    relay/       which message goes where and when, and what is answered here
    magics/      the lines of a cell that are for the host kernel
    widgets/     the panel
    engine/      the notebook's containers: begin, replace, let go; why one is gone, in words
    jobs/        what a cell waits for, each done by another process
    gate/        what a notebook may have
    images/      which kernel an image has, or gets
    shell/       the kernel of an image that has none but a shell
    transport/   the sockets towards Jupyter, and towards the container, bounded in bytes
    settings/    where a notebook's spec comes from
    protocol/    Jupyter's message format and connection file
    install.py   `cellhold kernel install|list|remove`

Importing this package imports nothing: how soon the container starts depends on it. `ContainerPanel`, for notebooks of other kernels,
is found when it is asked for (widgets/standalone.py).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cellhold_kernel.widgets.standalone import ContainerPanel

__all__ = ["ContainerPanel"]


def __getattr__(name: str) -> object:
    """The one name that importing this package does not define (PEP 562)."""
    if name != "ContainerPanel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cellhold_kernel.widgets.standalone import ContainerPanel  # noqa: PLC0415  # the host kernel does without

    return ContainerPanel
