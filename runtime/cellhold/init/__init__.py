"""The programs that make containers and become them. They start fast: nothing here imports more than it must.

launcher.py   one small single-threaded process per caller: clones, maps ids, prepares trees, watches, reports
steps.py      what the clone does to itself to become the container: the table of contents is `STEPS`
pid1.py       what it is afterwards: PID 1, which starts the program, reaps, forwards signals
program.py    the last metres of the program: its user, directory and limits, then exec
plan.py       the plan that all of them work from (types only)
"""
