"""The container panel: drawn by the front end, served by the host kernel.

So it works while the container is busy or gone.

    lazy_panel.py    the panel as the relay sees it: made on first use
    comms.py         the host kernel's own comms: the widget protocol without ipywidgets
    saved.py         which of them a notebook's file names
    sampler.py       what the container uses, over time and per cell
    panel.py         the panel: what its views get, and what their buttons do
    views.py         the kinds of views: whole, compact, or a part
    inspector.py     layers and written files, examined by other processes
    layer_stack.py   the layers themselves
    network_view.py  the container's connections
    host.py          what a panel needs of its surroundings
    standalone.py    the panel of a container in a plain notebook on the host
    js/, panel.css   the view, in modules that bundle.py joins, and its style
    report.py        the panel as text, for notebooks that are only read
    picture.py       the panel as a picture, drawn by a process (painter.py)
"""
