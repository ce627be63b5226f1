"""What a notebook shows of its container: drawn by the front end, served by the host kernel, so that it lives while the container does not.

comms.py      the comms that are ours: the widget protocol, without ipywidgets
sampler.py    what the container uses, over time, and by cell
panel.py      the panel: what is sent to its views, and what their buttons do
panel.js      the view, an anywidget module; panel.css its looks
report.py     the same as text; picture.py as a picture, in a process of its own: for notebooks that are only read
"""
