"""Containers: made, started, watched, entered, committed and removed.

handle.py          Handle: what Container and Detached have in common
executable.py      their exec()
container.py       Container: ends with the process that made it
view.py            what can be read of it
detached.py        Detached: outlives its maker, with a monitor
detached_view.py   what can be read of it
kept.py            KeptContainer: a detached one while a process makes or starts it
start.py           one start: plan, launch, wait for the exec
run.py             one run, until its end is reported
exit_status.py     why it ended
resources.py       what it has on the host
lock.py, names.py  who has a container; who has a name
launcher.py        the caller's side of the process that clones PID 1
monitor.py         the same for a detached container's own
inventory.py       the containers that exist: list, find, signal
removal.py         remove everything that a container has
recovery.py        clear what a crash left
restart_policy.py  after the end of a kept container: record, remove, restart
damaged.py         containers whose record cannot be read
exec.py, cp.py     processes in a container; files to and from it
commit.py, logs.py what it has written: files, and output
trace.py, syscalls.py, display.py
                   how a start and a state are displayed
"""
