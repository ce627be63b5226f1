"""Cellhold's Jupyter kernel: a notebook's cells run in a container of their own.

    python -E -P -m cellhold_kernel -f CONNECTION_FILE [--kernelspec DIRECTORY]
        [arguments for the kernel in the container]

The process that Jupyter starts is the *host kernel*. It makes the container, relays
Jupyter's messages to the *cell kernel* in it (an ipykernel), and answers itself what a
container cannot: why it exited, and `%container`.

    app.py       the process: arguments, signals, start and end
    relay/       routes messages, and answers some here
    magics/      the lines of a cell that the host kernel performs
    widgets/     the panel
    engine/      the notebook's containers: start, replace, release; why one is gone
    jobs/        work that a cell waits for, each done by another process
    gate/        what a notebook may have
    images/      which kernel an image has, or gets
    shell/       the kernel of an image that has only a shell
    transport/   the sockets to Jupyter and to the container, bounded in bytes
    settings/    where a notebook's spec comes from
    protocol/    Jupyter's message format and connection file
    install.py   `cellhold kernel install|list|remove`

Importing this package imports nothing, so that the container starts soon.
`ContainerPanel`, for notebooks of other kernels, is imported on first use
(widgets/standalone.py).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cellhold_kernel.widgets.standalone import ContainerPanel

__all__ = ["ContainerPanel"]


def __getattr__(name: str) -> object:
    """Import ContainerPanel on first use (PEP 562)."""
    if name != "ContainerPanel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cellhold_kernel.widgets.standalone import ContainerPanel  # noqa: PLC0415  # the host kernel does without

    return ContainerPanel
