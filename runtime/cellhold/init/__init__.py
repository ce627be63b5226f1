"""The programs that make containers and become them, with few imports.

launcher.py   one small single-threaded process per caller: clones, watches, reports
monitor.py    the launcher of a container that outlives its caller
rootless.py   the launcher of a caller who is not root
prepare.py    what the launcher opens on the host for a clone
steps/        what is done to make a container: the tables of contents
pid1.py       what the clone is afterwards: starts the program, reaps, forwards signals
plan.py       the plan that all of them work from (types only)
"""
