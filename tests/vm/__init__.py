"""A throw-away virtual machine whose controllers are all on cgroup v2: `python -m vm COMMAND...`."""
