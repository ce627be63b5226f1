"""What a notebook shows of its container: drawn by the front end, served by the host kernel, so that it lives while the container does not.

lazy_panel.py       the panel as the relay knows it: there from when somebody wants it
comms.py      the comms that are ours: the widget protocol, without ipywidgets; saved.py: which of them a notebook's file names
sampler.py    what the container uses, over time, and by cell
panel.py      the panel: what is sent to its views, and what their buttons do; views.py: whole, compact, or a part of it
inspector.py      what is to be seen of layers, found out by a process (looking.py); stack.py: the layers themselves
standalone.py      the panel of a container that a plain notebook on the host has made
js/           the view, in modules that bundle.py joins; panel.css its looks
report.py     the same as text; picture.py as a picture, in a process of its own: for notebooks that are only read
"""
