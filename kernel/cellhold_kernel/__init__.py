"""Cellhold's Jupyter kernel: a notebook's cells run in a container of its own.

    python -E -P -m cellhold_kernel -f CONNECTION_FILE [--kernelspec DIRECTORY] [arguments for the kernel in the container]

The process that Jupyter starts is the *host kernel*. It makes the container, relays Jupyter's messages to the *cell kernel* in it
(an ipykernel), and answers itself what a container cannot: why it ended, and what `%container` asks.

    app.py            the process: arguments, signals, its life and end
    relay.py          the host kernel: which message goes where, and what is answered here
    session.py        the notebook's containers: begin, replace, let go
    diagnosis.py      why one is gone, in words
    cell_kernel.py     one container with the kernel in it, from spec to end
    socket_directory.py        the directory that both sides see
    frontend.py backend.py  the sockets towards Jupyter, and towards the container
    zmtp.py           ZeroMQ's protocol with the container's sockets, bounded in bytes
    backpressure.py           what is read now, and what waits until somebody else has read
    send_window.py clients.py  what zmq holds for clients; who of them does not read
    usage.py          the answer to usage_request
    loop.py text.py   what is waited for; what a program wrote last
    connection.py     Jupyter's connection file
    wire.py           Jupyter's message format: take apart, sign, check
    pending.py       what was asked and is not answered yet
    replies.py        what is said when there is no cell kernel to say it
    config.py         the words of `%container`, kernelspecs and command line; where a notebook's spec comes from
    magics/           the lines of a cell that are for the host kernel
    install.py        `cellhold kernel install|list|remove`

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
