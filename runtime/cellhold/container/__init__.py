"""Containers: made, started, watched, entered, copied to and from, committed and removed.

handle.py          Handle: what both have in common
container.py       Container: ends with the process that made it; view.py what can be seen of it
detached.py        Detached: lives on by itself, with a monitor; detached_view.py what can be seen of it
kept.py            KeptContainer: a detached one while a process makes or starts it
start.py, run.py   one start: plan, launch, wait for the exec; one run, until its end is reported
exit_status.py     why it ended
resources.py       what it has on the host; lock.py, names.py, removal.py
launcher.py        the process that clones PID 1; monitor.py: a detached one's own
inventory.py       the containers that there are: list, find, signal
recovery.py        what a crash left; restart_policy.py what comes after an end; damaged.py what cannot be read
exec.py, cp.py, commit.py, logs.py   what is done with a container
trace.py, syscalls.py, display.py    how it is told of
"""
